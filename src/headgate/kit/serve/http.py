"""One ASGI application on one address, served by uvicorn, granian or hypercorn inside the running event loop.

    server = HttpServer(app, host="127.0.0.1", port=8080, setting="api_port")
    await server.start()            # bound, the application started up, answering
    await server.stop(grace=10.0)   # no new connections, finish what is under way, the application shut down

    HttpServer(app, server="granian", host=host, port=port, setting="port", tls=Certificates(files))

Started together with other servers, and stopped with readiness off first, it is a part of a
`headgate.kit.serve.lifecycle.Serving`. Signals are the caller's: see `headgate.kit.serve.loop`.

| | uvicorn | granian | hypercorn |
|---|---|---|---|
| HTTP/2 | no | yes, also in the clear | yes, also in the clear |
| client certificates | yes | refused at start | yes |
| Server header | none | empty: it cannot be left out | none |
| keep-alive and head | two times | `keep_alive_seconds` for both | `keep_alive_seconds` for both |
"""

import asyncio
from socket import socket
from typing import Final

import structlog
from starlette.types import ASGIApp

from headgate.kit.serve.calls import Calls
from headgate.kit.serve.engines import Engine, HttpLimits, ServerName, engine_of
from headgate.kit.serve.lifespan import Lifespan
from headgate.kit.serve.ports import bind, shown
from headgate.kit.tls.files import TlsFiles
from headgate.kit.tls.rotation import Certificates

GRACE_SECONDS: Final = 10.0

_FLUSH_SECONDS: Final = 1.0

_log = structlog.get_logger("headgate.serve")


class HttpServer:
    """One application on one address. `setting` is the name of the port's setting, for the fault of a taken port.

    `listener`, a listening socket, takes the place of `host` and `port`: several processes may share one. `tls` are
    files, looked at for a rotation every 10 seconds, or certificates shared with other servers.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str,
        port: int,
        setting: str,
        server: ServerName = "uvicorn",
        tls: TlsFiles | Certificates | None = None,
        limits: HttpLimits | None = None,
        listener: socket | None = None,
        startup_seconds: float = 60.0,
        shutdown_seconds: float = 30.0,
    ) -> None:
        self.host = host
        self.port = port
        self._setting = setting
        self._server = server
        self.certificates = Certificates(tls) if isinstance(tls, TlsFiles) else tls
        self._limits = limits or HttpLimits()
        self._listener = listener
        self._lifespan = Lifespan(app, startup_seconds=startup_seconds, shutdown_seconds=shutdown_seconds)
        self._calls = Calls(app, state=self._lifespan.state)
        self._engine: Engine | None = None
        self._watching = False
        self._refused = False
        self._ended = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it answers; once bound, with the port it really has."""
        return f"http{'s' if self.certificates else ''}://{shown(self.host, self.port)}"

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return self.url

    async def bind(self) -> None:
        """Take the address; clients wait from now on instead of being refused. Raises what `ports.bind` does."""
        if self._listener is None:
            self._listener = bind(self.host, self.port, self._setting, backlog=self._limits.backlog)
        self.host, self.port = self._listener.getsockname()[:2]

    async def start(self) -> None:
        """Bind, run the application's start-up, and answer.

        Raises what `bind` does, the fault the application's start-up raised, Unavailable (`startup_failed`,
        `startup_timeout`), and what `engine_of` does for the server.
        """
        try:
            await self.bind()
            self._engine = engine_of(self._server)(self._calls, self._limits, self.certificates)
            await self._lifespan.startup()
            if self._listener is not None:
                await self._engine.start(self._listener)
                self._listener = None
            if self.certificates is not None:
                self.certificates.watch()
                self._watching = True
        except BaseException:
            await self.stop(0.0)
            raise
        _log.info("serving", url=self.url, server=self._server)

    async def wait(self) -> None:
        """Return when it was stopped; raise when it ended by itself, or the application's lifespan did."""
        ends = [asyncio.create_task(self._ended.wait()), asyncio.create_task(self._lifespan.wait())]
        if self._engine is not None:
            ends.append(asyncio.create_task(self._engine.wait()))
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not self._refused:
                for task in done:
                    task.result()
        finally:
            for task in ends:
                task.cancel()

    def leave(self) -> None:
        """Ask clients to come again over another connection, and streams to end: draining begins."""
        self._calls.close()

    async def drain(self, grace: float) -> None:
        """Take no new connections, let calls finish for `grace` seconds at most, then cancel what is left."""
        self.leave()
        self._refused = True
        if self._engine is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        await self._engine.refuse()
        if not await self._calls.wait(grace):
            _log.warning("calls cancelled at the end of the grace", url=self.url, calls=await self._calls.cut())
        await self._engine.finish(max(_FLUSH_SECONDS, deadline - loop.time()) if len(self._calls) == 0 else 0.0)

    async def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Drain unless that is done, shut the application down, and let go of the address."""
        if not self._refused:
            await self.drain(grace)
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.close()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._lifespan.shutdown()
        if self._watching and self.certificates is not None:
            self._watching = False
            await self.certificates.unwatch()
        self._ended.set()
        if engine is not None:
            _log.info("stopped", url=self.url)
