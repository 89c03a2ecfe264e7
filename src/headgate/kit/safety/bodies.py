"""The texts in the body of a request: found by its content type, judged together, and put back.

| body | texts |
| --- | --- |
| JSON, whatever it calls itself | its strings, or those at chosen pointers |
| JSON lines | the strings of all lines |
| a form, urlencoded or multipart | its values; files that are text |
| other text | all of it |
| anything else | none |
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from headgate.kit.safety import documents
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.media import LINES, boundary_of, charset_of, is_json, is_text, kind_of

_FORM: Final = b"application/x-www-form-urlencoded"
_MULTIPART: Final = b"multipart/"
_PART_TYPE: Final = re.compile(rb"^content-type:([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_HEADERS_END: Final = re.compile(rb"\r?\n\r?\n")

_Written = Callable[[Any], bytes]


async def judged(gate: Gate, body: bytes, content_type: bytes, pointers: Sequence[str] = ()) -> bytes:
    """The body as it may be passed on: itself, or a copy in which texts were redacted. Raises as `Gate.check_all`."""
    kind = kind_of(content_type)
    if kind == _FORM:
        return await _form(gate, body)
    if kind.startswith(_MULTIPART) and (boundary := boundary_of(content_type)):
        return await _pieces(gate, body, _multipart(body, boundary))
    if kind in LINES:
        return await _pieces(gate, body, _lines(body))
    document, written = _read(body, content_type)
    new = await documents.checked(gate, document, "input", pointers if written is documents.render else ())
    return body if new is document else written(new)


def _read(body: bytes, content_type: bytes) -> tuple[Any, _Written]:
    """A document or a text, and how it is written; None for what holds no text."""
    try:
        return documents.parse(body), documents.render
    except documents.MalformedError:
        pass
    kind, charset = kind_of(content_type), charset_of(content_type)
    if charset or is_text(kind) or is_json(kind) or kind in LINES:
        # Whoever reads it may be as lenient.
        text = body.decode(charset or "utf-8", "replace")
        return text, lambda new: new.encode(charset or "utf-8", "replace")
    try:
        return body.decode("utf-8"), lambda new: new.encode("utf-8")
    except UnicodeDecodeError:
        return None, documents.render


async def _form(gate: Gate, body: bytes) -> bytes:
    fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    values = [value for _, value in fields]
    new = await documents.checked(gate, values, "input")
    return body if new is values else urlencode([(name, new[at]) for at, (name, _) in enumerate(fields)]).encode()


async def _pieces(gate: Gate, body: bytes, spans: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The body with the pieces judged that stand from one place to another, each of a content type."""
    pieces = [_read(body[start:end], content_type) for start, end, content_type in spans]
    given = [document for document, _ in pieces]
    found = documents.texts(given)
    redacted = await gate.check_all(found, "input") if found else {}
    if not redacted:
        return body
    # By pointer: what was found in a member that another hides does not show in the document.
    changed = {int(pointer.partition("\0")[0].split("/")[1]) for pointer in redacted}
    new = documents.replaced(given, redacted)
    out, at = [], 0
    for index, ((start, end, _), (_, written)) in enumerate(zip(spans, pieces, strict=True)):
        if index in changed:
            out += [body[at:start], written(new[index])]
            at = end
    return b"".join([*out, body[at:]])


def _lines(body: bytes) -> list[tuple[int, int, bytes]]:
    """Where the lines of a body are, without their ends."""
    spans, at = [], 0
    for line in body.splitlines(keepends=True):
        content = len(line.rstrip(b"\r\n"))
        if content:
            spans.append((at, at + content, b"application/json"))
        at += len(line)
    return spans


def _multipart(body: bytes, boundary: bytes) -> list[tuple[int, int, bytes]]:
    """Where the contents of the parts are, and their types. What stands before the first part is one, too."""
    ends = [*re.finditer(rb"(?:^|\r?\n)--" + re.escape(boundary), body)]
    starts = [0, *(found.end() for found in ends)]
    spans = []
    for start, end in zip(starts, [*(found.start() for found in ends), len(body)], strict=True):
        found = _HEADERS_END.search(body, start, end)
        headers = body[start : found.end()] if found else b""
        given = _PART_TYPE.search(headers)
        spans.append((found.end() if found else start, end, given[1].strip() if given else b""))
    return spans
