"""Between values and messages: functions composed once for each message.

    write = Writers().of(message)           # a value -> the arguments its message is made with
    read = Readers().of(message)            # a message -> plain objects, as JSON would have them

What is read is plain and unchecked; msgspec makes a value of it, and so names what is wrong by its JSON pointer.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from keyword import iskeyword
from operator import attrgetter
from typing import Any, Final

import msgspec

from headgate.service.proto.model import (
    Enum,
    EnumRef,
    Field,
    Form,
    MapOf,
    Message,
    MessageRef,
    OneOf,
    Repeated,
    Scalar,
    Shape,
)
from headgate.service.types import plain

Convert = Callable[[Any], Any]
Put = Callable[[dict[str, Any]], None]
Take = Callable[[Any, dict[str, Any]], None]

MOST_EXACT: Final = 2**53
"""Integers up to this are the same as doubles."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = 86_400


class Writers:
    """Makes rows: what protobuf's classes take as arguments. A message is composed once."""

    def __init__(self) -> None:
        self._made: dict[int, Convert] = {}

    def of(self, message: Message) -> Convert:
        """From a value to its message's row."""
        known = self._made.get(id(message))
        return known if known is not None else self._compose(message)

    def _compose(self, message: Message) -> Convert:
        puts: list[Put] = []
        begin = _row_of(message)

        def write(value: Any) -> dict[str, Any]:
            row: dict[str, Any] = begin(value)
            for put in puts:
                put(row)
            return row

        self._made[id(message)] = write  # before its fields: it may hold itself
        puts += [put for each in message.fields if (put := self._put(each)) is not None]
        return write

    def _put(self, field: Field) -> Put | None:
        """What is still to be done to a field of a row; None for what protobuf takes as it is."""
        name, shape = field.name, field.shape
        if isinstance(shape, OneOf):
            return self._choice(name, shape)
        convert = self._convert(shape)
        keeps_none = isinstance(shape, Scalar) and shape.form is Form.JSON
        wraps_none = isinstance(shape, MessageRef) and _holds_none(shape.message)
        if convert is None:
            return _without_unset(name) if field.unset else None

        def put(row: dict[str, Any]) -> None:
            value = row[name]
            if value is msgspec.UNSET:
                row[name] = None
            elif value is not None or keeps_none or wraps_none:
                row[name] = convert(value)

        return put

    def _choice(self, name: str, shape: OneOf) -> Put:
        by_kind = {_class(each.kind): (each.name, self.of(each.message)) for each in shape.members}

        def put(row: dict[str, Any]) -> None:
            value = row.pop(name)
            if value is not None and value is not msgspec.UNSET:
                member, write = by_kind[type(value)]
                row[member] = write(value)

        return put

    def _convert(self, shape: Shape) -> Convert | None:
        """From a value that is not None; None where it stays the same."""
        if isinstance(shape, MessageRef):
            return self.of(shape.message)
        if isinstance(shape, EnumRef):
            return _numbers(shape).__getitem__
        if isinstance(shape, Repeated):
            item = self._convert(shape.item)
            return None if item is None else lambda values: [item(each) for each in values]
        if isinstance(shape, MapOf):
            return self._of_map(shape)
        return _WRITE[shape.form] if isinstance(shape, Scalar) else None

    def _of_map(self, shape: MapOf) -> Convert | None:
        key, item = _WRITE[shape.key.form] or _same, self._convert(shape.item) or _same
        if key is _same and item is _same:
            return None
        return lambda values: {key(name): item(each) for name, each in values.items()}


