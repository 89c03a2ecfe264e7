"""grpc.health.v1, fed by the same checks as `/ready`.

    Check    SERVING or NOT_SERVING; NOT_FOUND for a service that is not here
    List     both, for all services
    Watch    the same, told again whenever it changes; ends when the server drains

The service "" is the whole process. Checks run at most once per `period`, however many ask.
Source: grpc/health/v1/health.proto; the gRPC health checking protocol.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Final, Protocol

import grpc
import structlog

from headgate.kit.controls.faults import NotFound, ResourceExhausted
from headgate.kit.grpc.registry import methods_handler

SERVICE: Final = "grpc.health.v1.Health"
MOST_WATCHERS: Final = 1_024
_log = structlog.get_logger("headgate.grpc")


class Readiness(Protocol):
    """What `headgate.kit.asgi.health.Health` is."""

    draining: bool

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process is ready, and why."""


class HealthService:
    """Answers for `services` and for the whole. Without `readiness` all is well until it drains."""

    def __init__(
        self,
        readiness: Readiness | None = None,
        services: Callable[[], Iterable[str]] = tuple,
        *,
        period: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readiness = readiness
        self._services = services
        self._period = period
        self._clock = clock
        self._own: dict[str, bool] = {}
        self._ready = True
        self._asked: float | None = None
        self._asking: asyncio.Task[None] | None = None
        self._watchers: set[asyncio.Event] = set()
        self.draining = False

    def add_to(self, server: Any) -> None:
        """Register with a server."""
        from grpc_health.v1 import health_pb2

        read, write = health_pb2.HealthCheckRequest.FromString, health_pb2.HealthCheckResponse.SerializeToString
        handlers = {
            "Check": grpc.unary_unary_rpc_method_handler(self.check, read, write),
            "Watch": grpc.unary_stream_rpc_method_handler(self.watch, read, write),
        }
        if hasattr(health_pb2, "HealthListRequest"):
            handlers["List"] = grpc.unary_unary_rpc_method_handler(
                self.list, health_pb2.HealthListRequest.FromString, health_pb2.HealthListResponse.SerializeToString
            )
        server.add_generic_rpc_handlers((methods_handler(SERVICE, handlers),))

    def set_serving(self, service: str, serving: bool) -> None:
        """Say of one service whether it serves; it still does not when the process is not ready."""
        self._own[service] = serving
        self._wake()

    def drain(self) -> None:
        """Serve no more: say so to all who watch, and let them go."""
        self.draining = True
        self._wake()

    async def check(self, request: Any, _context: Any) -> Any:
        """One answer."""
        status = await self._status(request.service)
        if status is None:
            raise NotFound(f"there is no service {request.service[:200]} here", code="no_such_service")
        return _response(status)

    async def list(self, _request: Any, _context: Any) -> Any:
        """All of them."""
        from grpc_health.v1 import health_pb2

        statuses = {name: _response(await self._status(name)) for name in ("", *self._services())}
        return health_pb2.HealthListResponse(statuses=statuses)

    async def watch(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        """An answer now, and another whenever it changes."""
        if len(self._watchers) >= MOST_WATCHERS:
            raise ResourceExhausted("too many watch already", code="too_many_watchers", hint="use Check")
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            last: bool | str | None = ""
            while True:
                changed.clear()
                status = await self._status(request.service)
                if status is not last:
                    last = status
                    yield _response(status)
                if self.draining:
                    return
                try:
                    async with asyncio.timeout(self._period):
                        await changed.wait()
                except TimeoutError:
                    continue
        finally:
            self._watchers.discard(changed)

    async def _status(self, service: str) -> bool | None:
        """Whether a service serves; None for an unknown one."""
        if service and service not in self._own and service not in self._services():
            return None
        if self.draining or (self._readiness is not None and self._readiness.draining):
            return False
        if not self._own.get(service, True) or not self._own.get("", True):
            return False
        if self._readiness is not None:
            await self._ask()
        return self._ready

    async def _ask(self) -> None:
        """Run the checks, unless that was done just now. All who ask meanwhile wait for the same answer."""
        if self._asking is None and (self._asked is None or self._clock() - self._asked >= self._period):
            self._asking = asyncio.get_running_loop().create_task(self._run_checks())
        if self._asking is not None:
            await asyncio.shield(self._asking)

    async def _run_checks(self) -> None:
        try:
            self._ready = self._readiness is None or (await self._readiness.report())[0]
        except Exception as error:  # noqa: BLE001 - whatever is raised means: not ready
            self._ready = False
            _log.error("readiness failed", exc_info=error)
        finally:
            self._asked, self._asking = self._clock(), None

    def _wake(self) -> None:
        for changed in self._watchers:
            changed.set()


def _response(status: bool | None) -> Any:
    from grpc_health.v1 import health_pb2

    names = {True: "SERVING", False: "NOT_SERVING", None: "SERVICE_UNKNOWN"}
    return health_pb2.HealthCheckResponse(status=names[status])
