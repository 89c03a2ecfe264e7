"""hypercorn, inside the running event loop: HTTP/1.1, HTTP/2 (h2 over TLS, h2c with prior knowledge), WebSockets.

Added to what it does by itself: connections that are closed for certain when serving ends, the TLS of a connection in
the scope, request bodies that an application leaves unread, which would block the connection for ever, and over HTTP/2
what a client still sends of a request that is answered already, which would end the connection with all its streams.

What it does not tell: the code a WebSocket's client closed with; the application always sees 1006.
"""

import asyncio
import contextlib
from socket import socket
from typing import Any, Final

import hypercorn.protocol
from h2.events import DataReceived, Event
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.kit.serve.calls import Calls
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.serve.engines.rest import Rest, has_body
from headgate.kit.tls.identity import tls_extension
from headgate.kit.tls.rotation import Certificates

_CLOSE_SECONDS: Final = 1.0


class _Http2(H2Protocol):
    """HTTP/2, which outlives what is sent of a request that was answered already."""

    async def _handle_events(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id not in self.streams:
                self.connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                await self._flush()
            else:
                await super()._handle_events([event])


# There is no other place to tell it.
setattr(hypercorn.protocol, "H2Protocol", _Http2)  # noqa: B010


class HypercornEngine:
    """One hypercorn server."""

    def __init__(self, calls: Calls, limits: HttpLimits, certificates: Certificates | None) -> None:
        self._app = calls
        self._backlog = limits.backlog
        self._head_bytes = limits.head_bytes
        self._config = _config(limits)
        self._ssl = certificates.context(["h2", "http/1.1"]) if certificates is not None else None
        self._context = WorkerContext(None)
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def start(self, listener: socket) -> None:
        """Accept connections."""
        self._server = await asyncio.start_server(
            self._serve, sock=listener, backlog=self._backlog, ssl=self._ssl, limit=2**16
        )

    async def wait(self) -> None:
        """Never return: it does not stop by itself."""
        await asyncio.Event().wait()

    async def refuse(self) -> None:
        """Take no new connections, close idle ones."""
        if self._server is not None:
            self._server.close()
        await self._context.terminated.set()

    async def finish(self, seconds: float) -> None:
        """Wait until all connections are closed."""
        # Not for the tasks: one that pings a WebSocket sleeps on after the connection is closed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await asyncio.gather(
                    *(writer.wait_closed() for writer in self._connections.values()), return_exceptions=True
                )

    async def close(self) -> None:
        """Drop what is left."""
        await self.refuse()
        for task, writer in list(self._connections.items()):
            writer.transport.abort()
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSE_SECONDS)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections[task] = writer
        connection = writer.get_extra_info("ssl_object")
        app: Any = _Connection(
            self._app, self._head_bytes, tls_extension(connection) if connection is not None else None
        )
        loop = asyncio.get_running_loop()
        # A cancelled task would be reported as an error of the connection's callback.
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await TCPServer(ASGIWrapper(app), loop, self._config, self._context, {}, reader, writer)
            finally:
                del self._connections[task]


def _config(limits: HttpLimits) -> Config:
    config = Config()
    config.include_server_header = False
    config.errorlog = None
    config.keep_alive_timeout = limits.keep_alive_seconds
    config.keep_alive_max_requests = 2**31
    config.h11_max_incomplete_size = limits.head_bytes
    config.h2_max_header_list_size = limits.head_bytes
    config.websocket_max_message_size = limits.websocket_bytes
    config.websocket_ping_interval = limits.websocket_ping_seconds or None
    return config


class _Connection:
    """The application as one connection sees it."""

    __slots__ = ("_app", "_head_bytes", "_tls")

    def __init__(self, app: ASGIApp, head_bytes: int, tls: dict[str, Any] | None) -> None:
        self._app = app
        self._head_bytes = head_bytes
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._tls is not None:
            scope["extensions"]["tls"] = self._tls
        size = len(scope["raw_path"]) + len(scope["query_string"])
        for name, value in scope["headers"]:
            size += len(name) + len(value) + 4
        if size > self._head_bytes:  # h11 counts only what arrives in pieces
            await _refuse_head(scope, send)
        elif scope["type"] == "http" and has_body(scope):
            await Rest(receive, send, eager=False).run(self._app, scope)
        else:
            await self._app(scope, receive, send)


async def _refuse_head(scope: Scope, send: Send) -> None:
    kind = "websocket.http.response" if scope["type"] == "websocket" else "http.response"
    headers = [(b"content-length", b"0")]
    if scope["http_version"] < "2":
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": 431, "headers": headers})
    await send({"type": f"{kind}.body", "body": b""})
