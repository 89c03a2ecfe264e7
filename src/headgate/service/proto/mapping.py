"""From a contract's types to messages: the rule that the room's own text states.

    schema = schema_of(Orders.contract(), numbers)      # numbers by the paths of messages and the names of enums

msgspec tells what a type consists of; what pydantic's models consist of is told in the same words.
"""

import enum
import inspect
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.contract import Contract
from headgate.service.method import Method
from headgate.service.proto.model import (
    DURATION,
    TIMESTAMP,
    VALUE,
    Enum,
    EnumRef,
    Field,
    Form,
    MapOf,
    Member,
    Message,
    MessageRef,
    OneOf,
    Origin,
    Repeated,
    Scalar,
    Schema,
    Shape,
)
from headgate.service.proto.model import Method as Rpc
from headgate.service.proto.names import NONE, Numbers, camel, identifier, name_of, shouting, snake
from headgate.service.types import Empty, is_pydantic

_JSON: Final = Scalar(VALUE, Form.JSON)
_TEXT: Final = Scalar("string", Form.TEXT)
_SCALARS: Final[Mapping[type, Scalar]] = {
    types.BoolType: Scalar("bool"),
    types.IntType: Scalar("int64"),
    types.FloatType: Scalar("double"),
    types.StrType: Scalar("string"),
    types.BytesType: Scalar("bytes"),
    types.ByteArrayType: Scalar("bytes", Form.BYTES),
    types.MemoryViewType: Scalar("bytes", Form.BYTES),
    types.DateTimeType: Scalar(TIMESTAMP, Form.UTC),
    types.TimeDeltaType: Scalar(DURATION, Form.SPAN),
    types.DateType: _TEXT,
    types.TimeType: _TEXT,
    types.UUIDType: _TEXT,
    types.DecimalType: _TEXT,
}
_NAIVE: Final = Scalar(TIMESTAMP, Form.NAIVE)
_LISTS: Final = (types.ListType, types.SetType, types.FrozenSetType, types.VarTupleType)
_RECORDS: Final = (types.StructType, types.DataclassType, types.TypedDictType)
_EMPTY_FACTORIES: Final = (list, dict, set, frozenset, tuple)
_SMALL: Final = range(-(2**31), 2**31)


def schema_of(contract: Contract, numbers: Mapping[str, Numbers] | None = None) -> Schema:
    """The messages of a contract. Raises what the room's own text draws."""
    return _Translation(contract, numbers or {}).schema()


