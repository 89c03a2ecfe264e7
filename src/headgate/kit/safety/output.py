"""The response of one request on its way through the gate: held, judged, and sent on or refused."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from starlette.types import Message, Send

from headgate.kit.controls.faults import Fault
from headgate.kit.safety import documents, lines, sse
from headgate.kit.safety.envelopes import Envelopes
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.media import LINES, charset_of, is_json, is_text, kind_of
from headgate.kit.safety.refusals import unjudged
from headgate.kit.safety.session import Session

_MOST_KNOWN: Final = 16
_EVENTS: Final = b"text/event-stream"


class Output:
    """Takes the messages an application sends.

    `refusal` is the fault to raise, in place of the response or of the rest of it; `cut` whether the application
    was stopped. It is stopped as by a caller who left, with CancelledError: any other error, frameworks would log as
    a defect of the application.
    """

    def __init__(self, gate: Gate, send: Send, *, text_at: Sequence[str], buffer: int) -> None:
        self.refusal: Fault | None = None
        self._stop = asyncio.CancelledError()
        self._gate = gate
        self._send = send
        self._text_at = text_at
        self._buffer = buffer
        self._start: Message | None = None
        self._started = False
        self._judging: _Whole | _Text | _Events | None = None

    @property
    def cut(self) -> bool:
        """Whether the application was stopped."""
        return self.refusal is not None

    async def send(self, message: Message) -> None:
        """Take a message. Raises CancelledError once the response is refused."""
        if self.cut:
            raise self._stop
        try:
            await self._take(message)
        except Fault as fault:
            self.refusal = fault.with_traceback(None)
        if self.cut:
            raise self._stop

    def forget(self) -> None:
        """Let go of what the application did when it was stopped.

        The traceback holds what it iterated over, which would be open until the garbage is collected.
        """
        self._stop.with_traceback(None)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] != "http.response.body" or self._judging is None:
            await self._send(message)
        else:
            await self._pass(self._judging, message.get("body", b""), more=message.get("more_body", False))

    async def _begin(self, start: Message) -> None:
        """Hold the start of a response that is judged; pass on that of any other."""
        self._start = start
        self._judging = self._judge_for(start)
        if self._judging is not None and _header(start, b"content-encoding").lower() not in {b"", b"identity"}:
            self._judging = None
            if self._gate.on_error == "closed":
                raise unjudged("the response is compressed: the gate belongs inside what compresses")
        if self._judging is None:
            await self._commit()
        elif not isinstance(self._judging, _Whole):
            self._start = _resized(start, None)

    def _judge_for(self, start: Message) -> "_Whole | _Text | _Events | None":
        """How a response is judged: as it runs, or when all of it is there."""
        content_type = _header(start, b"content-type")
        kind, charset = kind_of(content_type), charset_of(content_type) or "utf-8"
        if kind == _EVENTS:
            return _Events(self._gate, sse.Splitter(), sse.read, self._text_at, self._buffer)
        if kind in LINES:
            return _Events(self._gate, lines.LineSplitter(), lines.read, self._text_at, self._buffer)
        if is_json(kind):
            return _Whole(self._gate, charset, self._buffer)
        if kind and not is_text(kind):
            return None
        # A response of text whose length is known is there already, or soon.
        known = _header(start, b"content-length")
        return _Whole(self._gate, charset, self._buffer) if known else _Text(self._gate, charset)

    async def _pass(self, judging: "_Whole | _Text | _Events", body: bytes, *, more: bool) -> None:
        whole = judging if isinstance(judging, _Whole) else None
        async for judged in judging.feed(body, more=more):
            if whole and whole.changed and self._start is not None:
                self._start = _resized(self._start, len(judged))
            await self._commit()
            await self._send({"type": "http.response.body", "body": judged, "more_body": more or whole is None})
        if whole and whole.given_up:
            self._judging = None
        if not more and whole is None:
            await self._commit()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _commit(self) -> None:
        if not self._started and self._start is not None:
            self._started = True
            await self._send(self._start)


class _Whole:
    """A body that is judged when all of it is there; at most `buffer` bytes."""

    def __init__(self, gate: Gate, charset: str, buffer: int) -> None:
        self.changed = False
        self.given_up = False
        self._gate = gate
        self._charset = charset
        self._buffer = buffer
        self._parts: list[bytes] = []
        self._size = 0

    async def feed(self, body: bytes, *, more: bool) -> AsyncGenerator[bytes, None]:
        """Take a part; yields the body once it may go out, or once it is too large for a gate that fails open."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > self._buffer:
            if self._gate.on_error == "closed":
                raise unjudged(f"the response is larger than the {self._buffer} bytes that can be judged")
            self.given_up = True
            yield b"".join(self._parts)
        elif not more:
            whole = b"".join(self._parts)
            judged = await self._judged(whole)
            self.changed = judged is not whole
            yield judged

    async def _judged(self, body: bytes) -> bytes:
        try:
            document = documents.parse(body)
        except documents.MalformedError:
            judgement = await self._gate.check_output(body.decode(self._charset, "replace"))
            return body if judgement.verdict != "redact" else judgement.text.encode(self._charset, "replace")
        new = await documents.checked(self._gate, document, "output")
        return body if new is document else documents.render(new)


