"""The stack that the kit is compared with: ten nested ASGI middlewares, rebuilt from a description of a sample.

    RateLimit -> AccessLog -> GZip -> CORS -> Timeout -> MaxBodySize -> Exception -> SecurityHeaders -> RequestId -> app

(TrustedHost would be the tenth; without configured hosts it is not there.) Written the way such samples are: each
wraps `send` in a closure, logs go through structlog into the standard library's JSON formatter, a token bucket
per client address limits. It counts nothing.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TextIO

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

EXEMPT = {"/health", "/healthz", "/ready", "/readyz"}
HEADERS = {
    "content-security-policy": "default-src none",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "geolocation=(), camera=(), microphone=()",
    "referrer-policy": "strict-origin-when-cross-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
    "server": "",
}
SECRET_NAMES = ("api_key", "apikey", "token", "secret", "password", "authorization", "credential")


async def refuse(send: Send, status: int, title: str, detail: str) -> None:
    """Answer with the sample's JSON error."""
    body = json.dumps({"error": title, "detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class RateLimit:
    """A token bucket for each client address."""

    def __init__(self, app: App, rate: float) -> None:
        self.app = app
        self.rate = rate
        self.buckets: dict[str, tuple[float, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in EXEMPT:
            await self.app(scope, receive, send)
            return
        client = scope["client"][0] if scope.get("client") else "unknown"
        now = time.monotonic()
        tokens, last = self.buckets.get(client, (self.rate, now))
        tokens = min(self.rate, tokens + (now - last) * self.rate)
        if tokens < 1:
            await refuse(send, 429, "Too Many Requests", "slow down")
            return
        self.buckets[client] = (tokens - 1, now)
        await self.app(scope, receive, send)


class AccessLog:
    """One line per request."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.log = structlog.get_logger("access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            self.log.info(
                "http_request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                duration_ms=round((time.perf_counter() - began) * 1000, 1),
            )


class Timeout:
    """Cancels what takes too long."""

    def __init__(self, app: App, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await asyncio.wait_for(self.app(scope, receive, send), timeout=self.seconds)
        except TimeoutError:
            await refuse(send, 504, "Gateway Timeout", "too slow")


class MaxBodySize:
    """Believes Content-Length."""

    def __init__(self, app: App, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            length = Headers(scope=scope).get("content-length")
            if length is not None and int(length) > self.most:
                await refuse(send, 413, "Payload Too Large", "too large")
                return
        await self.app(scope, receive, send)


class Exceptions:
    """Makes a 500 of everything."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.log = structlog.get_logger("errors")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:
            self.log.exception("unhandled_exception")
            await refuse(send, 500, "Internal Server Error", "an error")


class SecurityHeaders:
    """Sets headers one by one."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if scope.get("scheme") == "https":
                    headers["strict-transport-security"] = "max-age=31536000; includeSubDomains"
            await send(message)

        await self.app(scope, receive, dressed)


class RequestId:
    """Takes over or makes an id, and binds it for the log."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = Headers(scope=scope).get("x-request-id") or str(uuid.uuid4())
        structlog.contextvars.bind_contextvars(request_id=request_id)

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            await self.app(scope, receive, dressed)
        finally:
            structlog.contextvars.unbind_contextvars("request_id")


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Mask values whose name looks secret, at the top level."""
    for name, value in event.items():
        if isinstance(value, str) and any(word in name.lower() for word in SECRET_NAMES):
            event[name] = "****" if len(value) <= 8 else f"{value[:4]}****{value[-2:]}"
    return event


def configure_logging(stream: TextIO) -> None:
    """Structlog into the standard library's handler, which renders JSON."""
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.StackInfoRenderer(),
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    with contextlib.suppress(IndexError):
        root.handlers.clear()
    root.addHandler(handler)
    root.setLevel(logging.INFO)


def original(app: App, *, rate: float) -> App:
    """`app` in the sample's ten layers, which let `rate` requests a second pass."""
    app = RequestId(app)
    app = SecurityHeaders(app)
    app = Exceptions(app)
    app = MaxBodySize(app, 1_048_576)
    app = Timeout(app, 120.0)
    app = CORSMiddleware(app, allow_origins=[], allow_methods=["GET", "POST", "OPTIONS"], allow_credentials=False)
    app = GZipMiddleware(app, minimum_size=500)
    app = AccessLog(app)
    return RateLimit(app, rate)
