"""Bytes to values and back, for all methods of some schemas.

    wire = Wire([schema_of(contract)])
    codec = wire.request(contract, contract.methods["Place"])
    order = codec.decode(data)              # a NewOrder, validated; or InvalidArgument with all that is wrong
    data = codec.encode(order)

What is wrong with a request is told by JSON pointers, as on every other wire.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError, EncodeError

from headgate.kit.controls.faults import InvalidArgument, OutOfRange, Violation
from headgate.service.contract import Contract
from headgate.service.method import Method
from headgate.service.proto.convert import MOST_EXACT, Readers, Writers
from headgate.service.proto.descriptors import message_class, pool_of
from headgate.service.proto.model import Message, Schema
from headgate.service.types import Empty, dec_hook, plain, violations

_WIDEST: Final = range(-(2**63), 2**63)


class Codec:
    """Between values of one type and the bytes of their message."""

    __slots__ = ("_made", "_parse", "_read", "_write", "kind")

    def __init__(self, kind: Any, made: Any, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
        self.kind = kind
        self._made = made
        self._parse: Callable[[bytes], Any] = made.FromString
        self._write = write
        self._read = read

    def decode(self, data: bytes) -> Any:
        """The value in these bytes. Raises InvalidArgument (`malformed_message`, `invalid_argument`)."""
        try:
            read = self._read(self._parse(data))
        except DecodeError as error:
            raise InvalidArgument(
                "the request is not a message of this method",
                code="malformed_message",
                hint="compare the schemas of both sides",
                internal=repr(error),
            ) from error
        try:
            return msgspec.convert(read, self.kind, dec_hook=dec_hook)
        except msgspec.ValidationError as error:
            raise self._refused(read) from error

    def encode(self, value: Any) -> bytes:
        """The bytes of a value. Raises OutOfRange (`value_out_of_range`)."""
        try:
            encoded: bytes = self._made(**self._write(value)).SerializeToString()
        except (ValueError, OverflowError, EncodeError) as error:
            raise _beyond(value, error) from error
        return encoded

    def _refused(self, read: Any) -> InvalidArgument:
        from headgate.kit.asgi.inputs import invalid

        return invalid(violations(self.kind, read) or [Violation("", "is not valid")])


class Nothing:
    """The codec of google.protobuf.Empty: whatever comes, it is `value`."""

    __slots__ = ("kind", "value")

    def __init__(self, value: Any) -> None:
        self.kind = type(value)
        self.value = value

    def decode(self, _data: bytes) -> Any:
        """`value`."""
        return self.value

    def encode(self, _value: Any) -> bytes:
        """No bytes."""
        return b""


class Wire:
    """The messages of some schemas, and their descriptors in a `pool` of their own."""

    def __init__(self, schemas: Iterable[Schema]) -> None:
        self.schemas = {f"{each.package}.{each.service}": each for each in schemas}
        self.pool = pool_of(self.schemas.values())
        self._writers, self._readers = Writers(), Readers()

    def request(self, contract: Contract, method: Method) -> "Codec | Nothing":
        """The codec of one request."""
        said = self._said(contract, method)
        return Nothing(Empty()) if said.request is None else self._codec(contract, said.request, method.request)

    def response(self, contract: Contract, method: Method) -> "Codec | Nothing":
        """The codec of one response."""
        said = self._said(contract, method)
        empty = None if method.response is None else Empty()
        return Nothing(empty) if said.response is None else self._codec(contract, said.response, method.response)

    def _said(self, contract: Contract, method: Method) -> Any:
        return next(each for each in self.schemas[contract.full_name].methods if each.name == method.rpc)

    def _codec(self, contract: Contract, message: Message, kind: Any) -> Codec:
        made = message_class(self.pool, f"{contract.package}.{message.path}")
        return Codec(kind, made, self._writers.of(message), self._readers.of(message))


def _beyond(value: Any, error: Exception) -> OutOfRange:
    """The fault for a value that cannot be sent, with the places where that is seen."""
    found: list[Violation] = []
    _search(plain(value), "", found)
    where = f" at {found[0].pointer or '/'}" if found else ""
    return OutOfRange(
        f"a value{where} is beyond what protocol buffers hold",
        code="value_out_of_range",
        hint="send it as text",
        violations=found,
        internal=str(error)[:300],
    )


def _search(value: Any, pointer: str, found: list[Violation]) -> None:
    if isinstance(value, dict):
        for key, each in value.items():
            _search(each, f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}", found)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            _search(each, f"{pointer}/{index}", found)
    elif isinstance(value, int) and value not in _WIDEST:
        found.append(Violation(pointer, "is beyond 64 bits"))
    elif isinstance(value, int) and abs(value) > MOST_EXACT:
        found.append(Violation(pointer, "is beyond what a double holds exactly"))
    elif isinstance(value, str) and not value.isprintable() and _is_broken(value):
        found.append(Violation(pointer, "is no text of Unicode"))


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
