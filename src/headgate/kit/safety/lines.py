"""JSON lines as bytes: taken apart and put back, as `sse` does with events."""

from collections.abc import Sequence

from headgate.kit.safety import documents, sse


class LineSplitter:
    """Cuts bytes into lines, each with its end."""

    def __init__(self) -> None:
        self._rest = b""

    @property
    def held(self) -> int:
        """Bytes of a line that has not ended."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take more bytes; return the lines that they end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line + b"\n" for line in lines]

    def finish(self) -> list[bytes]:
        """The rest, when there is no end to the last line."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []


class LineEvent(sse.Event):
    """A line: what an event is, without the words around its data."""

    __slots__ = ()

    @property
    def is_comment(self) -> bool:
        """Whether it is blank."""
        return not self.raw.strip()

    def with_text(self, text: str, document: object) -> bytes:
        """The line with another text, and another document around it."""
        if text == self.text and document is self.document:
            return self.raw
        data = text if self.pointer is None else documents.render(self.around(text, document)).decode("ascii")
        return data.encode("utf-8", "surrogateescape") + self.raw[len(self.raw.rstrip(b"\r\n")) :]


def read(raw: bytes, text_at: Sequence[str]) -> LineEvent:
    """Read one line, as `sse.read` reads the data of an event."""
    data = raw.rstrip(b"\r\n").decode("utf-8", "surrogateescape")
    return LineEvent(raw, data, *sse.texts_of(data, text_at))
