"""Walk a resource's proto: where in it a text stands, or a message of some type.

A path is written `virtual_hosts[0].routes[12].match`; a step into an Any names what it holds,
`typed_config<HttpConnectionManager>`, and a map's entry its key, `fields[status]`.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from headgate.controlplane.translate.resource import TYPE_PREFIX


class Found(NamedTuple):
    """A string field or a message, and where it stands ("" is the root)."""

    path: str
    value: Any


def decoded(type_url: str, body: bytes) -> Message | None:
    """Return the message an Any holds; None when its type is not known here or its bytes are damaged."""
    try:
        message = GetMessageClass(Default().FindMessageTypeByName(type_url.removeprefix(TYPE_PREFIX)))()
        message.ParseFromString(body)
    except (KeyError, DecodeError):
        return None
    return message


def walk(message: Message, path: str = "") -> Iterator[Found]:
    """Yield every string field and every message, depth first, those inside Anys too."""
    yield Found(path, message)
    for field, value in message.ListFields():
        step = f"{path}.{field.name}" if path else field.name
        for where, item in _items(field, value, step):
            if isinstance(item, str):
                yield Found(where, item)
            elif isinstance(item, AnyMessage):
                yield Found(where, item)
                inner = decoded(item.type_url, item.value)
                if inner is not None:
                    yield from walk(inner, f"{where}<{inner.DESCRIPTOR.name}>")
            elif isinstance(item, Message):
                yield from walk(item, where)


def _items(field: FieldDescriptor, value: Any, step: str) -> Iterator[tuple[str, Any]]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        for key in sorted(value):
            yield f"{step}[{key}]", value[key]
    elif field.is_repeated:
        for index, item in enumerate(value):
            yield f"{step}[{index}]", item
    else:
        yield step, value
