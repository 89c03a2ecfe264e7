"""The types that methods take and give: msgspec's first, pydantic's models accepted, anywhere inside them.

    decode = msgspec.json.Decoder(Order, dec_hook=dec_hook).decode
    msgspec.json.encode(order, enc_hook=enc_hook)
    violations(Order, {"quantity": "two"})          # everything that is wrong, not only the first

A record is what has named fields: a `Struct`, a dataclass, a `TypedDict`, a pydantic model.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints, is_typeddict

import msgspec

from headgate.kit.controls.faults import Violation

MOST_VIOLATIONS: Final = 100
"""Violations that are told of one document."""


class Empty(msgspec.Struct, frozen=True):
    """What a method without parameters is sent: an object without fields."""


def is_pydantic(kind: Any) -> bool:
    """Whether this is a pydantic model; pydantic is not imported for the question."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)


def is_struct(kind: Any) -> bool:
    """Whether this is a `Struct`."""
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def bare(kind: Any) -> Any:
    """The type without its annotations."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def is_record(kind: Any) -> bool:
    """Whether values of this type have named fields."""
    kind = bare(kind)
    kind = get_origin(kind) or kind
    return is_struct(kind) or is_pydantic(kind) or dataclasses.is_dataclass(kind) or is_typeddict(kind)


def enc_hook(value: Any) -> Any:
    """What msgspec encodes in place of a value it does not know. Raises NotImplementedError for others."""
    if is_pydantic(type(value)):
        return value.model_dump(mode="json", by_alias=True)
    raise NotImplementedError(f"values of type {type(value).__name__} cannot be sent")


def dec_hook(kind: type, value: Any) -> Any:
    """What msgspec decodes to in place of a type it does not know. Raises NotImplementedError for others."""
    if is_pydantic(kind):
        return kind.model_validate(value)  # type: ignore[attr-defined]
    raise NotImplementedError(f"values of type {kind.__name__} cannot be received")


def schema_hook(kind: type) -> dict[str, Any]:
    """The JSON Schema of a type that msgspec does not know. Raises NotImplementedError for others."""
    if is_pydantic(kind):
        schema: dict[str, Any] = kind.model_json_schema(ref_template="#/$defs/{model}")  # type: ignore[attr-defined]
        return schema
    raise NotImplementedError(f"{kind} has no schema")


def convert(value: Any, kind: Any, *, strict: bool = True) -> Any:
    """`value`, made of plain objects, as a `kind`. Raises msgspec.ValidationError."""
    return msgspec.convert(value, kind, strict=strict, dec_hook=dec_hook)


def blank_of(kind: Any) -> Callable[[], Any] | None:
    """Makes a value of an object without fields; None when the type must have some."""
    try:
        convert({}, kind)
    except (msgspec.ValidationError, NotImplementedError):
        return None
    return lambda: convert({}, kind)


def plain(value: Any) -> Any:
    """`value` made of what JSON has: objects, lists, text, numbers."""
    return msgspec.to_builtins(value, enc_hook=enc_hook)


def violations(kind: Any, value: Any, pointer: str = "", *, strict: bool = True) -> list[Violation]:
    """Everything that keeps `value` from being a `kind`, [] when nothing does. Slow; for what was refused already."""
    found: list[Violation] = []
    _explain(kind, value, pointer, strict, found)
    return found[:MOST_VIOLATIONS]


def _explain(kind: Any, value: Any, pointer: str, strict: bool, found: list[Violation]) -> None:
    try:
        convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        before = len(found)
        for inner, part, step in _parts(kind, value, pointer, found):
            if len(found) >= MOST_VIOLATIONS:
                return
            _explain(inner, part, f"{pointer}/{_escape(step)}", strict, found)
        if len(found) == before:
            found.extend(_said(error, pointer))


def _parts(kind: Any, value: Any, pointer: str, found: list[Violation]) -> list[tuple[Any, Any, str]]:
    """Type, value and name of what `value` consists of; fields that are missing or unknown go to `found`."""
    kind = _only(bare(kind))
    arguments, origin = get_args(kind), get_origin(kind) or kind
    if isinstance(value, Mapping) and (fields := _named_fields(kind, origin)) is not None:
        return _fields(origin, fields, value, pointer, found)
    if origin is tuple and isinstance(value, list) and arguments[-1:] != (Ellipsis,):
        return [(inner, item, str(index)) for index, (inner, item) in enumerate(zip(arguments, value, strict=False))]
    if origin in {list, tuple, set, frozenset} and isinstance(value, list) and arguments:
        return [(arguments[0], item, str(index)) for index, item in enumerate(value)]
    if origin is dict and isinstance(value, Mapping) and arguments:
        return [(arguments[1], item, str(key)) for key, item in value.items()]
    return []


def _named_fields(kind: Any, origin: Any) -> Mapping[str, tuple[Any, bool]] | None:
    """Type of each field of a record, and whether it is required; None for what msgspec alone does not read."""
    if is_struct(origin):
        return {field.encode_name: (field.type, field.required) for field in msgspec.structs.fields(kind)}
    if dataclasses.is_dataclass(origin):
        unset = dataclasses.MISSING
        required = {
            each.name for each in dataclasses.fields(origin) if each.default is unset and each.default_factory is unset
        }
    elif is_typeddict(origin):
        required = set(origin.__required_keys__)
    else:
        return None
    return {name: (hint, name in required) for name, hint in get_type_hints(origin, include_extras=True).items()}


def _fields(
    kind: Any,
    fields: Mapping[str, tuple[Any, bool]],
    value: Mapping[str, Any],
    pointer: str,
    found: list[Violation],
) -> list[tuple[Any, Any, str]]:
    for name, (_, required) in fields.items():
        if required and name not in value:
            found.append(Violation(f"{pointer}/{_escape(name)}", "is required"))
    config = getattr(kind, "__struct_config__", None)
    if config is not None and config.forbid_unknown_fields:
        strange = (name for name in value if name not in fields and name != config.tag_field)
        found.extend(_unknown(name, list(fields), pointer) for name in strange)
    return [(fields[name][0], part, name) for name, part in value.items() if name in fields]


def _unknown(name: str, known: list[str], pointer: str) -> Violation:
    from headgate.kit.controls.validation import did_you_mean

    return Violation(f"{pointer}/{_escape(name)}", f"unknown field '{name}'", did_you_mean(name, known))


def _only(kind: Any) -> Any:
    """The one type of an optional one; others are left as they are."""
    origin = get_origin(kind)
    if getattr(origin, "__name__", "") not in {"Union", "UnionType"}:
        return kind
    members = [member for member in get_args(kind) if member is not type(None)]
    return bare(members[0]) if len(members) == 1 else kind


def _said(error: msgspec.ValidationError, pointer: str) -> list[Violation]:
    """What the library says, in the words of all other refusals."""
    from pydantic import ValidationError

    from headgate.kit.asgi.inputs import of_msgspec
    from headgate.kit.controls.validation import violations_of

    if isinstance(error.__cause__, ValidationError):
        return violations_of(error.__cause__, pointer)
    return [Violation(pointer + each.pointer, each.message, each.hint) for each in of_msgspec(str(error)).violations]


def _escape(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")