class Readers:
    """Makes plain objects of messages. A message is composed once."""

    def __init__(self) -> None:
        self._made: dict[int, Convert] = {}

    def of(self, message: Message) -> Convert:
        """From a message to plain objects."""
        known = self._made.get(id(message))
        return known if known is not None else self._compose(message)

    def _compose(self, message: Message) -> Convert:
        takes: list[Take] = []
        simple = [each for each in message.fields if _is_simple(each)]
        begin = _attributes([(each.key, each.name) for each in simple])
        tag = {} if message.tag is None else {message.tag[0]: message.tag[1]}

        def read(found: Any) -> Any:
            row: dict[str, Any] = begin(found)
            for take in takes:
                take(found, row)
            return row

        def tagged(found: Any) -> Any:
            return tag | read(found)

        def unwrapped(found: Any) -> Any:
            return read(found).get("value")

        made = unwrapped if message.origin == "wrapper" else tagged if tag else read
        self._made[id(message)] = made
        takes += [self._take(each) for each in message.fields if not _is_simple(each)]
        return made

    def _take(self, field: Field) -> Take:
        name, key, shape = field.name, field.key, field.shape
        if isinstance(shape, OneOf):
            return self._choice(name, key, shape, nullable=field.nullable)
        convert = self._convert(shape)
        pull = attrgetter(name)
        nullable = field.nullable
        if isinstance(shape, Repeated | MapOf) or not (field.presence or _has_presence(shape)):
            zero = 0 if isinstance(shape, EnumRef) and 0 not in shape.enum.members else ""
            silent = isinstance(shape, EnumRef | Scalar)

            def take(found: Any, row: dict[str, Any]) -> None:
                value = pull(found)
                if not (silent and value == zero):  # what was not sent is missing, not wrong
                    row[key] = convert(value)

            return take

        def take_present(found: Any, row: dict[str, Any]) -> None:
            if found.HasField(name):
                row[key] = convert(pull(found))
            elif nullable:
                row[key] = None

        return take_present

    def _choice(self, name: str, key: str, shape: OneOf, *, nullable: bool) -> Take:
        by_name = {each.name: self.of(each.message) for each in shape.members}

        def take(found: Any, row: dict[str, Any]) -> None:
            member = found.WhichOneof(name)
            if member is not None:
                row[key] = by_name[member](getattr(found, member))
            elif nullable:
                row[key] = None

        return take

    def _convert(self, shape: Shape) -> Convert:
        if isinstance(shape, MessageRef):
            return self.of(shape.message)
        if isinstance(shape, EnumRef):
            return _values(shape.enum)
        if isinstance(shape, Repeated):
            item = self._convert(shape.item)
            return list if item is _same else lambda values: [item(each) for each in values]
        if isinstance(shape, MapOf):
            each_of = self._convert(shape.item)
            return dict if each_of is _same else lambda values: {key: each_of(each) for key, each in values.items()}
        return _READ.get(shape.form, _same) if isinstance(shape, Scalar) else _same


def _same(value: Any) -> Any:
    return value


def _attributes(taken: Sequence[tuple[str, str]]) -> Convert:
    """From an object to a row, by the keys of the row and the names of attributes."""
    if all(name.isidentifier() and not iskeyword(name) for _, name in taken):
        # Compiled, as for a dataclass, for this runs with every message: it takes a third of the time of a loop.
        row = ", ".join(f"{key!r}: each.{name}" for key, name in taken)
        made: Convert = eval(f"lambda each: {{{row}}}", {})  # noqa: S307 - of nothing but literals and identifiers
        return made
    return lambda each: {key: getattr(each, name) for key, name in taken}


def _row_of(message: Message) -> Convert:
    """From a value to its fields, by their names and not yet converted."""
    if message.origin == "wrapper":
        only = message.fields[0].name
        return lambda value: {only: value}
    if message.origin == "mapping":
        keys = [(each.name, each.attribute) for each in message.fields]
        return lambda value: {name: value.get(key) for name, key in keys}
    return _attributes([(each.name, each.attribute) for each in message.fields])


def _is_simple(field: Field) -> bool:
    """Whether the message's own attribute is what is read, whether or not it was sent."""
    return not field.presence and isinstance(field.shape, Scalar) and field.shape.form in {Form.SAME, Form.BYTES}


def _has_presence(shape: Shape) -> bool:
    return isinstance(shape, MessageRef | OneOf) or (isinstance(shape, Scalar) and shape.is_message)


