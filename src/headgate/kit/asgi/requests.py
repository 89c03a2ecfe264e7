"""What every request passes through: an id, a log line, a count, a limit on its body and on its time.

One plain ASGI middleware, outermost. The id is the caller's `X-Request-ID` when it is well formed, else a
new one; it is on every response, every log line and every problem. Bodies are counted as they arrive,
whatever `Content-Length` said. A response that has begun cannot be replaced: it is cut off instead.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.asgi.problems import defect, problem_response
from headgate.kit.controls.faults import DeadlineExceeded, Fault, InvalidArgument, ResourceExhausted
from headgate.kit.observe.logs import request_context
from headgate.kit.observe.metrics import Metrics

REQUEST_ID: Final = "x-request-id"
PROBES: Final = ("/health", "/ready", "/metrics")

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")
_DISCARD_SECONDS: Final = 5.0
_CLIENT_WENT_AWAY: Final = 499
_log = structlog.get_logger("headgate.access")


def request_id_from(presented: Sequence[str]) -> str:
    """The id for a request which presented these `X-Request-ID` headers: theirs, if there is one good one."""
    if len(presented) == 1 and _REQUEST_ID.fullmatch(presented[0]):
        return presented[0]
    return uuid.uuid4().hex


class RequestMiddleware:
    """Settings shared by all requests. `untimed` are path prefixes without a time limit, for streams."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        max_body_bytes: int = 64 * 1024 * 1024,
        timeout_ms: int = 60_000,
        untimed: Collection[str] = (),
        quiet: Collection[str] = PROBES,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.app = app
        self.metrics = metrics
        self.max_body_bytes = max_body_bytes
        self.timeout_ms = timeout_ms
        self.untimed = tuple(untimed)
        self.quiet = frozenset(quiet)
        self.clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = request_id_from(Headers(scope=scope).getlist(REQUEST_ID))
        with request_context(request_id), self.metrics.in_flight.track_inprogress():
            await _Exchange(self, scope, receive, send, request_id).run()


class _Exchange:
    """One request and its response."""

    def __init__(self, limits: RequestMiddleware, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.limits = limits
        self.scope = scope
        self._receive = receive
        self._send = send
        self.request_id = request_id
        self.received = 0
        self.body_ended = False
        self.sent = 0
        self.status = 0
        self.complete = False
        self.refusal: Fault | None = None

    async def run(self) -> None:
        """Answer, whatever the application does; then log and count."""
        began = self.limits.clock()
        try:
            await self._answer()
        finally:
            self._record(self.limits.clock() - began)

    async def _answer(self) -> None:
        self.refusal = self._refuse_announced_body()
        if self.refusal is None:
            await self._run_application()
        if self.refusal is not None and not self.status:
            response = problem_response(self.refusal, self.scope)
            if self.refusal.code == "body_too_large":
                await self._discard_body()
                response.headers["connection"] = "close"
            self.refusal = None
            await response(self.scope, self._receive, self.send)

    async def _run_application(self) -> None:
        untimed = self.scope["path"].startswith(self.limits.untimed)
        try:
            async with asyncio.timeout(None if untimed else self.limits.timeout_ms / 1000) as deadline:
                await self.limits.app(self.scope, self.receive, self.send)
        except TimeoutError:
            if not deadline.expired():
                raise
            self.refusal = DeadlineExceeded(
                f"not done within {self.limits.timeout_ms} ms", code="request_timeout", hint="ask for less at a time"
            )
        except Exception as error:  # noqa: BLE001 - outermost: nothing may reach the server unanswered
            if error is self.refusal:
                return
            # Starlette raises again what it has answered with a problem, and has logged.
            if not (self.complete and self.status == HTTPStatus.INTERNAL_SERVER_ERROR):
                _log.error("request failed", code="internal", exc_info=error)
            self.refusal = self.refusal or defect()

    def _refuse_announced_body(self) -> Fault | None:
        announced = Headers(scope=self.scope).get("content-length", "0")
        if not announced.isascii() or not announced.isdigit():
            return InvalidArgument("Content-Length is not a number", code="malformed_request")
        # int() of thousands of digits is slow, and refused by Python.
        return self._too_large() if len(announced) > 18 or int(announced) > self.limits.max_body_bytes else None

    def _too_large(self) -> Fault:
        return ResourceExhausted(
            f"the request body is larger than {self.limits.max_body_bytes} bytes", code="body_too_large"
        )

    async def _discard_body(self) -> None:
        """Read on for a while: a client cut off while it sends sees a reset connection instead of the answer."""
        if self.body_ended or Headers(scope=self.scope).get("expect", "").lower() == "100-continue":
            return
        left = self.limits.max_body_bytes
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                while left > 0:
                    message = await self._receive()
                    if not message.get("more_body", False):
                        return
                    left -= len(message.get("body", b""))

    async def receive(self) -> Message:
        """Pass a message of the request on, counting its bytes."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.received += len(message.get("body", b""))
            self.body_ended = not message.get("more_body", False)
            if self.received > self.limits.max_body_bytes:
                self.refusal = self._too_large()
                raise self.refusal
        return message

    async def send(self, message: Message) -> None:
        """Pass a message of the response on; a response made out of a refused body is dropped."""
        if self.refusal is not None and not self.status:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID] = self.request_id
            headers["x-content-type-options"] = "nosniff"
            del headers["server"]
        elif message["type"] == "http.response.body":
            self.sent += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        await self._send(message)

    def _record(self, seconds: float) -> None:
        path, method = self.scope["path"], self.scope["method"]
        status = self.status or _CLIENT_WENT_AWAY
        route = _template(self.scope)
        self.limits.metrics.observe_request(route=route, method=method, status=status, seconds=seconds)
        tell = _log.debug if path in self.limits.quiet else _log.info
        tell(
            "request",
            method=method,
            path=self.scope.get("raw_path", b"").decode("latin-1") or path,
            route=route,
            status=status,
            complete=self.complete,
            milliseconds=round(seconds * 1000, 2),
            bytes_in=self.received,
            bytes_out=self.sent,
            peer=(self.scope.get("client") or ("",))[0],
        )


def _template(scope: Scope) -> str:
    """The template of the route that answered, such as `/api/v1/teams/{team}`; "" when none did."""
    # FastAPI resolves included routers as it serves: the route itself then lacks the router's prefix.
    effective = scope.get("fastapi", {}).get("effective_route_context")
    template = getattr(effective, "path_format", None)
    return str(template or getattr(scope.get("route"), "path", ""))
