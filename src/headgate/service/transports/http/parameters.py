"""How each field of a request is written in a URL: once, any number of times, or as JSON.

parameters_of(SearchRequest)        # {"text": Form.ONE, "tags": Form.MANY, "box": Form.JSON}
"""

from enum import Enum
from typing import Any

from msgspec import inspect

from headgate.service.types import bare, is_pydantic


class Form(Enum):
    """ONE is text, such as of a number; MANY a key that is repeated; JSON the text of an object or of lists of them."""

    ONE = "one"
    MANY = "many"
    JSON = "json"


_MANY = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType, inspect.TupleType)
_NESTED = (
    inspect.DictType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
    inspect.CustomType,
    inspect.RawType,
)


def parameters_of(kind: Any) -> dict[str, Form]:
    """The forms of a record's fields, by the names they have on wires. {} for what is no record."""
    kind = bare(kind)
    if is_pydantic(kind):
        return {
            field.alias or name: form_of(inspect.type_info(field.annotation))
            for name, field in kind.model_fields.items()
        }
    info = inspect.type_info(kind)
    if isinstance(info, inspect.StructType | inspect.DataclassType | inspect.TypedDictType):
        return {field.encode_name: form_of(field.type) for field in info.fields}
    return {}


def form_of(info: inspect.Type) -> Form:
    """The form of a value of this type."""
    members = [each for each in _members(info) if not isinstance(each, inspect.NoneType)]
    if any(isinstance(each, _NESTED) for each in members):
        return Form.JSON
    many = [isinstance(each, _MANY) for each in members]
    if not any(many):
        return Form.ONE
    return Form.MANY if all(many) and all(_is_flat(each) for each in members) else Form.JSON


def _members(info: inspect.Type) -> tuple[inspect.Type, ...]:
    if isinstance(info, inspect.Metadata):
        return _members(info.type)
    return info.types if isinstance(info, inspect.UnionType) else (info,)


def _is_flat(info: Any) -> bool:
    """Whether the items of a list are each one piece of text."""
    items = info.item_types if isinstance(info, inspect.TupleType) else (info.item_type,)
    return all(form_of(item) is Form.ONE for item in items)
