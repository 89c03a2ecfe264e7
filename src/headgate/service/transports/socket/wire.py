"""An ASGI application for WebSockets: the server's side of a session over each.

    app = SocketWire(hosted, pipeline=pipeline, path="/rpc", inside=http_app)

It stands inside the kit's shell, which has identified and admitted the handshake; each call on the socket is a call
of its own (protocol `socket`) with the principal, client, certificate and trace of the handshake. That identity holds
for as long as the socket does: credentials in the headers of a frame are not looked at. The headers of a frame reach
the handler; controls see those in `KNOWN`.

| closed with | when |
| --- | --- |
| 1000 | the client closed it, it is drained, nothing was said on it for long, or it is near its longest time |
| 1002 | no subprotocol of ours was offered (reason: which there are), or the protocol was broken |
| 1009 | a frame was too large; of a smaller one whose message is too large, its call fails alone |
| 1013 | the other side did not take what was sent within `patience` |

Before a socket is closed for what its client did, an `error` frame with id 0 tells of it. Before one is closed for
another reason, `goaway` asks for new calls elsewhere, and what is under way is finished. The shell's deadlines for
sockets (`idle_timeout`, `total_timeout`) cost no call so: while some are under way an idle socket is pinged, else it is
parted from in time.
"""

import asyncio
import math
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import structlog

from headgate.kit.asgi.sockets import LARGEST
from headgate.kit.controls.call import Budget, Call, Pipeline
from headgate.kit.controls.faults import Fault
from headgate.kit.current import current_call
from headgate.service.faults import document_of
from headgate.service.host import Hosted
from headgate.service.transports.session.conduct import CONVEYED, Conduct, Conveyed
from headgate.service.transports.session.frames import FORMS, MEBIBYTE, ROOM, Form, Frame
from headgate.service.transports.session.serving import Serving

KNOWN: Final = frozenset(
    (b"x-request-id", b"traceparent", b"tracestate", b"baggage", b"idempotency-key", b"x-retry-budget")
)
"""Headers of a frame that controls see."""

DRAINING: Final = "headgate.draining"
PROTOCOL_ERROR: Final = 1002
TOO_LARGE: Final = 1009
TRY_LATER: Final = 1013

_STEPS: Final = 4
"""Looks at a socket within the time that it may be idle; when three found nothing new it is parted from."""
_LAST_SHARE: Final = 0.1
"""Part of a socket's longest time that is left for the calls under way."""
_PARTING_SECONDS: Final = 2.0
"""How long a client has to say that it heard of the end; not all answer pings."""

_log = structlog.get_logger("headgate.service")