class _Translation:
    """One contract on its way; each type becomes one message."""

    def __init__(self, contract: Contract, numbers: Mapping[str, Numbers]) -> None:
        self.contract = contract
        self.numbers = numbers
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        self._kinds: dict[str, Any] = {}

    def schema(self) -> Schema:
        contract = self.contract
        identifier(contract.full_name, contract.name)
        methods = tuple(self._method(each) for each in contract.methods.values())
        return Schema(
            contract.package,
            contract.title,
            contract.description,
            methods,
            tuple(self.messages.values()),
            tuple(self.enums.values()),
        )

    def _method(self, method: Method) -> Rpc:
        reading = method.binding is not None and method.binding.verb == "GET"
        repeatable = method.options.idempotent is True
        return Rpc(
            method.rpc,
            self._entry(method.request, f"{method.rpc}Request"),
            self._entry(method.response, f"{method.rpc}Response"),
            method.kind.streams_in,
            method.kind.streams_out,
            method.description or method.options.summary,
            method.options.deprecated,
            "NO_SIDE_EFFECTS" if reading else "IDEMPOTENT" if repeatable else "",
        )

    def _entry(self, kind: Any, name: str) -> Message | None:
        """The message of a request or response; None for the empty one."""
        if kind is None or kind is Empty:
            return None
        info = types.type_info(kind)
        shape = self._record(_bare(info)[0])
        if shape is not None:
            return shape.message
        if name in self.messages:
            return self.messages[name] if self._kinds[name] == kind else self._taken(name)
        message = self._add(name, kind, "wrapper")
        self._fill(message, [self._field(message, _alone(info))])
        return message

    def _record(self, info: Any) -> MessageRef | None:
        """The message of a type with named fields, made when it is met first; None for other types."""
        model = isinstance(info, types.CustomType) and is_pydantic(info.cls)
        if model and "root" in info.cls.model_fields:
            return None
        if not model and (not isinstance(info, _RECORDS) or getattr(info, "array_like", False)):
            return None
        name = name_of(info.cls)
        if name in self.messages:
            return MessageRef(self.messages[name] if self._kinds[name] == info.cls else self._taken(name))
        origin: Origin = "mapping" if isinstance(info, types.TypedDictType) else "object"
        message = self._add(name, info.cls, origin)
        message.description = _doc(info.cls, name)
        if isinstance(info, types.StructType) and info.tag is not None:
            message.tag = (info.tag_field or "type", info.tag)
        fields = _pydantic_fields(info.cls) if model else info.fields
        self._fill(message, [self._field(message, each) for each in fields])
        return MessageRef(message)

    def _add(self, name: str, kind: Any, origin: Origin) -> Message:
        if name in self.enums:
            self._taken(name)
        self._kinds[name] = kind
        self.messages[identifier(name, self.contract.title)] = Message(name, origin)
        return self.messages[name]

    def _taken(self, name: str) -> Any:
        raise InvalidArgument(
            f"{self.contract.title} sends two different types called {name}",
            code="duplicate_message",
            hint="protocol buffers need a name for each; rename one",
        )

    def _fill(self, message: Message, fields: list[Field]) -> None:
        """Give the fields their numbers, and the message its fields."""
        numbers = self.numbers.get(message.path, NONE)
        names: list[str] = []
        for each in fields:
            shape = each.shape
            names += [member.name for member in shape.members] if isinstance(shape, OneOf) else [each.name]
        repeated = next((name for name in names if names.count(name) > 1), "")
        if repeated:
            raise InvalidArgument(
                f"{message.path} has two fields that are called '{repeated}' in snake case",
                code="duplicate_message",
                hint="rename one",
            )
        given = numbers.next_to(names, message.path)
        message.fields = [_numbered(each, given) for each in fields]
        message.reserved = numbers.reserved

    def _field(self, owner: Message, told: types.Field) -> Field:
        info, description = _bare(told.type)
        name, has_default = snake(told.encode_name), not told.required
        unset = told.default is msgspec.UNSET
        members, optional = _members(info)
        label = f"{camel(name)}Value"
        tagged = len(members) > 1 and all(_is_tagged(each) for each in members)
        shape: Shape
        if optional and has_default and told.default is not None and not _is_json(members):
            shape = self._wrapped(owner, label, info)
        elif tagged:
            shape = OneOf(tuple(self._member(name, each, owner) for each in members))
        elif len(members) > 1:
            shape = _JSON
        else:
            shape = self._shape(owner, name, members[0])
            if isinstance(shape, Repeated | MapOf) and (optional or _default_is_filled(told)):
                shape = self._wrapped(owner, label, members[0])
        presence = optional or has_default or isinstance(shape, MessageRef | OneOf)
        presence = presence and not isinstance(shape, Repeated | MapOf)
        nullable = optional and told.required and not _is_json(members)
        return Field(name, 0, shape, told.name, told.encode_name, presence, unset, description, nullable)

    def _member(self, field: str, info: Any, owner: Message) -> Member:
        reference = self._record(info)
        assert reference is not None  # noqa: S101 - tagged Structs are records
        own = snake(reference.message.name)
        return Member(own if owner.origin == "wrapper" else f"{field}_{own}", 0, reference.message, info.cls)

    def _wrapped(self, owner: Message, label: str, info: Any) -> MessageRef:
        message = Message(f"{owner.path}.{label}", "wrapper")
        owner.nested.append(message)
        self._fill(message, [self._field(message, _alone(info))])
        return MessageRef(message)

    def _shape(self, owner: Message, label: str, info: Any) -> Shape:
        """The shape of a type that is no union."""
        info, _ = _bare(info)
        if isinstance(info, types.DateTimeType) and info.tz is False:
            return _NAIVE
        scalar = _SCALARS.get(type(info))
        if scalar is not None:
            return scalar
        reference = self._record(info)
        if reference is not None:
            return reference
        if isinstance(info, types.EnumType):
            return self._enum(info.cls)
        if isinstance(info, types.LiteralType):
            return _literal(info)
        if isinstance(info, types.DictType):
            key = _key(info.key_type)
            return _JSON if key is None else MapOf(key, self._item(owner, label, info.value_type))
        item = _item_of(info)
        if item is not None:
            return Repeated(self._item(owner, label, item))
        if isinstance(info, types.RawType | types.ExtType):
            raise InvalidArgument(
                f"{self.contract.title}: {owner.path}.{label} is of a type that protocol buffers cannot have",
                code="no_proto_type",
                hint="see headgate.service.proto",
            )
        return _JSON

    def _item(self, owner: Message, label: str, info: Any) -> Scalar | EnumRef | MessageRef:
        """What is repeated: a type that can be, or a message that holds it."""
        members, optional = _members(_bare(info)[0])
        if len(members) == 1 and not optional:
            bare = _bare(members[0])[0]
            dictionary = isinstance(bare, types.DictType) and _key(bare.key_type) is not None
            if not dictionary and _item_of(bare) is None:
                found = self._shape(owner, label, bare)
                if isinstance(found, Scalar | EnumRef | MessageRef):
                    return found
        elif len(members) > 1 and not all(_is_tagged(each) for each in members):
            return _JSON
        return self._wrapped(owner, f"{camel(label)}Item", info)

    def _enum(self, kind: type[enum.Enum]) -> Shape:
        name = name_of(kind)
        if name not in self.enums:
            if name in self.messages:
                self._taken(name)
            values = {each.name: each.value for each in kind}
            whole = all(isinstance(value, int) for value in values.values())
            if whole and not all(value in _SMALL for value in values.values()):
                return Scalar("int64", Form.MEMBER)
            self._kinds[name] = kind
            self.enums[identifier(name, self.contract.title)] = self._made(name, kind, values if whole else None)
        elif self._kinds[name] is not kind:
            self._taken(name)
        return EnumRef(self.enums[name], kind)

    def _made(self, name: str, kind: type[enum.Enum], values: Mapping[str, int] | None) -> Enum:
        prefix, numbers = shouting(name), self.numbers.get(name, NONE)
        names = {each.name: f"{prefix}_{shouting(each.name)}" for each in kind}
        if len(set(names.values())) < len(names):
            self._taken(f"{name}, whose members differ only in case")
        if values is None:
            given = numbers.next_to(names.values(), name)
        else:
            given = {names[each]: number for each, number in values.items()}
        members = {given[names[each.name]]: each.value for each in kind}
        if 0 not in members:
            zero = f"{prefix}_UNSPECIFIED"
            given = {zero if zero not in given else f"{zero}_": 0, **given}
        gone = {name: number for name, number in numbers.reserved.items() if name not in given}
        return Enum(name, given, members, _doc(kind, name), gone)


