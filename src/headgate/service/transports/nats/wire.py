"""Methods on subjects: the NATS wire as a part of what a process serves.

    serving.add(NatsWire(hosted, "nats://127.0.0.1:4222", pipeline=pipeline, max_concurrent=64))

| header | means |
| --- | --- |
| `content-type` | the codec, JSON without one; the answer is written like the request |
| `x-request-timeout-ms` | how long the caller waits |
| `traceparent`, `tracestate`, `x-request-id`, `idempotency-key`, `authorization` | as over HTTP |
| `headgate-frames: 1` | the body is the first frame of a session: see `streams` |

The server names no peer, so limits without a principal count against all anonymous callers together. A method serves
`max_concurrent` calls at a time; `max_waiting` more wait, and who comes then is refused at once. A request without a
reply subject is not served: nobody could be told what became of it.

A caller who waits no longer publishes its reply subject on `svc.NAME.$CANCEL`, which all instances hear; whoever
serves that call cancels it and answers nothing. Reply subjects are nobody's to guess.

When it drains it unsubscribes, finishes what came before that, and answers what is left when the time of grace is up.

    DeadlineExceeded
    └── request_timeout
    ResourceExhausted
    └── body_too_large     larger than `max_message`; a message of a stream is message_too_large
    Unavailable
    ├── overloaded         too many calls wait
    └── stopping           serving ended before the call did
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import structlog
from nats.aio.subscription import Subscription

from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.faults import DeadlineExceeded, Fault, InvalidArgument, Unavailable
from headgate.kit.current import CURRENT
from headgate.kit.tls.rotation import Certificates
from headgate.service.codecs import CODECS, JSON, Codec, codec_of
from headgate.service.host import Hosted
from headgate.service.transports.nats.calls import Calls, Running
from headgate.service.transports.nats.connection import Connecting, Connection, Message, connect, headers_of
from headgate.service.transports.nats.discovery import Discovery, Tally
from headgate.service.transports.nats.streams import CANCEL, FRAMES, Streams
from headgate.service.transports.session.conduct import Conduct, Route, possible
from headgate.service.transports.session.machine import body_too_large

TIMEOUT: Final = b"x-request-timeout-ms"
ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
PEER: Final = "nats"

_LONGEST_ERROR: Final = 500
_MOST_DIGITS: Final = 10
_KINDS: Final = {codec.name: f"content-type: {codec.media_type}\r\n".encode() for codec in CODECS}
"""Headers of answers: without any it is JSON, and costs the least on its way."""
_log = structlog.get_logger("headgate.service")


class _Method:
    """One subject: its calls, and how they fare."""

    __slots__ = ("calls", "route", "tally")

    def __init__(self, route: Route, tally: Tally) -> None:
        self.route = route
        self.tally = tally
        self.calls: Calls


class NatsWire:
    """See the module. `options` are those of nats-py's `connect`, such as `tls`, `user_credentials` or `token`.

    A request, or one message of a stream, has at most `max_message` bytes, 0 for as many as NATS takes. `metadata` is
    told to discovery. `keep_alive` is how often a stream makes sure that its other end is there, in seconds.
    """

    certificates: Certificates | None = None

    def __init__(
        self,
        hosted: Iterable[Hosted],
        connection_url: str,
        *,
        pipeline: Pipeline | None = None,
        max_concurrent: int = 64,
        max_waiting: int = 1_024,
        max_message: int = 0,
        queue: str = "q",
        metadata: Mapping[str, str] | None = None,
        keep_alive: float = 10.0,
        connect_timeout: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._conduct = Conduct(hosted, pipeline, "nats")
        self._controlled = pipeline is not None
        self._to = Connecting(connection_url, "headgate service", connect_timeout, options=options)
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._max_message = max_message
        self._queue = queue
        self.discovery = Discovery(self._conduct.hosted, queue=queue, metadata=metadata)
        self._streams = Streams(self._conduct, keep_alive, max_message)
        self._methods: dict[str, _Method] = {}
        self._subscriptions: list[Subscription] = []
        self._cancels: list[Subscription] = []
        self._connection: Connection | None = None
        self._ended = asyncio.Event()

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return "nats"

    async def bind(self) -> None:
        """Connect. Raises Unreachable."""
        if self._connection is None:
            self._connection = await connect(self._to)

    async def start(self) -> None:
        """Answer."""
        await self.bind()
        connection = self._bound()
        await self._streams.start(connection)
        for route in self._conduct.routes.values():
            method = self._methods[route.subject] = _Method(route, self.discovery.tallies[route.subject])
            method.calls = Calls(partial(self._serve, method), self._max_concurrent, self._max_waiting)
            receiver = partial(self._came, method)
            self._subscriptions.append(await connection.receive(route.subject, receiver, queue=self._queue))
        for hosted in self._conduct.hosted:
            name = hosted.contract.name
            methods = [self._methods[f"svc.{name}.{rpc}"] for rpc in hosted.endpoints]
            self._cancels.append(await connection.receive(f"svc.{name}.{CANCEL}", partial(_left, methods)))
        await self.discovery.start(connection)
        await connection.reached()
        _log.info("serving", url=self.name, subjects=len(self._methods))

    async def wait(self) -> None:
        """Return when it was stopped."""
        await self._ended.wait()

    def leave(self) -> None:
        """Nothing: who asks while it drains is answered by others."""

    async def drain(self, grace: float) -> None:
        """Take no new calls, finish those that came, and cancel after `grace` seconds what is left."""
        connection, until = self._connection, time.monotonic() + grace
        if connection is None or not self._subscriptions:
            return
        await self.discovery.stop(connection)
        subscriptions, self._subscriptions = self._subscriptions, []
        try:
            for each in subscriptions:
                await connection.forget(each)
            if connection.is_connected:
                # Once this is answered, all that the server sent before it heard of us has come.
                async with asyncio.timeout(max(grace, 1.0)):
                    await connection.flush(max(1, round(grace)))
        except Exception as error:  # noqa: BLE001 - a connection that is gone has nothing more to bring
            _log.debug("not told that it drains", exc_info=error)
        for each in subscriptions:
            connection.settled(each)
        await self._finish(max(0.0, until - time.monotonic()))

    async def stop(self) -> None:
        """Let go of the connection."""
        await self.drain(0.0)
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._streams.aclose()
            self._cancels.clear()
            await connection.aclose()
        self._ended.set()

    async def _finish(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while tasks := self._under_way():
            left = until - time.monotonic()
            if left <= 0:
                break
            await asyncio.wait(tasks, timeout=left)
        for method in self._methods.values():
            while method.calls.waiting:
                self._refuse(method.calls.waiting.popleft(), _stopping(begun=False))
        await asyncio.sleep(0)  # who is cancelled before its first step answers nothing
        for task in (tasks := self._under_way()):
            task.cancel("serving ends")
        if tasks:
            await asyncio.wait(tasks)

    def _under_way(self) -> list[asyncio.Task[None]]:
        return [task for method in self._methods.values() for task in method.calls.tasks]

    def _bound(self) -> Connection:
        if self._connection is None:
            raise Unavailable("the wire is not started", code="not_connected")
        return self._connection

    def _came(self, method: _Method, _subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
        """A request."""
        if not reply:
            _log.warning("a request without a reply subject is not served", subject=method.route.subject)
            return
        running = Running(reply, data, head, time.monotonic())
        if not method.calls.came(running):
            fault = Unavailable("too many calls wait already", code="overloaded", hint="try again later", refused=True)
            method.tally.count(0, fault)
            self._refuse(running, fault)

    async def _serve(self, method: _Method, running: Running) -> None:
        began = time.perf_counter_ns()
        headers = headers_of(running.head) if running.head else []
        call = Call("nats", "POST", method.route.path, headers, PEER, running.started)
        if FRAMES in call.headers:
            message = Message(method.route.subject, running.reply.decode(), running.data, running.head)
            fault = await self._streams.serve(message, call)
            method.tally.count(time.perf_counter_ns() - began, fault)
            return
        body, fault, read = b"", None, _codec(call)
        codec = read or JSON
        try:
            body = await self._unary(method.route, running, call, read)
        except asyncio.CancelledError:
            if not running.late or running.task is None or running.task.uncancel():
                self._conduct.cancelled(call)
                if not running.left:
                    self._refuse(running, _stopping(), codec, call)
                raise
            fault = _late()
        except Exception as error:  # noqa: BLE001 - outermost: whatever it is, the caller is told
            fault = self._conduct.judge(call, error)
        if self._controlled:
            self._conduct.settle(call, fault, len(body), 1 if fault is None else 0)
        method.tally.count(time.perf_counter_ns() - began, fault)
        if fault is None:
            self._answer(running, body, codec, call)
        else:
            self._refuse(running, fault, codec, call)

    async def _unary(self, route: Route, running: Running, call: Call, codec: Codec | None) -> bytes:
        """The response's bytes. Without controls there is nobody to ask before."""
        asked = _asked(call)
        CURRENT.set(call)
        if self._controlled:
            await self._conduct.enter(call, asked)
        else:
            call.route = route.path
            if asked is not None:
                call.deadline = call.started + possible(asked)
        if not route.unary:
            raise InvalidArgument("this method streams", code="stream_expected", hint="send frames of a session")
        if codec is None:
            raise InvalidArgument(
                "this content type is not read here",
                code="unsupported_media_type",
                hint=f"send {' or '.join(each.media_type for each in CODECS)}",
            )
        if call.deadline is not None and call.deadline <= time.monotonic():
            raise _late()
        if self._max_message and len(running.data) > self._max_message:
            raise body_too_large(self._max_message)
        request = route.decode(codec, running.data)
        call.bytes_in = len(running.data)
        running.until, first = call.deadline, call.budget.first_byte
        if first is not None:
            soon = time.monotonic() + first
            running.until = soon if running.until is None else min(soon, running.until)
        response = await route.endpoint.call(request, call)
        return codec.encode(response)

    def _answer(self, running: Running, body: bytes, codec: Codec, call: Call) -> None:
        try:
            if codec is JSON:
                self._bound().answer(running.reply, body)
            else:
                self._bound().post(running.reply.decode(), body, headers=_KINDS[codec.name])
        except Unavailable as fault:
            _log.warning("an answer could not be sent", code=fault.code, request_id=call.request_id)
        except Fault as fault:
            self._refuse(running, fault, codec, call)

    def _refuse(self, running: Running, fault: Fault, codec: Codec = JSON, call: Call | None = None) -> None:
        from headgate.kit.asgi.problems import status_of

        text = " ".join(fault.message[:_LONGEST_ERROR].split())
        headers = f"{ERROR}: {text}\r\n{ERROR_CODE}: {status_of(fault)}\r\ncontent-type: {codec.problem_type}\r\n"
        body = self._conduct.document(codec, fault, call)
        try:
            self._bound().post(running.reply.decode(), body, headers=headers.encode())
        except Fault as lost:
            _log.warning("a refusal could not be sent", code=lost.code, refused=fault.code)


def _left(methods: Iterable[_Method], _subject: bytes, _reply: bytes, data: bytes, _head: bytes) -> None:
    """Somebody waits no longer for what would be answered at `data`."""
    for method in methods:
        method.calls.cancel(data)


def _codec(call: Call) -> Codec | None:
    kind = call.headers.get(b"content-type")
    return JSON if kind is None else codec_of(kind)


def _asked(call: Call) -> float | None:
    """Seconds that the caller waits; 0 for what is no number."""
    value = call.headers.get(TIMEOUT)
    if value is None:
        return None
    return int(value) / 1_000 if value.isdigit() and len(value) <= _MOST_DIGITS else 0.0


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the time ran out", code="request_timeout", hint="allow more time")


def _stopping(*, begun: bool = True) -> Unavailable:
    return Unavailable("serving ends here", code="stopping", hint="call again", retry_after=0.0, refused=not begun)
