"""uvicorn, inside the running event loop.

Added to what it does by itself: a limit on the size of a request's head and on the time it takes, the TLS of a
connection in the scope, and WebSockets that are not closed the moment serving ends. uvicorn speaks HTTP/1.1.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Iterator
from socket import socket
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headgate.kit.serve.calls import Calls
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.tls.identity import tls_extension
from headgate.kit.tls.rotation import Certificates

if TYPE_CHECKING:
    from websockets.http11 import Request

_POLL_SECONDS: Final = 0.02
_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class UvicornEngine:
    """One uvicorn server."""

    def __init__(self, calls: Calls, limits: HttpLimits, certificates: Certificates | None) -> None:
        calls.departures = (ClientDisconnected,)
        self._config = _Config(calls, limits, certificates)
        self._server = _Server(self._config)
        self._task: asyncio.Task[None] | None = None

    async def start(self, listener: socket) -> None:
        """Accept connections."""
        self._config.load()
        self._config.ssl = self._config.context
        self._server.lifespan = self._config.lifespan_class(self._config)
        await self._server.startup(sockets=[listener])
        self._task = asyncio.create_task(self._server.main_loop(), name="uvicorn")

    async def wait(self) -> None:
        """Return or raise when it stops by itself."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def refuse(self) -> None:
        """Take no new connections, close idle ones."""
        for server in self._listening():
            server.close()
        for connection in list(self._server.server_state.connections):
            if not isinstance(connection, _WebSocket):
                connection.shutdown()

    async def finish(self, seconds: float) -> None:
        """Wait until all connections are closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(_POLL_SECONDS)

    async def close(self) -> None:
        """Drop what is left."""
        for server in self._listening():
            server.close()
        for connection in list(self._server.server_state.connections):
            connection.transport.abort()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _listening(self) -> list[asyncio.AbstractServer]:
        return list(getattr(self._server, "servers", ()))


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Config(uvicorn.Config):
    """What uvicorn is told, and what its protocols are told besides."""

    def __init__(self, calls: Calls, limits: HttpLimits, certificates: Certificates | None) -> None:
        ping = limits.websocket_ping_seconds or None
        super().__init__(
            cast("Any", calls),
            http=_Http,
            ws=_WebSocket,
            ws_max_size=limits.websocket_bytes,
            ws_ping_interval=ping,
            ws_ping_timeout=ping,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=limits.backlog,
            timeout_keep_alive=cast("int", limits.keep_alive_seconds),
        )
        self.limits = limits
        self.context = certificates.context(["http/1.1"]) if certificates is not None else None


class _HeadTooLargeError(Exception):
    """A request's head has more bytes than it may."""


class _Http(HttpToolsProtocol):
    """HTTP/1.1, with limits on the head and with the TLS of the connection."""

    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _tls: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limits = cast("_Config", self.config).limits
        connection = transport.get_extra_info("ssl_object")
        if connection is not None:
            self._tls = tls_extension(connection)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head:
            if self._head_bytes > self._limits.head_bytes:
                self._refuse_head()
            elif self._head_timer is None:
                self._wait_for_head()
        elif self.timeout_keep_alive_task is None and self._idle():
            # What arrived was no request, and ended the wait for one.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        if self._tls is not None:
            self.scope["extensions"] = {"tls": self._tls}

    def on_headers_complete(self) -> None:
        size = len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers])
        if size > self._limits.head_bytes:
            self._head_bytes = size
            raise _HeadTooLargeError
        self._in_head, self._head_bytes = False, 0
        self._head_arrived()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        if self._head_bytes > self._limits.head_bytes:
            self._refuse_head()
        else:
            super().send_400_response(msg)

    def _idle(self) -> bool:
        answered = self.cycle is not None and self.cycle.response_complete
        return answered and self.transport.get_protocol() is self

    def _refuse_head(self) -> None:
        self.transport.write(_TOO_LARGE)
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(self._limits.head_seconds, self._head_late)

    def _head_arrived(self) -> None:
        timer, self._head_timer = self._head_timer, None
        if timer is not None:
            timer.cancel()

    def _head_late(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()


class _WebSocket(WebSocketsSansIOProtocol):
    """A WebSocket, with the TLS of the connection."""

    def handle_connect(self, event: "Request") -> None:
        super().handle_connect(event)
        scope: Any = getattr(self, "scope", None)
        connection: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        if scope is not None and connection is not None:
            # The task that was made for this scope has not run yet.
            scope["extensions"]["tls"] = tls_extension(connection)

    async def send(self, message: Any) -> None:
        """Send; a refusal that is out completes the handshake, which uvicorn would otherwise call an error of ours."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True
