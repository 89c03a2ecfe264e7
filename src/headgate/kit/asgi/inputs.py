"""What is wrong with the input, in the same words whichever library found it.

pydantic, msgspec and json each raise their own. `fault_of` makes one fault of any of them, with a JSON pointer
for each thing that is wrong, so that four frameworks answer alike.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from headgate.kit.controls import faults
from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import Fault, InvalidArgument, Violation
from headgate.kit.controls.validation import pointer, violations_from

HTTP_CODES: Final[Mapping[int, str]] = {
    400: "invalid_argument",
    401: "unauthenticated",
    403: "permission_denied",
    404: "path_not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "already_exists",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_argument",
    429: "resource_exhausted",
    501: "unimplemented",
    503: "unavailable",
    504: "deadline_exceeded",
}
"""The code of a refusal that HTTP itself makes: an unknown path, a method that is not possible."""

REQUIRED: Final = Violation("", "the body is required")
_KINDS: Final = {kind.kind: kind for kind in Fault.__subclasses__() if kind.__module__ == faults.__name__}
_WRAPPED: Final = ("Caught handled exception, but response already started.", "Exception caught after response started")
"""How Starlette and Litestar wrap what is raised after their response began."""

_ROOT_TYPES: Final = frozenset(("model_type", "model_attributes_type", "dict_type", "dataclass_type", "list_type"))
_PLACE: Final = re.compile(r" - at `\$(?P<path>.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\[(?P<index>\d+)\]|\[\.\.\.\]|\.?(?P<name>[^.\[]+)")
_TYPE: Final = re.compile(r"Expected `(?P<type>\w+)(?: \| null)?`(?:, got `[^`]*`)?$")
_BOUND: Final = re.compile(r"Expected `(?:int|float)(?: \| null)?` (?P<sign><=|>=|<|>) (?P<bound>\S+)$")
_LENGTH: Final = re.compile(r"Expected `(?P<type>\w+)(?: \| null)?` of length (?P<sign><=|>=) (?P<bound>\d+)$")
_PATTERN: Final = re.compile(r"Expected `str(?: \| null)?` matching regex (?P<pattern>.+)$")
_FIELD: Final = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`$")
_PLAIN: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "object": "an object",
    "array": "a list",
}
_SIGNS: Final = {
    "<=": "less than or equal to",
    ">=": "greater than or equal to",
    "<": "less than",
    ">": "greater than",
}


def invalid(violations: Iterable[Violation]) -> InvalidArgument:
    """The fault for input that is wrong in these ways."""
    listed = list(violations)
    first = f"{listed[0].pointer} {listed[0].message}".strip() if listed else "the input is not valid"
    more = f", and {len(listed) - 1} more" if len(listed) > 1 else ""
    return InvalidArgument(first + more, violations=listed)


def not_json(body: object) -> InvalidArgument:
    """The fault for a body that is not JSON: where it stops being it, in json's words whoever noticed."""
    if isinstance(body, str | bytes | bytearray):
        return broken_json(what_breaks(body) or "malformed") if body else invalid([REQUIRED])
    return broken_json("malformed")


def what_breaks(body: str | bytes | bytearray) -> str:
    """Why a body is not JSON, "" if it is."""
    try:
        json.loads(body)
    except json.JSONDecodeError as error:
        return f"{error.msg} at character {error.pos}"
    except UnicodeDecodeError:
        return "it is not UTF-8"
    except (ValueError, RecursionError):
        return "it is nested too deeply, or has numbers too long"
    return ""


def broken_json(reason: str) -> InvalidArgument:
    """The fault for a body that is not JSON, for a reason that is known."""
    return invalid([Violation("", f"the body is not JSON: {reason}")])


def not_this_type(content_type: str) -> InvalidArgument:
    """The fault for a body that claims to be of another type than JSON."""
    shown = content_type.partition(";")[0].strip()[:64] or "of no type"
    return InvalidArgument(
        f"the body is {shown}, not JSON", code="unsupported_media_type", hint="send Content-Type: application/json"
    )


def is_json(content_type: str) -> bool:
    """Whether a media type is JSON: `application/json` or one that ends in `+json`."""
    essence = content_type.partition(";")[0].strip().lower()
    return essence == "application/json" or (essence.startswith("application/") and essence.endswith("+json"))


