"""The response of one request on its way through the gate: held, judged, and sent on or refused."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final

from starlette.types import Message, Send

from headgate.kit.asgi.problems import problem_document, status_of
from headgate.kit.controls.faults import Fault
from headgate.kit.observe.logs import current_request_id
from headgate.kit.safety import documents, sse
from headgate.kit.safety.envelopes import Envelopes
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.refusals import unjudged

_MOST_KNOWN: Final = 16


class Output:
    """Takes the messages an application sends.

    `refusal` is the fault to raise in place of the response, when it has not started; `cut` whether the
    application was stopped. It is stopped as by a caller who left, with CancelledError: any other error, frameworks
    would log as a defect of the application.
    """

    def __init__(self, gate: Gate, send: Send, *, text_at: Sequence[str], buffer: int) -> None:
        self.refusal: Fault | None = None
        self.cut = False
        self._stop = asyncio.CancelledError()
        self._gate = gate
        self._send = send
        self._text_at = text_at
        self._buffer = buffer
        self._start: Message | None = None
        self._started = False
        self._body: list[bytes] = []
        self._size = 0
        self._mode = ""
        self._splitter = sse.Splitter()
        self._events: Envelopes[tuple[sse.Event, Any]] = Envelopes(gate, "output", most=buffer)
        self._known: dict[tuple[str, ...], None] = {}

    async def send(self, message: Message) -> None:
        """Take a message. Raises CancelledError once the response is refused."""
        if self.cut:
            raise self._stop
        try:
            await self._take(message)
        except Fault as fault:
            refusal = fault.with_traceback(None)
        else:
            return
        await self._refuse(refusal)
        raise self._stop

    def forget(self) -> None:
        """Let go of what the application did when it was stopped.

        The traceback holds what it iterated over, which would be open until the garbage is collected.
        """
        self._stop.with_traceback(None)

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        elif message["type"] != "http.response.body" or not self._mode:
            await self._send(message)
        elif self._mode == "stream":
            await self._stream(message.get("body", b""), more=message.get("more_body", False))
        else:
            await self._whole(message.get("body", b""), more=message.get("more_body", False))

    async def _begin(self, start: Message) -> None:
        """Hold the start of a response that is judged; pass on that of any other."""
        kind = _header(start, b"content-type").partition(b";")[0].strip().lower()
        if kind == b"text/event-stream":
            self._mode = "stream"
        elif kind in {b"application/json", b"text/plain"} or kind.endswith(b"+json"):
            self._mode = "whole"
        if self._mode and _header(start, b"content-encoding") not in {b"", b"identity"}:
            self._mode = ""
            if self._gate.on_error == "closed":
                raise unjudged("the response is compressed: the gate belongs inside what compresses")
        self._start = start
        if not self._mode:
            await self._commit()

    async def _commit(self) -> None:
        if not self._started and self._start is not None:
            self._started = True
            await self._send(self._start)

    async def _whole(self, body: bytes, *, more: bool) -> None:
        self._body.append(body)
        self._size += len(body)
        if self._size > self._buffer:
            if self._gate.on_error == "closed":
                raise unjudged(f"the response is larger than the {self._buffer} bytes that can be judged")
            self._mode = ""
            await self._commit()
            await self._send({"type": "http.response.body", "body": b"".join(self._body), "more_body": more})
        elif not more:
            whole = b"".join(self._body)
            judged = await self._judged(whole)
            if judged is not whole and self._start is not None:
                self._start = _resized(self._start, len(judged))
            await self._commit()
            await self._send({"type": "http.response.body", "body": judged})

    async def _judged(self, body: bytes) -> bytes:
        try:
            document = documents.parse(body)
        except documents.MalformedError:
            judgement = await self._gate.check_output(body.decode("utf-8", "replace"))
            return body if judgement.verdict != "redact" else judgement.text.encode("utf-8")
        new = await documents.checked(self._gate, document, "output")
        return body if new is document else documents.render(new)

    async def _stream(self, body: bytes, *, more: bool) -> None:
        events = self._splitter.feed(body) + ([] if more else self._splitter.finish())
        if self._splitter.held > self._buffer:
            raise unjudged(f"an event is larger than the {self._buffer} bytes that can be judged")
        for raw in events:
            async for (event, document), text in self._event(raw):
                await self._emit(event.with_text(text, document))
        if not more:
            async for (event, document), text in self._events.finish():
                await self._emit(event.with_text(text, document))
            await self._commit()
            await self._send({"type": "http.response.body", "body": b""})

    async def _event(self, raw: bytes) -> AsyncGenerator[tuple[tuple[sse.Event, Any], str], None]:
        event = sse.read(raw, self._text_at)
        if event.is_comment:
            yield (event, None), ""
            return
        document = await self._around(event)
        async for ready in self._events.push((event, document), event.text, len(raw)):
            yield ready

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

    async def _emit(self, body: bytes) -> None:
        await self._commit()
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _refuse(self, fault: Fault) -> None:
        """Stop the application; answer with the fault, or end the stream with it."""
        self.cut = True
        if not self._started:
            self.refusal = fault
            return
        problem = problem_document(
            status=status_of(fault),
            code=fault.code,
            detail=fault.message,
            hint=fault.hint,
            request_id=current_request_id(),
        )
        await self._send({"type": "http.response.body", "body": sse.error_event(problem)})


def _header(start: Message, name: bytes) -> bytes:
    for given, value in start.get("headers", ()):
        if given.lower() == name:
            return bytes(value)
    return b""


def _resized(start: Message, size: int) -> Message:
    headers = [(name, value) for name, value in start.get("headers", ()) if name.lower() != b"content-length"]
    return {**start, "headers": [*headers, (b"content-length", str(size).encode())]}
