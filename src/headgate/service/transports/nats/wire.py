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
serves that call cancels it. Reply subjects are nobody's to guess.

When it drains it unsubscribes, finishes what came before that, and answers what is left when the time of grace is up.

    Unavailable
    ├── overloaded         too many calls wait
    └── stopping           serving ended before the call did
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final

import structlog
from nats.aio.subscription import Subscription

from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.faults import Fault, InvalidArgument, Unavailable
from headgate.kit.tls.rotation import Certificates
from headgate.service.codecs import CODECS, JSON, Codec, codec_of
from headgate.service.host import Hosted
from headgate.service.transports.nats.connection import Connecting, Connection, Message, connect
from headgate.service.transports.nats.discovery import Discovery, Tally
from headgate.service.transports.nats.streams import CANCEL, FRAMES, Streams
from headgate.service.transports.session.conduct import Conduct, Route, seconds_of

TIMEOUT: Final = b"x-request-timeout-ms"
ERROR: Final = "Nats-Service-Error"
ERROR_CODE: Final = "Nats-Service-Error-Code"
PEER: Final = "nats"

_LONGEST_ERROR: Final = 500
_MOST_DIGITS: Final = 10
_OK: Final = {
    codec.name: b"" if codec is JSON else f"content-type: {codec.media_type}\r\n".encode() for codec in CODECS
}
"""Headers of answers: without any it is JSON, and costs the least on its way."""
_log = structlog.get_logger("headgate.service")


class _Method:
    """One subject: the calls under way and those that wait."""

    __slots__ = ("route", "running", "tally", "waiting")

    def __init__(self, route: Route, tally: Tally) -> None:
        self.route = route
        self.tally = tally
        self.running: set[_Running] = set()
        self.waiting: deque[Message] = deque()


class _Running:
    """A call under way, and its task."""

    __slots__ = ("message", "task")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.task: asyncio.Task[None] | None = None