class _Text:
    """Text that is judged as it runs, with bounded hold-back."""

    def __init__(self, gate: Gate, charset: str) -> None:
        self._session = Session(gate, "output")
        self._charset = charset
        # Bytes that are no UTF-8 go out as they came; of other encodings nobody can say where they went wrong.
        self._errors = "surrogateescape" if codecs.lookup(charset).name == "utf-8" else "replace"
        self._decoder = codecs.getincrementaldecoder(charset)(self._errors)
        self._encoder = codecs.getincrementalencoder(charset)(self._errors)

    async def feed(self, body: bytes, *, more: bool) -> AsyncGenerator[bytes, None]:
        """Take a part, which may end within a character; yields what may go out."""
        async for piece in self._session.feed(self._decoder.decode(body, not more)):
            yield self._encoder.encode(piece.text)
        if not more:
            async for piece in self._session.finish():
                yield self._encoder.encode(piece.text)


class _Events:
    """Events or lines that are judged as they run; at most `buffer` bytes of them wait."""

    def __init__(
        self,
        gate: Gate,
        splitter: sse.Splitter | lines.LineSplitter,
        read: Any,
        text_at: Sequence[str],
        buffer: int,
    ) -> None:
        self._gate = gate
        self._splitter = splitter
        self._read = read
        self._text_at = text_at
        self._buffer = buffer
        self._waiting: Envelopes[tuple[sse.Event, Any]] = Envelopes(gate, "output", most=buffer)
        self._known: dict[tuple[str, ...], None] = {}

    async def feed(self, body: bytes, *, more: bool) -> AsyncGenerator[bytes, None]:
        """Take a part, which may end within an event; yields events that may go out."""
        events = self._splitter.feed(body) + ([] if more else self._splitter.finish())
        if self._splitter.held > self._buffer:
            raise unjudged(f"an event is larger than the {self._buffer} bytes that can be judged")
        for raw in events:
            event = self._read(raw, self._text_at)
            if event.is_comment:
                yield raw
                continue
            document = await self._around(event)
            async for (ready, around), text in self._waiting.push((event, document), event.text, len(raw)):
                yield ready.with_text(text, around)
        if not more:
            async for (ready, around), text in self._waiting.finish():
                yield ready.with_text(text, around)

    async def _around(self, event: sse.Event) -> Any:
        """The document of an event with the texts beside the running one judged. Those known as clean are not again."""
        if event.document is None:
            return None
        found = documents.texts(event.document)
        found.pop(event.pointer or "", None)
        known = tuple(found.values())
        if not found or known in self._known:
            return event.document
        redacted = await self._gate.check_all(found, "output")
        if redacted:
            return documents.replaced(event.document, redacted)
        if len(self._known) < _MOST_KNOWN:
            self._known[known] = None
        return event.document


def _header(start: Message, name: bytes) -> bytes:
    for given, value in start.get("headers", ()):
        if given.lower() == name:
            return bytes(value)
    return b""


def _resized(start: Message, size: int | None) -> Message:
    """The start with another length, or with none: that of a stream shows only in the end."""
    headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
    if size is not None:
        headers.append((b"content-length", str(size).encode()))
    return {**start, "headers": headers}
