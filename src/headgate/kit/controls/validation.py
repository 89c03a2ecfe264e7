"""What is wrong with a document, in words its author can act on.

Turns pydantic's errors into violations: an RFC 6901 pointer, a plain sentence, and a hint (the nearest
field, the values allowed, the bounds). Pure.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema
from pydantic_core import ErrorDetails

from headgate.kit.controls.faults import Violation

_SHOULD: Final = re.compile(r"^(?:[A-Z]\w*|URL|UUID) should ")
_AFTER_VALIDATION: Final = re.compile(r" after validation\b")
_PLAIN: Final = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_sub_type"), "text"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type", "mapping_type"), "an object"),
    **dict.fromkeys(("list_type", "set_type", "tuple_type"), "a list"),
    "path_type": "a path",
}
_KEY: Final = "[key]"
_MANY: Final = 12


def escape(token: str) -> str:
    """One reference token of a JSON pointer, escaped (RFC 6901, section 3)."""
    return token.replace("~", "~0").replace("/", "~1")


def pointer(loc: Iterable[str | int], prefix: str = "") -> str:
    """The JSON pointer of a location, put behind `prefix` (itself a pointer)."""
    return prefix + "".join(f"/{escape(str(item))}" for item in loc)


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` was probably meant to be; "" when none is near."""
    by_lower = {candidate.lower(): candidate for candidate in names}
    found = difflib.get_close_matches(name.lower().replace("-", "_"), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else ""


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """A hint: the nearest of `names`, or all of them when they are few, or ""."""
    found = nearest(name, names)
    if found:
        return f"did you mean '{found}'?"
    return f"known here: {', '.join(names)}" if 0 < len(names) <= _MANY else ""


def violations_of(error: ValidationError, prefix: str = "", *, model: type[BaseModel] | None = None) -> list[Violation]:
    """Each of pydantic's errors as a violation, without the input's values.

    `prefix` is the pointer of the validated document inside the one the caller sent. With `model`, the
    class that was validated, hints name the nearest field and the values allowed, and the tags that
    pydantic puts into a location for the members of a union are left out of the pointer.
    """
    details = error.errors(include_url=False, include_context=True)
    return violations_from(details, prefix, model=model)


def violations_from(
    details: Iterable[Mapping[str, Any] | ErrorDetails], prefix: str = "", *, model: type[BaseModel] | None = None
) -> list[Violation]:
    """The same for errors already taken out of their exception, as FastAPI hands them over."""
    found: dict[Violation, None] = {}
    for detail in details:
        # A value derived from one that is itself refused is no trouble of its own.
        if detail["type"] != "default_factory_not_called":
            found[_violation(detail, prefix, model)] = None
    return list(found)


def _violation(detail: Mapping[str, Any] | ErrorDetails, prefix: str, model: type[BaseModel] | None) -> Violation:
    loc = tuple(detail["loc"])
    is_key = bool(loc) and loc[-1] == _KEY
    if is_key:
        loc = loc[:-1]
    steps, owners = _walk(loc, model)
    message = _message(detail)
    if is_key:
        message = f"its name {message}"
    return Violation(pointer(steps, prefix), message, _hint(detail, loc, owners))


def _message(detail: Mapping[str, Any] | ErrorDetails) -> str:
    loc = detail["loc"]
    match detail["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return f"unknown field '{loc[-1]}'" if loc else "unknown field"
        case "json_invalid":
            return f"is not JSON: {(detail.get('ctx') or {}).get('error', 'malformed')}"
        case "value_error" | "assertion_error":
            return str(detail["msg"]).partition(", ")[2] or str(detail["msg"])
        case kind if kind in _PLAIN:
            return f"must be {_PLAIN[kind]}"
        case _:
            return _SHOULD.sub("must ", _AFTER_VALIDATION.sub("", str(detail["msg"])))


def _hint(detail: Mapping[str, Any] | ErrorDetails, loc: Sequence[str | int], owners: list[type[BaseModel]]) -> str:
    name = str(loc[-1]) if loc else ""
    if detail["type"] == "extra_forbidden":
        return did_you_mean(name, [_shown(model, field) for model in owners for field in model.model_fields])
    if detail["type"] == "missing" or not owners:
        return ""
    if detail["type"] == "literal_error" and isinstance(detail.get("input"), str):
        values = [str(value) for value in _literals(owners, name)]
        near = nearest(str(detail["input"]), values)
        if near:
            return f"did you mean '{near}'?"
    if detail["type"] == "string_pattern_mismatch":
        return next((text for model in owners if (text := _property(model, name).get("description", ""))), "")
    allowed = next((text for model in owners if (text := allowed_values(model, name))), "text")
    return f"allowed: {allowed}" if allowed != "text" else ""


def _shown(model: type[BaseModel], field: str) -> str:
    info = model.model_fields[field]
    return info.alias or field


def _literals(owners: list[type[BaseModel]], name: str) -> list[Any]:
    return [value for model in owners for value in _enum(_property(model, name))]


def _enum(schema: Mapping[str, Any]) -> list[Any]:
    return [*schema.get("enum", ()), *(v for part in schema.get("anyOf", ()) for v in part.get("enum", ()))]


def _walk(loc: Sequence[str | int], model: type[BaseModel] | None) -> tuple[list[str | int], list[type[BaseModel]]]:
    """The steps of `loc` without union tags, and the models that may own its last step."""
    if model is None:
        return list(loc), []
    steps: list[str | int] = []
    owners: list[type[BaseModel]] = []
    here: list[Any] = [model]
    chosen = True
    for item in loc:
        members = [member for annotation in here for member in _members(annotation)]
        if len(members) > 1 and not chosen:
            here = [member for member in members if _tag(member) == item] or members
            chosen = True
            continue
        owners = [member for member in members if isinstance(member, type) and issubclass(member, BaseModel)]
        steps.append(item)
        here = [inner for member in members for inner in _inside(member, item)]
        chosen = False
    return steps, owners


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if isinstance(annotation, type) or not _is_union(annotation):
        return [annotation]
    return [member for part in get_args(annotation) if part is not type(None) for member in _members(part)]


def _is_union(annotation: Any) -> bool:
    return getattr(get_origin(annotation), "__name__", "") in {"Union", "UnionType"}


def _tag(member: Any) -> str:
    return getattr(member, "__name__", str(member))


def _inside(annotation: Any, item: str | int) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if item in (name, info.alias):
                return [info.annotation]
        return []
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if not arguments or not isinstance(origin, type):
        return []
    if issubclass(origin, Mapping):
        return [arguments[-1]]
    return [arguments[0]] if isinstance(item, int) else []


@lru_cache(maxsize=256)
def _schema(model: type[BaseModel]) -> Mapping[str, Any]:
    try:
        return model.model_json_schema()
    except PydanticInvalidForJsonSchema:
        return {}


def _property(model: type[BaseModel], name: str) -> Mapping[str, Any]:
    properties: Mapping[str, Mapping[str, Any]] = _schema(model).get("properties", {})
    return properties.get(name, {})


def allowed_values(model: type[BaseModel], name: str) -> str:
    """What the field `name` of `model` takes, such as "a whole number from 1 to 65535"; "" when unknown."""
    return describe(_property(model, name))


def describe(schema: Mapping[str, Any]) -> str:
    """A JSON Schema fragment in words; "" when there is nothing useful to say."""
    if "anyOf" in schema:
        parts = [describe(part) for part in schema["anyOf"] if part.get("type") != "null"]
        return " or ".join(dict.fromkeys(part for part in parts if part))
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    match schema.get("type"):
        case "integer":
            return "a whole number" + _range(schema)
        case "number":
            return "a number" + _range(schema)
        case "boolean":
            return "true or false"
        case "array":
            return "a list" + _size(schema, "Items", "items")
        case "string":
            return _describe_string(schema)
        case _:
            return ""


def _describe_string(schema: Mapping[str, Any]) -> str:
    if schema.get("format") == "path":
        return "a path"
    text = "text" + _size(schema, "Length", "characters")
    return f"{text} matching {schema['pattern']}" if "pattern" in schema else text


def _range(schema: Mapping[str, Any]) -> str:
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f" {word} {schema[bound]}" for bound, word in words.items() if bound in schema)


def _size(schema: Mapping[str, Any], what: str, unit: str) -> str:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least is None and most is None:
        return ""
    if least is None:
        return f" of at most {most} {unit}"
    return f" of at least {least} {unit}" if most is None else f" of {least} to {most} {unit}"
