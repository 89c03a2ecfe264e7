"""The shell round an ASGI application: every request and socket goes through the controls.

    shell = Shell(app, Pipeline(controls, OVER_HTTP), max_body_size=1024 * 1024, gzip_min_size=500)

Per call: a `Call` is made, the controls identify and admit it, the application runs under its deadlines, the
controls see the headers of whatever is answered, and settle it when it is over: for refusals, defects, missed
deadlines and callers who leave as for all others. Lifespan scopes pass, with the kit's own parts opened round
them. See `exchange` for what becomes of trouble, `sockets` for WebSocket, `refusals` for other protocols.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.kit.asgi.exchange import Exchange
from headgate.kit.asgi.frameworks import prepare
from headgate.kit.asgi.lifespan import Hook, Lifespan
from headgate.kit.asgi.routes import path_reader, resolver
from headgate.kit.asgi.sockets import Socket
from headgate.kit.asgi.supervision import Ticker
from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.principal import Certificate

_RPC: Final = b"application/grpc-web"
_CONNECT: Final = b"application/connect+"
_CONNECT_VERSION: Final = b"connect-protocol-version"
_log = structlog.get_logger("headgate.http")


class Shell:
    """A plain ASGI application round another.

    `max_body_size` and `max_message_size` (of a WebSocket) are bytes, 0 for any number; `gzip_min_size` is the
    smallest answer that is compressed, 0 for none. A call that runs longer than `watch_after` seconds is
    watched for a caller who leaves; one that was told of it, or cancelled, has `grace` seconds before it is
    cancelled (again). `last_words` is how long the caller of a call that the shell ends has to take its end.
    `certificate_of` reads a verified client certificate out of a scope. `clock` counts
    seconds, monotonic. The frameworks found in `app` are made to answer errors with problems.
    """

    def __init__(
        self,
        app: ASGIApp,
        pipeline: Pipeline,
        *,
        max_body_size: int = 0,
        max_message_size: int = 0,
        gzip_min_size: int = 0,
        watch_after: float = 0.05,
        grace: float = 1.0,
        last_words: float = 10.0,
        lifespan: Hook | None = None,
        certificate_of: Callable[[Scope], Certificate | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.app = app
        self.frameworks = prepare(app)
        self.pipeline = pipeline
        # What every call needs is looked up once.
        self.enter, self.settle, self.respond_hooks = pipeline.enter, pipeline.settle, pipeline.respond_hooks
        self.max_body_size = max_body_size
        self.max_message_size = max_message_size
        self.gzip_min_size = gzip_min_size
        self.gzip_digits = len(str(gzip_min_size)) if gzip_min_size else 0
        self.grace = grace
        self.last_words = last_words
        self.lifespan = lifespan
        self.certificate_of = certificate_of
        self.clock = clock
        self.ticker = Ticker(watch_after)
        self.route_of = resolver(self.frameworks)
        self.path_of = path_reader(self.frameworks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        kind = scope["type"]
        if kind == "http":
            await Exchange(self, scope, receive, send, self._call(scope)).run()
        elif kind == "websocket":
            await Socket(self, scope, receive, send, self._socket_call(scope)).run()
        elif kind == "lifespan" and self.lifespan is not None:
            await Lifespan(self.app, self.lifespan, receive, send).run(scope)
        else:
            await self.app(scope, receive, send)

    def failed(self, error: BaseException) -> None:
        """A control broke where nothing can be answered any more."""
        _log.error("a control failed", code="internal", exc_info=error)

    def _call(self, scope: Scope) -> Call:
        headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        client = scope.get("client")
        call = Call("http", scope["method"], self.path_of(scope), headers, client[0] if client else "", self.clock())
        if scope.get("scheme") == "https":
            call.scheme = "https"
        if self.certificate_of is not None:
            call.certificate = self.certificate_of(scope)
        if call.method == "POST":
            kind = call.headers.get(b"content-type", b"")
            if kind.startswith(_RPC):
                call.protocol = "grpc-web"
            elif kind.startswith(_CONNECT) or _CONNECT_VERSION in call.headers:
                call.protocol = "connect"
        return call

    def _socket_call(self, scope: Scope) -> Call:
        client: Any = scope.get("client")
        path, headers = self.path_of(scope), scope["headers"]
        call = Call("websocket", "GET", path, headers, client[0] if client else "", self.clock())
        if scope.get("scheme") == "wss":
            call.scheme = "https"
        if self.certificate_of is not None:
            call.certificate = self.certificate_of(scope)
        return call
