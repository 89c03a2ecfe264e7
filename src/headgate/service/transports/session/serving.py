"""The server's end of a session: each call a task, streams both ways within their credit.

    server = Serving(conduct, form, make_call, wake)
    server.receive(form.decode(raw))        # raises when the peer breaks the protocol
    server.session.take()                   # frames to send, whenever `wake` was called
    await server.aclose()                   # the peer left: what is under way is cancelled

Nothing here does I/O; `wake` is called when frames wait.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Final

from msgspec import UNSET, Raw

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument
from headgate.service.transports.session.conduct import Conduct, Route, seconds_of
from headgate.service.transports.session.frames import Data, Form, Frame
from headgate.service.transports.session.machine import (
    Called,
    Cancelled,
    Closed,
    Credited,
    Event,
    Got,
    Ponged,
    Session,
)

MakeCall = Callable[[Frame], Call]

_OVER: Final = "the call is over"


class Flow:
    """A call's stream of incoming messages, and its wait for credit. Used by one task."""

    __slots__ = ("_arrived", "_credit", "_ended", "_messages")

    def __init__(self) -> None:
        self._messages: deque[Raw] = deque()
        self._arrived = asyncio.Event()
        self._credit = asyncio.Event()
        self._ended = False

    def put(self, data: Raw) -> None:
        """A message came."""
        self._messages.append(data)
        self._arrived.set()

    def end(self) -> None:
        """No more will come."""
        self._ended = True
        self._arrived.set()

    def credited(self) -> None:
        """Credit came, or the call is over."""
        self._credit.set()

    async def get(self) -> Raw | None:
        """The next message, None at the end."""
        while not self._messages:
            if self._ended:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        return self._messages.popleft()

    async def credit(self) -> None:
        """Wait until credit comes."""
        self._credit.clear()
        await self._credit.wait()


class Serving:
    """See the module. `make_call` makes the kit's call of a `call` frame. Raises what it and `Session` raise."""

    def __init__(
        self,
        conduct: Conduct,
        form: Form,
        make_call: MakeCall,
        wake: Callable[[], None],
        *,
        most_calls: int = 128,
        most_message: int = 0,
        numbered: bool = False,
    ) -> None:
        self.session = Session(form, client=False, most_calls=most_calls, most_message=most_message, numbered=numbered)
        self._conduct = conduct
        self._form = form
        self._codec = form.codec
        self._make_call = make_call
        self._wake = wake
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._all: set[asyncio.Task[None]] = set()
        self._flows: dict[int, Flow] = {}
        self.ponged = asyncio.Event()
        """Set when the peer answers a ping: all that it sent before has come."""

    @property
    def busy(self) -> bool:
        """Whether calls are under way."""
        return bool(self._all)

    def receive(self, frame: Frame) -> None:
        """Do what the frame says. Raises the fault the session is to end with."""
        for event in self.session.receive(frame):
            self._on(event)
        self._wake()

    async def aclose(self) -> None:
        """Cancel what is under way, and wait until it is over."""
        tasks = list(self._all)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._all:
            await asyncio.wait(self._all)

    def _on(self, event: Event) -> None:
        if isinstance(event, Called):
            task = asyncio.create_task(self._serve(event.id, event.frame))
            self._tasks[event.id] = task
            self._all.add(task)
            task.add_done_callback(self._all.discard)
        elif isinstance(event, Cancelled):
            task_of = self._tasks.get(event.id)
            if task_of is not None:
                task_of.cancel()
        elif isinstance(event, Ponged):
            self.ponged.set()
        elif isinstance(event, Got | Closed | Credited):
            flow = self._flows.get(event.id)
            if flow is None:
                flow = self._flows[event.id] = Flow()  # its task has not begun yet
            if isinstance(event, Got):
                flow.put(event.data)
            elif isinstance(event, Closed):
                flow.end()
            else:
                flow.credited()

    async def _serve(self, id: int, frame: Frame) -> None:  # noqa: A002
        call = self._make_call(frame)
        session = self.session
        try:
            route = self._conduct.routes.get(frame.path)
            if route is None or (route.unary and not frame.stream):
                body = frame.data if isinstance(frame.data, Raw) else b""
                out, fault = await self._conduct.unary(call, route, self._codec, body, seconds_of(frame.timeout_ms))
                if fault is None:
                    session.finish(id, out)
                else:
                    session.fail(id, self._conduct.document(self._codec, fault, call))
            else:
                await self._streamed(id, frame, route, call)
        finally:
            self._tasks.pop(id, None)
            self._flows.pop(id, None)
            self._wake()

    async def _streamed(self, id: int, frame: Frame, route: Route, call: Call) -> None:  # noqa: A002
        session, conduct, encode = self.session, self._conduct, self._codec.encode
        flow = self._flows.setdefault(id, Flow())

        async def send(response: Any) -> None:
            data = encode(response)
            call.bytes_out += len(data)
            while not session.send(id, data):
                if id not in session.calls:
                    raise asyncio.CancelledError(_OVER)
                await flow.credit()
            self._wake()

        try:
            requests = partial(self._requests, id, frame, route, call, flow)
            result, fault = await conduct.stream(call, route, requests, send, seconds_of(frame.timeout_ms))
            out: Data = UNSET
            if fault is None and not route.kind.streams_out:
                out = encode(result)
        except asyncio.CancelledError:
            conduct.cancelled(call)
            raise
        except Exception as error:  # noqa: BLE001 - such as a response that cannot be encoded
            fault = conduct.judge(call, error)
        conduct.settle(call, fault)
        if fault is None:
            session.finish(id, out)
        else:
            session.fail(id, conduct.document(self._codec, fault, call))

    def _requests(self, id: int, frame: Frame, route: Route, call: Call, flow: Flow) -> Any:  # noqa: A002
        """What the endpoint is given. Raises InvalidArgument for what the method does not take."""
        if route.kind.streams_in:
            if not frame.stream:
                raise InvalidArgument(
                    "this method takes a stream", code="stream_expected", hint="send the call with `stream`"
                )
            return self._messages(id, route, call, flow)
        if frame.stream:
            raise InvalidArgument("this method takes no stream", code="no_stream_expected", hint="send `data` at once")
        return route.decode(self._codec, _body(frame, call))

    async def _messages(self, id: int, route: Route, call: Call, flow: Flow) -> AsyncIterator[Any]:  # noqa: A002
        position = 0
        while (data := await flow.get()) is not None:
            call.bytes_in += len(bytes(data))
            message = route.decode(self._codec, data, f"/{position}")
            position += 1
            yield message
            self.session.consumed(id)
            self._wake()


def _body(frame: Frame, call: Call) -> Any:
    body = frame.data if isinstance(frame.data, Raw) else b""
    call.bytes_in = len(bytes(body))
    return body
