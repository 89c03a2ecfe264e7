"""A `grpc.aio` server as a part of what a process serves.

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    serving.add(GrpcServer(server, host="127.0.0.1", port=50_051, setting="grpc_port", tls=certificates))

With `grpc.so_reuseport` 0 a port cannot be taken by two; gRPC's own default shares it, and then only the moment
before binding tells that it is in use. gRPC offers no way to hand it a listening socket.
"""

import asyncio
from typing import TYPE_CHECKING

import structlog

from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.serve.ports import ensure_free, how_to_change, shown
from headgate.kit.tls.files import TlsFiles
from headgate.kit.tls.rotation import Certificates

if TYPE_CHECKING:
    import grpc

_log = structlog.get_logger("headgate.serve")


class GrpcServer:
    """Adapts `server`, to which no port was added yet. `setting` is the name of the port's setting.

    With `shared` the port may be in use by processes like this one.
    """

    def __init__(
        self,
        server: "grpc.aio.Server",
        *,
        host: str,
        port: int,
        setting: str,
        tls: TlsFiles | Certificates | None = None,
        shared: bool = False,
    ) -> None:
        self.host = host
        self.port = port
        self._server = server
        self._setting = setting
        self.certificates = Certificates(tls) if isinstance(tls, TlsFiles) else tls
        self._shared = shared
        self._bound = self._started = self._closed = self._watching = False
        self._ended = asyncio.Event()
        self._over: asyncio.Task[bool] | None = None

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return f"grpc{'s' if self.certificates else ''}://{shown(self.host, self.port)}"

    async def bind(self) -> None:
        """Take the address. Raises what `ports.bind` does, and what `server_credentials` does."""
        if self._bound:
            return
        if self.port and not self._shared:
            ensure_free(self.host, self.port, self._setting)
        address = shown(self.host, self.port)
        try:
            if self.certificates is not None:
                from headgate.kit.tls.grpc import server_credentials

                self.port = self._server.add_secure_port(address, server_credentials(self.certificates))
            else:
                self.port = self._server.add_insecure_port(address)
        except RuntimeError as error:
            change = how_to_change(self._setting)
            raise FailedPrecondition(
                f"{self._setting}: {address} cannot be used: it is in use or not allowed; {change}",
                code="address_in_use",
                hint=change,
                internal=str(error),
            ) from error
        self._bound = True

    async def start(self) -> None:
        """Answer."""
        await self.bind()
        await self._server.start()
        self._started = True
        # One for all who wait, and never cancelled: gRPC would take that for the end of its own shutdown.
        self._over = asyncio.create_task(self._server.wait_for_termination())
        if self.certificates is not None:
            self.certificates.watch()
            self._watching = True
        _log.info("serving", url=self.name)

    async def wait(self) -> None:
        """Return when it was stopped, or ended by itself."""
        stopped = asyncio.create_task(self._ended.wait())
        ends = {stopped} if self._over is None else {stopped, self._over}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()

    def leave(self) -> None:
        """Nothing: gRPC tells its clients when it drains."""

    async def drain(self, grace: float) -> None:
        """Refuse new calls, tell clients to go elsewhere, and cancel after `grace` seconds what is left."""
        if self._started:
            await self._server.stop(grace)

    async def stop(self) -> None:
        """Let go of the port."""
        if not self._closed:
            self._closed = True
            if not self._started:
                # gRPC lets go of a port, and of the server itself, only where it has served.
                await self._server.start()
            await self._server.stop(None)
            if self._started:
                _log.info("stopped", url=self.name)
        self._bound = self._started = False
        if self._watching and self.certificates is not None:
            self._watching = False
            await self.certificates.unwatch()
        self._ended.set()