class NatsWire:
    """See the module. `options` are those of nats-py's `connect`, such as `tls`, `user_credentials` or `token`.

    `metadata` is told to discovery. `keep_alive` is how often a stream makes sure that its other end is there, in
    seconds.
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
        queue: str = "q",
        metadata: Mapping[str, str] | None = None,
        keep_alive: float = 10.0,
        connect_timeout: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._conduct = Conduct(hosted, pipeline, "nats")
        self._to = Connecting(connection_url, "headgate service", connect_timeout, options=options)
        self._max_concurrent = max_concurrent
        self._max_waiting = max_waiting
        self._queue = queue
        self.discovery = Discovery(self._conduct.hosted, queue=queue, metadata=metadata)
        self._streams = Streams(self._conduct, self._call, keep_alive)
        self._methods: dict[str, _Method] = {}
        self._subscriptions: list[Subscription] = []
        self._cancels: list[Subscription] = []
        self._connection: Connection | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
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
        connection, self._loop = self._bound(), asyncio.get_running_loop()
        await self._streams.start(connection)
        for route in self._conduct.routes.values():
            method = self._methods[route.subject] = _Method(route, self.discovery.tallies[route.subject])
            listener = partial(self._came, method)
            self._subscriptions.append(await connection.listen(route.subject, listener, queue=self._queue))
        for each in self._conduct.hosted:
            self._cancels.append(await connection.listen(f"svc.{each.contract.name}.{CANCEL}", self._left))
        await self.discovery.start(connection)
        await connection.flush()
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
                await asyncio.wait_for(connection.flush(max(1, round(grace))), max(grace, 1.0))
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
        self._refuse_waiting()
        await asyncio.sleep(0)  # who is cancelled before its first step answers nothing
        for task in (tasks := self._under_way()):
            task.cancel("serving ends")
        if tasks:
            await asyncio.wait(tasks)

    def _under_way(self) -> list[asyncio.Task[None]]:
        running = (call.task for method in self._methods.values() for call in method.running)
        return [*(task for task in running if task is not None), *self._streams.tasks]

    def _refuse_waiting(self) -> None:
        for method in self._methods.values():
            while method.waiting:
                self._refuse(method.waiting.popleft(), _stopping())

    def _bound(self) -> Connection:
        if self._connection is None:
            raise Unavailable("the wire is not started", code="not_connected")
        return self._connection

    def _came(self, method: _Method, message: Message) -> None:
        """A request."""
        if not message.reply:
            _log.warning("a request without a reply subject is not served", subject=method.route.subject)
            return
        if len(method.running) < self._max_concurrent:
            self._begin(method, message)
        elif len(method.waiting) < self._max_waiting:
            method.waiting.append(message)
        else:
            fault = Unavailable("too many calls wait already", code="overloaded", hint="try again later")
            method.tally.count(0, fault)
            self._refuse(message, fault)

    def _begin(self, method: _Method, message: Message) -> None:
        call = _Running(message)
        # Without the detour through `create_task` and a callback: this is done for every call.
        call.task = asyncio.Task(self._run(method, call), loop=self._loop)
        method.running.add(call)

    def _left(self, message: Message) -> None:
        """Somebody waits no longer."""
        reply = message.data.decode("ascii", "replace")
        for method in self._methods.values():
            for call in method.running:
                if call.message.reply == reply and call.task is not None:
                    # One that is cancelled before its first step does not run to its end.
                    call.task.add_done_callback(partial(self._over, method, call))
                    call.task.cancel("the caller left")
            for waiting in [each for each in method.waiting if each.reply == reply]:
                method.waiting.remove(waiting)

    async def _run(self, method: _Method, call: "_Running") -> None:
        try:
            await self._serve(method, call.message)
        except Exception:  # noqa: BLE001 - outermost
            _log.exception("a call broke its wire")
        finally:
            self._over(method, call)

    def _over(self, method: _Method, call: "_Running", _task: object = None) -> None:
        if call not in method.running:
            return
        method.running.discard(call)
        call.task = None
        if method.waiting and self._connection is not None:
            self._begin(method, method.waiting.popleft())

    async def _serve(self, method: _Method, message: Message) -> None:
        began = time.perf_counter_ns()
        headers = message.headers
        call = self._call(method.route.path, headers)
        if FRAMES in call.headers:
            fault = await self._streams.serve(message, call)
            method.tally.count(time.perf_counter_ns() - began, fault)
            return
        fault, codec = None, JSON
        try:
            codec = _codec(call)
            if not method.route.unary:
                raise InvalidArgument("this method streams", code="stream_expected", hint="send frames of a session")
            asked = _asked(call)
        except Fault as refused:
            fault = refused
            self._conduct.settle(call, fault)
        else:
            try:
                body, fault = await self._conduct.unary(call, method.route, codec, message.data, asked)
            except asyncio.CancelledError:
                self._refuse(message, _stopping(), codec, call)
                raise
        method.tally.count(time.perf_counter_ns() - began, fault)
        if fault is None:
            self._answer(message, body, codec, call)
        else:
            self._refuse(message, fault, codec, call)

    def _answer(self, message: Message, body: bytes, codec: Codec, call: Call) -> None:
        try:
            self._bound().post(message.reply, body, headers=_OK[codec.name])
        except Unavailable as fault:
            _log.warning("an answer could not be sent", code=fault.code, request_id=call.request_id)
        except Fault as fault:
            self._refuse(message, fault, codec, call)

    def _refuse(self, message: Message, fault: Fault, codec: Codec = JSON, call: Call | None = None) -> None:
        from headgate.kit.asgi.problems import status_of

        text = " ".join(fault.message[:_LONGEST_ERROR].split())
        headers = f"{ERROR}: {text}\r\n{ERROR_CODE}: {status_of(fault)}\r\ncontent-type: {codec.problem_type}\r\n"
        body = self._conduct.document(codec, fault, call)
        try:
            self._bound().post(message.reply, body, headers=headers.encode())
        except Fault as lost:
            _log.warning("a refusal could not be sent", code=lost.code, refused=fault.code)

    def _call(self, path: str, headers: list[tuple[bytes, bytes]]) -> Call:
        return Call("nats", "POST", path, headers, PEER, time.monotonic())


def _codec(call: Call) -> Codec:
    kind = call.headers.get(b"content-type")
    if kind is None:
        return JSON
    found = codec_of(kind)
    if found is None:
        raise InvalidArgument(
            "this content type is not read here",
            code="unsupported_media_type",
            hint=f"send {' or '.join(each.media_type for each in CODECS)}",
        )
    return found


def _asked(call: Call) -> float | None:
    value = call.headers.get(TIMEOUT)
    if value is None:
        return None
    return seconds_of(int(value) if value.isdigit() and len(value) <= _MOST_DIGITS else 0)


def _stopping() -> Unavailable:
    return Unavailable("serving ends here", code="stopping", hint="call again", retry_after=0.0)