class SocketWire:
    """See the module. What is no WebSocket to `path` goes to `inside`, or is closed.

    `most_calls` are under way on one socket at a time. A request, or one message of a stream, has at most
    `most_message` bytes, 0 for any number; a frame has at most `ROOM` times as many. A client that does not take what
    it is sent is not read from, and after `patience` seconds it is sent away.
    """

    def __init__(
        self,
        hosted: Iterable[Hosted],
        *,
        pipeline: Pipeline | None = None,
        path: str = "/rpc",
        inside: Any = None,
        most_calls: int = 128,
        most_message: int = MEBIBYTE,
        patience: float = 30.0,
    ) -> None:
        self.conduct = Conduct(hosted, pipeline, "socket")
        self.path = path
        self.inside = inside
        self.most_calls = most_calls
        self.most_message = most_message
        self.most_frame = most_message * ROOM
        self.patience = patience

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one scope."""
        if scope["type"] != "websocket" or scope["path"] != self.path:
            if self.inside is not None:
                await self.inside(scope, receive, send)
            elif scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": PROTOCOL_ERROR, "reason": "nothing is served here"})
            return
        await receive()
        offered = scope.get("subprotocols") or ()
        name = next((each for each in FORMS if each in offered), None)
        if name is None:
            # Accepted first: before the handshake is done browsers are told no reason.
            await send({"type": "websocket.accept"})
            reason = f"offer one of the subprotocols {', '.join(FORMS)}"
            await send({"type": "websocket.close", "code": PROTOCOL_ERROR, "reason": reason})
            return
        await send({"type": "websocket.accept", "subprotocol": name})
        await _Connection(self, FORMS[name], scope, receive, send).run()


class _Connection:
    """One socket."""

    def __init__(self, wire: SocketWire, form: Form, scope: Any, receive: Any, send: Any) -> None:
        self._wire = wire
        self._form = form
        self._scope = scope
        self._receive = receive
        self._send = send
        self._handshake = current_call() or _call_of(scope)
        self._waiting = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken.set()
        self._unheard = 0
        self._handshake.keep(LARGEST, wire.most_frame)
        self._serving = Serving(
            wire.conduct,
            form,
            self._call,
            self._waiting.set,
            most_calls=wire.most_calls,
            most_message=wire.most_message,
        )

    async def run(self) -> None:
        """Serve it until it is closed."""
        reader = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        helpers = [reader, writer]
        draining = (self._scope.get("extensions") or {}).get(DRAINING)
        if draining is not None:
            helpers.append(asyncio.create_task(self._drain(draining)))
        if self._handshake.budget.idle is not None or self._handshake.budget.total is not None:
            helpers.append(asyncio.create_task(self._keep(self._handshake.budget)))
        try:
            done, _ = await asyncio.wait(helpers, return_when=asyncio.FIRST_COMPLETED)
            close = next((code for task in done if (code := task.result()) is not None), None)
        finally:
            for task in helpers:
                task.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._serving.aclose()
        if close is not None:
            await self._close(*close)

    async def _read(self) -> tuple[int, Fault | None] | None:
        receive, serving, form, most = self._receive, self._serving, self._form, self._wire.most_frame
        while True:
            if not self._taken.is_set():
                await self._taken.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return None
            self._unheard = 0
            raw = message.get("text") if message.get("bytes") is None else message["bytes"]
            try:
                serving.receive(form.decode(raw, most))
            except Fault as fault:
                return TOO_LARGE if fault.code == "frame_too_large" else PROTOCOL_ERROR, fault

    async def _write(self) -> tuple[int, Fault | None] | None:
        session, encode, send = self._serving.session, self._form.encode, self._send
        text = self._form.text
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            frames = session.take()
            if not frames:
                continue
            self._taken.clear()
            try:
                async with asyncio.timeout(self._wire.patience):
                    for frame in frames:
                        raw = encode(frame)
                        if text:
                            await send({"type": "websocket.send", "text": raw.decode()})
                        else:
                            await send({"type": "websocket.send", "bytes": raw})
            except TimeoutError:
                return TRY_LATER, None
            except OSError:
                return None
            self._taken.set()

    async def _drain(self, draining: asyncio.Event) -> tuple[int, Fault | None]:
        """When serving is about to end."""
        await draining.wait()
        return await self._part()

    async def _keep(self, budget: Budget) -> tuple[int, Fault | None]:
        """Keep the socket from being cut off while calls are under way; part from it when there are none for long."""
        started, step = self._handshake.started, math.inf if budget.idle is None else budget.idle / _STEPS
        end = math.inf if budget.total is None else started + budget.total * (1 - _LAST_SHARE)
        while self._unheard < _STEPS - 1:
            left = end - time.monotonic()
            await asyncio.sleep(max(0.0, min(left, step)))
            if left <= step:
                break
            if self._serving.busy:
                self._serving.session.ping()
                self._waiting.set()
            else:
                self._unheard += 1
        return await self._part()

    async def _part(self) -> tuple[int, Fault | None]:
        """No new calls, then the end of those that came before the client heard of that, then the socket's."""
        session, serving = self._serving.session, self._serving
        session.leave()
        serving.ponged.clear()
        session.ping()
        self._waiting.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_PARTING_SECONDS):
                await serving.ponged.wait()
        await serving.idle()
        while self._waiting.is_set() or not self._taken.is_set():
            await self._taken.wait()
            await asyncio.sleep(0)
        return 1000, None

    async def _close(self, code: int, fault: Fault | None) -> None:
        try:
            async with asyncio.timeout(self._wire.patience):
                if fault is not None:
                    await self._tell(fault)
                await self._send(
                    {"type": "websocket.close", "code": code, "reason": fault.code if fault is not None else ""}
                )
        except (OSError, TimeoutError, RuntimeError) as error:
            _log.debug("the socket was gone before its end was told", exc_info=error)

    async def _tell(self, fault: Fault) -> None:
        from msgspec import Raw

        document = Raw(self._form.codec.encode(document_of(fault, self._handshake.path, self._handshake.request_id)))
        raw = self._form.encode(Frame("error", data=document))
        body: dict[str, Any] = {"text": raw.decode()} if self._form.text else {"bytes": raw}
        await self._send({"type": "websocket.send", **body})

    def _call(self, frame: Frame) -> Call:
        """The kit's call of one frame, with what the handshake established."""
        base = self._handshake
        headers = [(name.lower().encode(), value.encode()) for name, value in (frame.headers or {}).items()]
        known = [pair for pair in headers if pair[0] in KNOWN]
        call = Call("socket", "POST", frame.path, known, base.peer, time.monotonic())
        call.client, call.scheme = base.client, base.scheme
        call.principal, call.trace = base.principal, base.trace
        if base.certificate is not None or len(known) != len(headers):
            call.keep(CONVEYED, Conveyed(headers, base.certificate))
        return call


def _call_of(scope: Any) -> Call:
    """The handshake's call, where no shell made one."""
    client = scope.get("client") or ("",)
    return Call("websocket", "GET", scope["path"], scope["headers"], client[0], time.monotonic())