def fault_of(error: BaseException | None) -> Fault | None:
    """The fault an exception stands for: itself, one that a framework wrapped, one for invalid input; else None."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, Fault) or error is None:
        return error
    if isinstance(error.__cause__, Fault) and str(error).endswith(_WRAPPED):
        return error.__cause__
    if isinstance(error, ValidationError):
        return of_pydantic(error)
    kinds = {f"{kind.__module__}.{kind.__name__}" for kind in type(error).__mro__}
    if "msgspec.ValidationError" in kinds:
        return of_msgspec(str(error))
    if "msgspec.DecodeError" in kinds:
        return invalid([Violation("", f"the body is not what it claims to be: {error}")])
    status = getattr(error, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 600 and any(kind.endswith(".HTTPException") for kind in kinds):
        return of_status(status, str(getattr(error, "detail", "") or getattr(error, "description", "")))
    return None


def of_status(status: int, detail: str) -> Fault:
    """The fault for a status that a framework's own exception names."""
    kind = _KINDS[code_of_status(status)]
    return kind(detail or "refused", code=HTTP_CODES.get(status))


def of_pydantic(error: ValidationError) -> InvalidArgument:
    """The fault for pydantic's error."""
    return of_details(error.errors(include_url=False), model_of(error))


def of_details(details: Iterable[Mapping[str, Any]], model: type[BaseModel] | None) -> InvalidArgument:
    """The fault for pydantic's error details about the body; hints are told when its `model` is known."""
    violations: list[Violation] = []
    for detail in details:
        if detail["type"] == "json_invalid":
            return not_json(detail.get("input"))
        if not detail["loc"] and (
            detail["type"] == "missing" or (detail["type"] in _ROOT_TYPES and detail.get("input") is None)
        ):
            violations.append(REQUIRED)
        else:
            violations += violations_from([detail], model=model)
    return invalid(violations)


def model_of(error: BaseException) -> type[BaseModel] | None:
    """The model that raised pydantic's error: the class whose method the traceback ends in."""
    traceback, found = error.__traceback__, None
    while traceback is not None:
        values = traceback.tb_frame.f_locals
        owner = values.get("cls") or type(values.get("self"))
        if isinstance(owner, type) and issubclass(owner, BaseModel) and owner is not BaseModel:
            found = owner
        traceback = traceback.tb_next
    return found


def of_msgspec(text: str) -> InvalidArgument:
    """The fault for the text of msgspec's error, which ends with the place."""
    place = _PLACE.search(text)
    return invalid([msgspec_violation(_PLACE.sub("", text), place["path"] if place else "")])


def msgspec_violation(message: str, path: str) -> Violation:
    """One of msgspec's messages about `path`, such as `.tags[0]`, in our words."""
    steps: list[str | int] = []
    for step in _STEP.finditer(path):
        if step["index"] is None and step["name"] is None:
            break  # msgspec does not tell the key
        steps.append(step["name"] or int(step["index"]))
    if field := _FIELD.match(message):
        unknown = field["what"] == "contains unknown"
        return Violation(
            pointer([*steps, field["name"]]), f"unknown field '{field['name']}'" if unknown else "is required"
        )
    if not steps and message.endswith(", got `null`"):
        return REQUIRED
    return Violation(pointer(steps), plain(message))


def plain(message: str) -> str:
    """One of msgspec's messages, without its place, in the words used for pydantic's."""
    if (match := _TYPE.match(message)) and match["type"] in _PLAIN:
        return f"must be {_PLAIN[match['type']]}"
    if match := _BOUND.match(message):
        return f"must be {_SIGNS[match['sign']]} {match['bound']}"
    if match := _LENGTH.match(message):
        unit = "character" if match["type"] == "str" else "item"
        plural = "" if match["bound"] == "1" else "s"
        return f"must have at {'most' if match['sign'] == '<=' else 'least'} {match['bound']} {unit}{plural}"
    if match := _PATTERN.match(message):
        return f"must match pattern {match['pattern']}"
    return "is not one of the values allowed" if message.startswith("Invalid enum value") else message
