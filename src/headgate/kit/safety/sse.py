"""Server-sent events as bytes: taken apart without losing one, and put back with another text.

Source: WHATWG HTML, section 9.2 (server-sent events).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from headgate.kit.safety.documents import MalformedError, parse, render, replaced

TEXT_AT: Final = ("/chunk", "/text", "/delta", "/content", "/choices/0/delta/content", "/message")
"""Where the text of an event is looked for, when it is a JSON object, unless told otherwise."""

_END: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_LINE: Final = re.compile(r"\r\n|\n|\r")


class Splitter:
    """Cuts bytes into events, each with the blank line that ends it."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        """Bytes of an event that has not ended."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take more bytes; return the events that they end."""
        # The end may be split: one byte of what was searched before is searched again, or three with CRLF.
        start = max(0, len(self._rest) - 3)
        buffer, events, begin = self._rest + chunk, [], 0
        while found := _END.search(buffer, max(begin, start)):
            events.append(buffer[begin : found.end()])
            begin = found.end()
        self._rest = buffer[begin:]
        return events

    def finish(self) -> list[bytes]:
        """The rest, when the stream ends without a blank line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


@dataclass(frozen=True, slots=True)
class Event:
    """An event: its bytes, its data ("" when it has none) as a document or as text, and the running text in it.

    `pointer` is where in the document that text is: None when the data is no document, "" when it is a string or has
    no running text.
    """

    raw: bytes
    data: str
    document: Any
    pointer: str | None
    text: str

    @property
    def is_comment(self) -> bool:
        """Whether it is a comment or blank: of no meaning to the client, such as a heartbeat."""
        return all(not line or line.startswith(b":") for line in self.raw.splitlines())

    def with_text(self, text: str, document: Any) -> bytes:
        """The bytes of the event with another text, and another document around it."""
        if self.pointer is None:
            return self.raw if text == self.text else _with_data(self.raw, text)
        if text == self.text and document is self.document:
            return self.raw
        return _with_data(self.raw, render(self.around(text, document)).decode())

    def around(self, text: str, document: Any) -> Any:
        """The document with another running text."""
        return replaced(document, {self.pointer or "": text})


def read(raw: bytes, text_at: Sequence[str]) -> Event:
    """Read one event."""
    # Clients drop a byte order mark at the start of the stream.
    lines = _LINE.split(raw.decode("utf-8", "replace").removeprefix("\ufeff"))
    data = "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
    return Event(raw, data, *texts_of(data, text_at))


def texts_of(data: str, text_at: Sequence[str]) -> tuple[Any, str | None, str]:
    """The document that `data` is, where its running text is, and that text. What is no JSON is all running text."""
    try:
        document = parse(data.encode("utf-8", "surrogatepass")) if data.lstrip()[:1] in {"{", "[", '"'} else None
    except MalformedError:
        document = None
    if document is None:
        return None, None, data
    pointer = running_text(document, text_at)
    return document, pointer or "", "" if pointer is None else _at(document, pointer)


def running_text(document: Any, text_at: Sequence[str]) -> str | None:
    """The pointer of the running text in a document: the first that leads to a string; None when none does."""
    if isinstance(document, str):
        return ""
    return next((pointer for pointer in text_at if isinstance(_at(document, pointer), str)), None)


def _with_data(raw: bytes, data: str) -> bytes:
    others = [line for line in _LINE.split(raw.decode("utf-8", "replace")) if line and not line.startswith("data:")]
    lines = [*others, *(f"data: {line}" for line in _LINE.split(data))]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _at(document: Any, pointer: str) -> Any:
    for name in pointer.split("/")[1:]:
        if isinstance(document, list):
            document = document[int(name)] if name.isdigit() and int(name) < len(document) else None
        else:
            document = document.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(document, dict) else None
    return document
