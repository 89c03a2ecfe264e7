"""Serving an ASGI application with uvicorn inside a running event loop.

    server = HttpServer(app, host="127.0.0.1", port=8080, setting="api_port", health=health)
    await server.start()        # bound, the application started up, answering
    await server.stop()         # not ready, linger, no new connections, finish what is under way

Signals are the caller's: see `headgate.kit.serve.loop`.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.asgi.health import Health
from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.serve.ports import bind, shown

if TYPE_CHECKING:
    import uvicorn

_log = structlog.get_logger("headgate.serve")


class HttpServer:
    """One application on one address. `setting` is the name of the port's setting, for the fault of a taken port.

    Stopping first lets `/ready` refuse for `linger_seconds`, so that balancers turn away, then waits at most
    `drain_seconds` for requests under way.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        setting: str,
        health: Health | None = None,
        drain_seconds: float = 10.0,
        linger_seconds: float = 0.0,
    ) -> None:
        self.host = host
        self.port = port
        self._setting = setting
        self._app = _Lifespan(app)
        self._health = health
        self._drain_seconds = drain_seconds
        self._linger_seconds = linger_seconds
        self._server: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it answers; after `start`, with the port it really has."""
        return f"http://{shown(self.host, self.port)}"

    async def start(self) -> None:
        """Bind, run the application's start-up, and answer.

        Raises what `bind` does, the fault the application's start-up raised, or Unavailable (`startup_failed`).
        """
        listener = bind(self.host, self.port, self._setting)
        self.port = listener.getsockname()[1]
        started = asyncio.Event()
        self._server = _server(self._app, self._drain_seconds, started)
        self._task = asyncio.create_task(self._run(self._server, listener), name=f"http {self.url}")
        waiter = asyncio.create_task(started.wait())
        try:
            await asyncio.wait({waiter, self._task}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._server.should_exit = True
            raise
        finally:
            waiter.cancel()
        if not started.is_set():
            self._task.result()
        _log.info("serving", url=self.url)

    async def wait(self) -> None:
        """Return when it has stopped, whoever stopped it."""
        if self._task is not None:
            await asyncio.shield(self._task)

    async def stop(self) -> None:
        """Drain and stop. Returns when the last connection is closed and the application has shut down."""
        if self._server is None or self._task is None:
            return
        if self._health is not None:
            self._health.draining = True
        if not self._task.done():
            await asyncio.sleep(self._linger_seconds)
        self._server.should_exit = True
        await self.wait()
        _log.info("stopped", url=self.url)

    async def _run(self, server: "uvicorn.Server", listener: socket.socket) -> None:
        try:
            await server.serve(sockets=[listener])
        except SystemExit:  # uvicorn's way to say that the start-up failed; it would take the whole loop down
            raise self._app.failure() from self._app.error
        finally:
            listener.close()


def _server(app: ASGIApp, drain_seconds: float, started: asyncio.Event) -> "uvicorn.Server":
    # Late: the command line imports this module and must start fast.
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="auto",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=4096,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=math.ceil(drain_seconds),
        )
    )


class _Lifespan:
    """Remembers what the application's start-up raised: uvicorn would only log it and say that it failed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.error: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        starting = False
        started = False
        reported = False

        async def heard() -> Message:
            nonlocal starting
            starting = not started
            return await receive()

        async def said(message: Message) -> None:
            nonlocal starting, started, reported
            if message["type"] == "lifespan.startup.failed":
                reported = True
                message = {"type": message["type"], "message": ""}
            starting, started = False, True
            await send(message)

        try:
            await self._app(scope, heard, said)
        except Exception as error:
            # Raised before it listened: the application knows no lifespan, which uvicorn understands.
            if not (starting or reported):
                raise
            self.error = error
            if not reported:
                await send({"type": "lifespan.startup.failed", "message": ""})

    def failure(self) -> Fault:
        """What to tell the caller of `start`."""
        if isinstance(self.error, Fault):
            return self.error
        return Unavailable("the application did not start", code="startup_failed", internal=repr(self.error))
