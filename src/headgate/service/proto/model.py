"""Messages, enums and methods as protocol buffers know them, and where their values come from: plain data.

A `Schema` is made by `headgate.service.proto.mapping`; descriptors, text, converters and lock are functions of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum as PythonEnum
from typing import Any, Literal

Origin = Literal["object", "mapping", "wrapper"]
"""Whether fields are attributes, keys, or the one field is the value itself."""

TIMESTAMP = "google.protobuf.Timestamp"
DURATION = "google.protobuf.Duration"
VALUE = "google.protobuf.Value"
EMPTY = "google.protobuf.Empty"


class Form(PythonEnum):
    """How a value of Python stands in a scalar or well-known type."""

    SAME = "same"
    BYTES = "bytes"
    TEXT = "text"
    UTC = "utc"
    NAIVE = "naive"
    SPAN = "span"
    JSON = "json"
    MEMBER = "member"
    """A member of an enum, as its value: what keys of maps are."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """`int64` and its like, or a well-known message by its full name."""

    name: str
    form: Form = Form.SAME

    @property
    def is_message(self) -> bool:
        """Whether it is a message, which has presence by itself."""
        return self.name.startswith("google.")


@dataclass(frozen=True, slots=True, eq=False)
class Enum:
    """An enum. `values` are numbers by the names of its members, `members` Python's values by number."""

    name: str
    values: Mapping[str, int]
    members: Mapping[int, str | int]
    description: str = ""
    reserved: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EnumRef:
    """A field of an enum; `kind` is Python's."""

    enum: Enum
    kind: type[PythonEnum]


@dataclass(frozen=True, slots=True)
class MessageRef:
    """A field of a message."""

    message: "Message"


Single = Scalar | EnumRef | MessageRef


@dataclass(frozen=True, slots=True)
class Repeated:
    """Any number of items."""

    item: Single


@dataclass(frozen=True, slots=True)
class MapOf:
    """Items by keys."""

    key: Scalar
    item: Single


@dataclass(frozen=True, slots=True)
class Member:
    """One of the messages that a oneof holds. `kind` is its class in Python."""

    name: str
    number: int
    message: "Message"
    kind: type


@dataclass(frozen=True, slots=True)
class OneOf:
    """At most one of several messages."""

    members: tuple[Member, ...]


Shape = Single | Repeated | MapOf | OneOf


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `attribute` is its name in Python, `key` in JSON; `number` is 0 for a oneof."""

    name: str
    number: int
    shape: Shape
    attribute: str
    key: str
    presence: bool = False
    """Whether absent and zero are told apart."""
    unset: bool = False
    """Whether its value may be msgspec.UNSET."""
    description: str = ""
    nullable: bool = False
    """Whether it must be there and may be None: what is absent is None then, not missing."""

    @property
    def is_optional(self) -> bool:
        """Whether the `.proto` says `optional`."""
        return self.presence and isinstance(self.shape, Scalar | EnumRef) and not _is_message(self.shape)


@dataclass(slots=True, eq=False)
class Message:
    """A message. `path` is its name with those it is nested in, joined by dots; `tag` what JSON adds to its fields."""

    path: str
    origin: Origin
    fields: list[Field] = field(default_factory=list)
    nested: "list[Message]" = field(default_factory=list)
    description: str = ""
    tag: tuple[str, str | int] | None = None
    reserved: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.rpartition(".")[2]


@dataclass(frozen=True, slots=True)
class Method:
    """A method. A `request` or `response` of None is google.protobuf.Empty."""

    name: str
    request: Message | None
    response: Message | None
    streams_in: bool
    streams_out: bool
    description: str = ""
    deprecated: bool = False
    idempotency: Literal["", "NO_SIDE_EFFECTS", "IDEMPOTENT"] = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """One file: a service and all that it sends."""

    package: str
    service: str
    description: str
    methods: tuple[Method, ...]
    messages: tuple[Message, ...]
    enums: tuple[Enum, ...]

    @property
    def file(self) -> str:
        """The path of the `.proto`."""
        return f"{self.package.replace('.', '/')}.proto"

    def every_message(self) -> list[Message]:
        """All messages, each followed by those nested in it."""
        found: list[Message] = []
        for message in self.messages:
            _collect(message, found)
        return found


def type_text(shape: Shape) -> str:
    """What the `.proto` calls the type of a field, messages by their paths."""
    if isinstance(shape, Scalar):
        return shape.name
    if isinstance(shape, EnumRef):
        return shape.enum.name
    if isinstance(shape, MessageRef):
        return shape.message.path
    if isinstance(shape, Repeated):
        return f"repeated {type_text(shape.item)}"
    if isinstance(shape, MapOf):
        return f"map<{shape.key.name}, {type_text(shape.item)}>"
    return "oneof"


def _is_message(shape: Any) -> bool:
    return isinstance(shape, MessageRef) or (isinstance(shape, Scalar) and shape.is_message)


def _collect(message: Message, found: list[Message]) -> None:
    found.append(message)
    for each in message.nested:
        _collect(each, found)