def _numbered(field: Field, given: Mapping[str, int]) -> Field:
    shape, number = field.shape, 0
    if isinstance(shape, OneOf):
        shape = OneOf(tuple(Member(each.name, given[each.name], each.message, each.kind) for each in shape.members))
    else:
        number = given[field.name]
    return Field(
        field.name,
        number,
        shape,
        field.attribute,
        field.key,
        field.presence,
        field.unset,
        field.description,
        field.nullable,
    )


def _alone(info: Any) -> types.Field:
    """The one field of a wrapper."""
    return types.Field("value", "value", info)


def _bare(info: Any) -> tuple[Any, str]:
    """The type without what is said about it, and its description."""
    description = ""
    while isinstance(info, types.Metadata):
        description = (info.extra_json_schema or {}).get("description", description)
        info = info.type
    return info, description


def _members(info: Any) -> tuple[list[Any], bool]:
    """The types of a union but None, and whether None is one; a type that is no union is its only member."""
    if not isinstance(info, types.UnionType):
        return [info], False
    bare = [_bare(each)[0] for each in info.types]
    found = [each for each in bare if not isinstance(each, types.NoneType)]
    return found or [types.AnyType()], len(found) < len(bare)


def _is_tagged(info: Any) -> bool:
    return isinstance(info, types.StructType) and info.tag is not None and not info.array_like


def _is_json(members: list[Any]) -> bool:
    """Whether a union is told as JSON, which can say None itself."""
    return len(members) > 1 and not all(_is_tagged(each) for each in members)


def _item_of(info: Any) -> Any:
    """The type of what is repeated; None where nothing is."""
    if isinstance(info, _LISTS):
        return info.item_type
    if isinstance(info, types.TupleType) and info.item_types:
        first = info.item_types[0]
        return first if all(each == first for each in info.item_types) else None
    return None


def _literal(info: types.LiteralType) -> Scalar:
    kinds = {type(value) for value in info.values}
    return Scalar("string") if kinds == {str} else Scalar("int64") if kinds == {int} else _JSON


def _key(info: Any) -> Scalar | None:
    """The scalar of a map's keys; None when they can be none."""
    info, _ = _bare(info)
    if isinstance(info, types.EnumType):
        kinds = {type(each.value) for each in info.cls}
        name = "string" if kinds == {str} else "int64"
        return Scalar(name, Form.MEMBER)
    found = _literal(info) if isinstance(info, types.LiteralType) else _SCALARS.get(type(info))
    return found if found is not None and found.name in {"string", "int64"} else None


def _default_is_filled(told: types.Field) -> bool:
    """Whether a list or map that is absent would not be empty."""
    if told.default_factory is not msgspec.NODEFAULT:
        return told.default_factory not in _EMPTY_FACTORIES
    return told.default is not msgspec.NODEFAULT and (told.default is msgspec.UNSET or bool(told.default))


def _doc(kind: Any, name: str) -> str:
    """A class's own docstring, not the one that Python makes up or inherits."""
    kind = getattr(kind, "__origin__", kind)
    text = vars(kind).get("__doc__") or ""
    return "" if text.startswith(f"{name}(") or text == enum.Enum.__doc__ else inspect.cleandoc(text)


def _pydantic_fields(model: Any) -> list[types.Field]:
    """The fields of a pydantic model, as msgspec tells those of a Struct."""
    found = []
    for name, told in model.model_fields.items():
        alias = told.validation_alias if isinstance(told.validation_alias, str) else told.alias
        try:
            info = types.type_info(told.annotation)
        except TypeError:
            info = types.AnyType()
        if told.description:
            info = types.Metadata(info, {"description": told.description})
        default = msgspec.NODEFAULT if told.default_factory is not None or told.is_required() else told.default
        factory = told.default_factory or msgspec.NODEFAULT
        found.append(types.Field(name, alias or name, info, told.is_required(), default, factory))
    return found
