"""Bytes to plain values: JSON or YAML, whichever the document is written in.

Source: RFC 8259 (JSON); YAML 1.2 core schema, limited to what JSON can say.
"""

import json
import re
from typing import Any, Final

from headgate.controlplane.openapi.yaml_text import parse_yaml
from headgate.kit.controls.faults import Fault, InvalidArgument

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def parse_text(raw: bytes) -> Any:
    """The values written in `raw`, of JSON's types only.

    UTF-8, UTF-16 and UTF-32 are recognised. Raises InvalidArgument with code `not_text`, `empty_document`,
    `invalid_json`, `invalid_yaml`, `duplicate_key` or `document_too_large`.
    """
    text = _decode(raw)
    if not text.strip():
        raise InvalidArgument("The document is empty.", code="empty_document", hint="Send an OpenAPI document.")
    if not text.lstrip().startswith(("{", "[")):
        return parse_yaml(text)
    try:
        return _parse_json(text)
    except _DuplicateKeyError as duplicate:
        raise _locate_duplicate(text, duplicate.key) from None
    except (ValueError, RecursionError) as error:
        # YAML's flow style looks like JSON with less ceremony.
        try:
            return parse_yaml(text)
        except Fault:
            raise _json_fault(error) from None


def _decode(raw: bytes) -> str:
    try:
        return raw.decode(json.detect_encoding(raw)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"The document is not text: {error.reason} at byte {error.start}.",
            code="not_text",
            hint="Send it as UTF-8.",
        ) from None


def _parse_json(text: str) -> Any:
    value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    if _SURROGATE.search(text):
        # Half a surrogate pair is no character: it could not be written down again.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        raise _DuplicateKeyError(next(key for key, _ in pairs if key in seen or seen.add(key)))  # type: ignore[func-returns-value]
    return made


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _locate_duplicate(text: str, key: str) -> Fault:
    # JSON is YAML too, and the YAML reader knows where it is.
    try:
        parse_yaml(text)
    except Fault as fault:
        if fault.code == "duplicate_key":
            return fault
    return InvalidArgument(f"The key '{key}' stands twice in one object.", code="duplicate_key")


def _json_fault(error: Exception) -> InvalidArgument:
    if isinstance(error, json.JSONDecodeError):
        reason = f"{error.msg} at line {error.lineno}, column {error.colno}"
    elif isinstance(error, RecursionError):
        reason = "it is nested too deeply"
    elif isinstance(error, UnicodeEncodeError):
        reason = "it holds half a surrogate pair (\\ud800 to \\udfff), which is no character"
    else:
        reason = str(error).partition(";")[0]
    return InvalidArgument(f"The document is not JSON: {reason}.", code="invalid_json")
