"""Messages on the wire of Connect: protobuf as it is, or its JSON form.

A handler knows its messages only by their (de)serialisers. Their descriptors come from the registry's pools, else
from the default one, where generated code registers them, by the full name of the method.
Source: protobuf's ProtoJSON format.
"""

from typing import Any, Final, Protocol

from google.protobuf import json_format, message_factory

from headgate.kit.controls.faults import Fault, InvalidArgument

NO_SIDE_EFFECTS: Final = 1
_LONGEST_REASON: Final = 300


class Codec(Protocol):
    """Between protobuf's bytes and those on the wire."""

    name: str

    def decode(self, data: bytes) -> bytes:
        """Protobuf of a request. Raises InvalidArgument."""

    def encode(self, data: bytes) -> bytes:
        """What goes on the wire, of the protobuf of a response."""


class ProtoCodec:
    """Protobuf itself."""

    name = "proto"

    def decode(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    encode = decode


PROTO: Final = ProtoCodec()


class JsonCodec:
    """The JSON of one method's messages. Unknown fields of requests are ignored, as Connect asks."""

    name = "json"

    def __init__(self, method: Any) -> None:
        self._input = message_factory.GetMessageClass(method.input_type)
        self._output = message_factory.GetMessageClass(method.output_type)

    def decode(self, data: bytes) -> bytes:
        """Protobuf of JSON. Raises InvalidArgument (`malformed_message`), saying where it is wrong."""
        message = self._input()
        try:
            json_format.Parse(data.decode() or "{}", message, ignore_unknown_fields=True)
        except UnicodeDecodeError:
            raise _malformed("the body is not UTF-8") from None
        except (json_format.ParseError, RecursionError) as error:
            raise _malformed(str(error)[:_LONGEST_REASON]) from None
        return message.SerializeToString()

    def encode(self, data: bytes) -> bytes:
        """JSON of protobuf."""
        return json_format.MessageToJson(self._output.FromString(data), indent=None, ensure_ascii=False).encode()


def descriptor_of(path: str, pool: Any) -> Any:
    """The descriptor of the method at `/package.Service/Method`; None when the pool does not know it."""
    service, _, name = path.removeprefix("/").rpartition("/")
    try:
        return pool.FindMethodByName(f"{service}.{name}")
    except KeyError:
        return None


def has_no_side_effects(method: Any) -> bool:
    """Whether the schema says that calling this changes nothing."""
    return bool(method is not None and method.GetOptions().idempotency_level == NO_SIDE_EFFECTS)


def _malformed(reason: str) -> Fault:
    return InvalidArgument(f"the request is not JSON of this method: {reason}", code="malformed_message")
