"""JSON as a request may carry it: RFC 8259 to the letter, and nothing that a store or a reader would lose.

Refused beyond malformed text: a name that stands twice in one object (readers disagree about which one
counts) and the NUL character (PostgreSQL cannot store it). Pure.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.controls.validation import escape


class _Repeated(dict[str, Any]):
    """An object in which `name` stood more than once."""

    name = ""


def parse(body: bytes) -> Any:
    """The value of a JSON text. Raises InvalidArgument (`malformed_json`) with the line and column, or the pointer."""
    if not body.strip():
        raise InvalidArgument("the body is empty", code="malformed_json", hint="send a JSON object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InvalidArgument(
            f"the body is not JSON: {error.msg} at {where}",
            code="malformed_json",
            hint=f"check the text around {where}",
            violations=[Violation("", f"{error.msg} at {where}")],
        ) from None
    _refuse_repeated_names(body)
    if b"\\u0000" in body:
        _refuse_nul(value)
    return value


def _find(value: Any, pointer: str, wanted: Callable[[Any], bool]) -> tuple[str, Any] | None:
    """The first thing inside `value` that is wanted, with its JSON pointer."""
    if wanted(value):
        return pointer, value
    if isinstance(value, dict):
        inside: Iterable[tuple[str | int, Any]] = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    else:
        return None
    for step, item in inside:
        found = _find(item, f"{pointer}/{escape(str(step))}", wanted)
        if found is not None:
            return found
    return None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    names = [name for name, _ in pairs]
    marked = _Repeated(plain)
    marked.name = next(name for name in names if names.count(name) > 1)
    return marked


def _refuse_repeated_names(body: bytes) -> None:
    # Most bodies repeat no name, and then the second reading costs a few milliseconds per megabyte.
    try:
        again = json.loads(body, object_pairs_hook=_pairs)
        found = _find(again, "", lambda item: isinstance(item, _Repeated))
    except RecursionError:
        raise InvalidArgument(
            "the body is nested too deeply",
            code="malformed_json",
            hint="a few dozen levels are more than any field needs",
        ) from None
    if found is None:
        return
    pointer, repeated = found
    message = f"the name '{repeated.name}' stands more than once"
    raise InvalidArgument(
        f"the body is ambiguous: {message}",
        code="malformed_json",
        hint="keep one of them",
        violations=[Violation(f"{pointer}/{escape(repeated.name)}", message)],
    )


def _refuse_nul(value: Any) -> None:
    found = _find(value, "", _holds_nul)
    if found is not None:
        raise InvalidArgument(
            "the body holds a NUL character",
            code="malformed_json",
            hint="leave \\u0000 out",
            violations=[Violation(found[0], "must not hold the NUL character")],
        )


def _holds_nul(item: Any) -> bool:
    return (isinstance(item, str) and "\x00" in item) or (isinstance(item, dict) and any("\x00" in key for key in item))
