"""The client's end of a session: calls that are awaited, streams that are iterated, within their credit.

    calling = Calling(JSON_FORM, wake)
    response = await calling.unary("/orders.Orders/Get", b'{"id": "o-1"}', headers={}, timeout_ms=500)
    calling.receive(form.decode(raw))       # what the connection brings
    calling.lost()                          # the connection is gone: every call under way ends

Nothing here does I/O; `wake` is called when frames wait in `session`. Whoever stops awaiting a call cancels it.

    Refused             the other side's fault, as its document
    ConnectionLost      the connection broke first
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from typing import Any, Final

from msgspec import UNSET, Raw

from headgate.kit.controls.faults import Fault
from headgate.service.client.errors import BadAnswer, ConnectionLost
from headgate.service.faults import fault_of
from headgate.service.transports.session.frames import Data, Form, Frame
from headgate.service.transports.session.machine import Credited, Ended, Event, Failed, Got, Session

_LOST: Final = b""


class Refused(Exception):  # noqa: N818 - carries what the other side answered
    """The call ended with a fault; `document` is its document, "" when the connection broke."""

    def __init__(self, document: bytes) -> None:
        super().__init__("the call was refused")
        self.document = document


class _Waiting:
    """One call under way."""

    __slots__ = ("credit", "done", "failed", "last", "messages", "ready")

    def __init__(self) -> None:
        self.messages: deque[Raw] = deque()
        self.ready = asyncio.Event()
        self.credit = asyncio.Event()
        self.done = False
        self.last: Data = UNSET
        self.failed: bytes | None = None


class Calling:
    """See the module. `most_calls` are at a time, more wait nowhere: `unary` raises ResourceExhausted.

    One answer has at most `most_message` bytes, 0 for any number; a larger one is refused, and that call cancelled.
    """

    def __init__(
        self,
        form: Form,
        wake: Callable[[], None],
        *,
        most_calls: int = 128,
        most_message: int = 0,
        numbered: bool = False,
    ) -> None:
        self.session = Session(form, client=True, most_calls=most_calls, most_message=most_message, numbered=numbered)
        self._form = form
        self._wake = wake
        self._single: dict[int, asyncio.Future[Data]] = {}
        self._waiting: dict[int, _Waiting] = {}

    def receive(self, frame: Frame) -> None:
        """Do what the frame says. Raises the fault the session is to end with."""
        for event in self.session.receive(frame):
            self._on(event)
        self._wake()

    def lost(self) -> None:
        """The connection is gone."""
        for event in self.session.lost(_LOST):
            self._on(event)

    async def unary(
        self, path: str, data: bytes, *, headers: Mapping[str, str] | None = None, timeout_ms: int | None = None
    ) -> bytes | None:
        """The response's bytes, None when there is none. Raises Refused."""
        session = self.session
        call = session.open(path, data, headers=dict(headers) if headers else None, timeout_ms=timeout_ms)
        future = self._single[call] = asyncio.get_running_loop().create_future()
        self._wake()
        try:
            found = await future
        finally:
            self._single.pop(call, None)
            if session.cancel(call):
                self._wake()
        return None if found is UNSET else bytes(found)

    async def stream(
        self,
        path: str,
        data: bytes | None,
        requests: AsyncIterator[bytes] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_ms: int | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """The messages that come back; with `requests` these are sent meanwhile. Raises Refused."""
        session, waiting = self.session, _Waiting()
        first: Data = UNSET if data is None else data
        call = session.open(
            path,
            first,
            headers=dict(headers) if headers else None,
            timeout_ms=timeout_ms,
            stream=requests is not None,
        )
        self._waiting[call] = waiting
        self._wake()
        sending = None if requests is None else asyncio.create_task(self._send(call, waiting, requests))
        try:
            while True:
                while waiting.messages:
                    yield bytes(waiting.messages.popleft())
                    session.consumed(call)
                    self._wake()
                if waiting.failed is not None:
                    raise Refused(waiting.failed)
                if waiting.done:
                    break
                waiting.ready.clear()
                await _either(waiting.ready, sending)
            if isinstance(waiting.last, Raw):
                yield bytes(waiting.last)
        finally:
            self._waiting.pop(call, None)
            if session.cancel(call):
                self._wake()
            await _stopped(sending)

    async def _send(self, call: int, waiting: _Waiting, requests: AsyncIterator[bytes]) -> None:
        session = self.session
        try:
            async for data in requests:
                while not session.send(call, data):
                    if call not in session.calls:
                        return
                    waiting.credit.clear()
                    await waiting.credit.wait()
                self._wake()
            session.finish(call)
            self._wake()
        finally:
            close = getattr(requests, "aclose", None)
            if close is not None:
                await close()

    def _on(self, event: Event) -> None:
        if isinstance(event, Ended | Failed) and (future := self._single.get(event.id)) is not None:
            if future.done():
                return
            if isinstance(event, Ended):
                future.set_result(event.data)
            else:
                future.set_exception(Refused(bytes(event.document)))
            return
        if not isinstance(event, Ended | Failed | Got | Credited):
            return
        waiting = self._waiting.get(event.id)
        if waiting is None:
            return
        if isinstance(event, Got):
            waiting.messages.append(event.data)
        elif isinstance(event, Ended):
            waiting.last, waiting.done = event.data, True
        elif isinstance(event, Failed):
            waiting.failed = bytes(event.document)
        waiting.credit.set()
        waiting.ready.set()


def fault_from(form: Form, refused: Refused, declared: Mapping[str, type[Fault]]) -> Fault:
    """The fault that ended a call, of the class its method declares."""
    if not refused.document:
        return ConnectionLost("the connection broke before the answer was whole", hint="call again if that is safe")
    try:
        document: Any = form.codec.decode(refused.document)
    except Exception as error:  # noqa: BLE001 - whatever a codec says of it
        return BadAnswer("the fault that came back cannot be read", internal=str(error))
    return fault_of(document, declared)


async def _either(ready: asyncio.Event, sending: asyncio.Task[None] | None) -> None:
    """Wait for what comes; raise what the sender of requests ended with, if it failed."""
    if sending is None or (sending.done() and sending.exception() is None):
        await ready.wait()
        return
    came = asyncio.ensure_future(ready.wait())
    try:
        await asyncio.wait({came, sending}, return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            if not came.done():
                await came
    finally:
        came.cancel()


async def _stopped(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