def _holds_none(message: Message) -> bool:
    """Whether a message is there to hold a value that may be None."""
    return message.origin == "wrapper" and message.fields[0].presence


def _without_unset(name: str) -> Put:
    def put(row: dict[str, Any]) -> None:
        if row[name] is msgspec.UNSET:
            row[name] = None

    return put


def _class(kind: Any) -> Any:
    return getattr(kind, "__origin__", kind)


def _numbers(shape: EnumRef) -> Mapping[Any, int]:
    numbers = {value: number for number, value in shape.enum.members.items()}
    return {each: numbers[each.value] for each in shape.kind}


def _values(enum: Enum) -> Convert:
    """From a number to the member's value; others to what no member is."""
    members, whole = enum.members, all(isinstance(each, int) for each in enum.members.values())
    return lambda number: members.get(number, number if whole else str(number))


def _write_instant(value: datetime) -> dict[str, int]:
    span = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - _EPOCH
    return {"seconds": span.days * _DAY + span.seconds, "nanos": span.microseconds * 1_000}


def _write_span(value: timedelta) -> dict[str, int]:
    whole = value.days * _DAY + value.seconds
    micros = value.microseconds
    if whole < 0 and micros:  # both parts have the sign of the whole
        whole, micros = whole + 1, micros - 1_000_000
    return {"seconds": whole, "nanos": micros * 1_000}


def _read_span(found: Any) -> Any:
    try:
        return timedelta(seconds=found.seconds, microseconds=found.nanos // 1_000)
    except OverflowError:
        return "beyond"


def _read_utc(found: Any) -> Any:
    try:
        return _EPOCH + timedelta(seconds=found.seconds, microseconds=found.nanos // 1_000)
    except OverflowError:
        return "beyond"


def _read_naive(found: Any) -> Any:
    instant = _read_utc(found)
    return instant.replace(tzinfo=None) if isinstance(instant, datetime) else instant


def _write_json(value: Any) -> dict[str, Any]:
    try:
        return _json_row(plain(value))
    except NotImplementedError:  # types of pydantic's own, such as URLs
        from pydantic_core import to_jsonable_python

        return _json_row(to_jsonable_python(value))


def _json_row(value: Any) -> dict[str, Any]:
    """Plain objects as the row of a google.protobuf.Value."""
    if value is None:
        return {"null_value": 0}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, str):
        return {"string_value": value}
    if isinstance(value, int | float):
        if isinstance(value, int) and abs(value) > MOST_EXACT:
            raise ValueError(f"{value} is beyond what a double holds")
        return {"number_value": value}
    if isinstance(value, list | tuple):
        return {"list_value": {"values": [_json_row(each) for each in value]}}
    return {"struct_value": _checked(value)}


def _checked(value: Mapping[Any, Any]) -> dict[str, Any]:
    """An object that protobuf may take whole, as it does for these alone."""
    for each in value.values():
        _json_row(each)
    return {str(key): each for key, each in value.items()}


def _read_json(found: Any) -> Any:
    kind = found.WhichOneof("kind")
    if kind == "number_value":
        number = found.number_value
        return int(number) if number.is_integer() and abs(number) <= MOST_EXACT else number
    if kind == "struct_value":
        return {key: _read_json(each) for key, each in found.struct_value.fields.items()}
    if kind == "list_value":
        return [_read_json(each) for each in found.list_value.values]
    return None if kind in (None, "null_value") else getattr(found, kind)


_WRITE: Final[Mapping[Form, Convert | None]] = {
    Form.SAME: None,
    Form.BYTES: bytes,
    Form.TEXT: plain,
    Form.UTC: _write_instant,
    Form.NAIVE: _write_instant,
    Form.SPAN: _write_span,
    Form.JSON: _write_json,
    Form.MEMBER: attrgetter("value"),
}
_READ: Final[Mapping[Form, Convert]] = {
    Form.UTC: _read_utc,
    Form.NAIVE: _read_naive,
    Form.SPAN: _read_span,
    Form.JSON: _read_json,
}
