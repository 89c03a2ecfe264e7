"""One life for everything a process serves: HTTP on any server, gRPC, and what else has a start and an end.

    serving = Serving(health=health, shutdown_delay=5.0, shutdown_grace=10.0)
    serving.add(HttpServer(app, host=host, port=8080, setting="port"))
    serving.add(GrpcServer(grpc_server, host=host, port=50_051, setting="grpc_port"))
    code = await serving.run()              # until SIGTERM or SIGINT

    code = await serve(app, grpc=grpc_server, server="granian", port=8080)      # the same in one line

    await serving.start(); ...; await serving.stop()        # where signals are somebody else's

    bind    every address is taken first, so that a taken port is told before anything has begun
    start   in the order of `add`; when one fails, those before it are stopped and its fault is raised
    ready   `/ready` passes
    leave   those who told others of it take that back (`on_stopping`)
    drain   `/ready` refuses, and `shutdown_delay` seconds pass in which all is served as before, so that balancers
            turn away; then no new connections, and at most `shutdown_grace` seconds for calls and streams under way,
            the same ones for all; what is left is cancelled
    stop    in the reverse order, applications are shut down

A part that ends by itself stops the others. A second signal ends the process at once.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

import structlog
from starlette.types import ASGIApp

from headgate.kit.asgi.health import Health
from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.serve.engines import HttpLimits, ServerName
from headgate.kit.serve.grpc import GrpcServer
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.loop import on_hangup, stop_on_signals
from headgate.kit.serve.parts import Adapted, StartStop
from headgate.kit.serve.ports import PortSetting
from headgate.kit.tls.files import TlsFiles
from headgate.kit.tls.rotation import Certificates

if TYPE_CHECKING:
    import grpc

SERVED: Final = 0
"""Exit code: it was asked to stop, and did."""
FAILED: Final = 1
"""Exit code: a part ended by itself while it was served."""
NOT_STARTED: Final = 3
"""Exit code: it could not start. To try again changes nothing."""

_CUT_SECONDS: Final = 5.0
"""How much longer than the grace a part may take to give up what it cancelled."""

_STOP_SECONDS: Final = 60.0
"""Longest a part may take to let go."""

_log = structlog.get_logger("headgate.serve")


class Part(Protocol):
    """Something that is served. Methods are called in this order; `stop` also when it, or another, cannot start."""

    @property
    def name(self) -> str:
        """What it is called in logs."""

    async def bind(self) -> None:
        """Take its address. Raises the fault that says why it cannot be had."""

    async def start(self) -> None:
        """Answer from now on."""

    async def wait(self) -> None:
        """Return when it was stopped; return or raise when it ended by itself."""

    def leave(self) -> None:
        """Tell clients and streams that it is about to end, while it goes on serving."""

    async def drain(self, grace: float) -> None:
        """Take no new connections, let calls finish for `grace` seconds, then cancel what is left."""

    async def stop(self) -> None:
        """Let go of everything."""

    @property
    def certificates(self) -> Certificates | None:
        """What it shows over TLS."""


class Serving:
    """The parts of a process, started, drained and stopped together. Times are in seconds.

    `health.draining` is set while it drains. `on_ready` is called when all have been started, `on_stopping` is awaited
    before anything else ends.
    """

    def __init__(
        self,
        *,
        health: Health | None = None,
        shutdown_delay: float = 0.0,
        shutdown_grace: float = 10.0,
        on_ready: Callable[[], None] | None = None,
        on_stopping: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.parts: list[Part] = []
        self.on_stopping = on_stopping
        self._health = health
        self._delay = shutdown_delay
        self._grace = shutdown_grace
        self._on_ready = on_ready
        self._running: list[Part] = []
        self._stopping: asyncio.Task[None] | None = None

    def add(self, part: Part) -> None:
        """Serve `part` too. Before `start`."""
        self.parts.append(part)

    async def start(self) -> None:
        """Bind all, then start all. Raises the first fault, with everything stopped again."""
        try:
            for part in self.parts:
                self._running.append(part)
                await part.bind()
            for part in self.parts:
                await part.start()
        except BaseException:
            # Those that were never asked hold what they were made with.
            self._running += [part for part in self.parts if part not in self._running]
            await self._stop_all()
            raise
        if self._on_ready is not None:
            self._on_ready()

    async def wait(self) -> None:
        """Return when it was stopped. Raises what a part ended with, or Unavailable (`server_ended`)."""
        waits = {asyncio.create_task(part.wait(), name=part.name): part for part in self._running}
        try:
            while waits:
                done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    part = waits.pop(task)
                    task.result()
                    if self._stopping is None:
                        raise Unavailable(f"{part.name} ended by itself", code="server_ended")
        finally:
            for task in waits:
                task.cancel()

    async def stop(self) -> None:
        """Drain and stop all. Calls after the first wait for it."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._drain_and_stop(), name="stop serving")
        await asyncio.shield(self._stopping)

    def reload(self) -> None:
        """Look for new certificates now."""
        for certificates in self._certificates():
            certificates.refresh()

    async def run(self, stop: asyncio.Event | None = None) -> int:
        """Start, serve until `stop` is set or a part ends by itself, and stop. Returns the exit code.

        Without `stop` SIGTERM and SIGINT end it, and SIGHUP reloads the certificates. Faults are logged.
        """
        if stop is None:
            stop = stop_on_signals()
            if self._certificates():
                on_hangup(self.reload)
        try:
            if not await self._started_before(stop):
                return SERVED
        except Fault as fault:
            _log.error("not started", code=fault.code, reason=fault.message, hint=fault.hint, detail=fault.internal)
            return NOT_STARTED
        code = await self._until(stop)
        await self.stop()
        return code

    def _certificates(self) -> set[Certificates]:
        return {part.certificates for part in self.parts if part.certificates is not None}

    async def _started_before(self, stop: asyncio.Event) -> bool:
        """Start, unless `stop` is set before that is done."""
        asked, start = asyncio.create_task(stop.wait()), asyncio.create_task(self.start())
        try:
            await asyncio.wait({asked, start}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                return False
            start.result()
            return True
        finally:
            await _ended(asked, start)

    async def _until(self, stop: asyncio.Event) -> int:
        asked, ended = asyncio.create_task(stop.wait()), asyncio.create_task(self.wait())
        try:
            await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        except Exception as error:  # noqa: BLE001 - whatever a server ends with
            reason = error.message if isinstance(error, Fault) else repr(error)
            _log.exception("a server ended by itself; the others are stopped", reason=reason)
            return FAILED
        finally:
            await _ended(asked, ended)
        return SERVED

    async def _drain_and_stop(self) -> None:
        if self.on_stopping is not None:
            await _guarded("on_stopping", self.on_stopping(), _STOP_SECONDS)
        if self._health is not None:
            self._health.draining = True
        for part in self._running:
            part.leave()
        if self._running:
            await asyncio.sleep(self._delay)
            await asyncio.gather(
                *(_guarded(part.name, part.drain(self._grace), self._grace + _CUT_SECONDS) for part in self._running)
            )
        await self._stop_all()

    async def _stop_all(self) -> None:
        running, self._running = self._running, []
        for part in reversed(running):
            await _guarded(part.name, part.stop(), _STOP_SECONDS)


async def _guarded(name: str, work: Awaitable[None], seconds: float) -> None:
    """Do the `work` of a part; that it fails, or hangs, must not keep the others from stopping."""
    try:
        async with asyncio.timeout(seconds):
            await work
    except Exception:  # noqa: BLE001
        _log.exception("a server did not stop as it should", server=name)


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def serve(
    app: ASGIApp,
    *,
    grpc: "grpc.aio.Server | Part | StartStop | None" = None,
    server: ServerName = "uvicorn",
    host: str = "127.0.0.1",
    port: int = 8080,
    grpc_port: int = 50_051,
    tls: TlsFiles | Certificates | None = None,
    limits: HttpLimits | None = None,
    health: Health | None = None,
    shutdown_delay: float = 0.0,
    shutdown_grace: float = 10.0,
) -> int:
    """Serve `app`, and `grpc` beside it, until SIGTERM or SIGINT. Returns the exit code (see `Serving.run`).

    gRPC starts first, so that it answers by the time `/ready` does. Raises what is wrong with the TLS files.
    """
    certificates = Certificates(tls) if isinstance(tls, TlsFiles) else tls
    serving = Serving(health=health, shutdown_delay=shutdown_delay, shutdown_grace=shutdown_grace)
    if grpc is not None:
        serving.add(grpc_part(grpc, host=host, port=grpc_port, tls=certificates))
    serving.add(
        HttpServer(
            app, server=server, host=host, port=port, setting=PortSetting("port"), tls=certificates, limits=limits
        )
    )
    return await serving.run()


def grpc_part(
    server: "grpc.aio.Server | Part | StartStop",
    *,
    host: str,
    port: int,
    tls: Certificates | None,
    setting: str = PortSetting("grpc_port"),
    shared: bool = False,
) -> Part:
    """`server` as a part. One that brings its own address and TLS keeps them; `shared` as in `GrpcServer`."""
    given: Any = server
    if hasattr(given, "bind") and hasattr(given, "leave"):
        return cast("Part", given)
    if hasattr(given, "add_insecure_port"):
        return GrpcServer(given, host=host, port=port, setting=setting, tls=tls, shared=shared)
    port = 0 if shared else getattr(given, "port", 0)
    return Adapted(given, name="grpc", host=getattr(given, "host", host), port=port, setting=setting)
