"""A gRPC server behind the kit's controls, with health, and reflection where one debugs.

server = grpc_server(pipeline, port=50_051, health=health)
server.add(lambda to: add_ShopServicer_to_server(Shop(), to))
port = await server.start()
...
await server.stop(grace=10)        # health says no, no new calls, those under way may finish
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import structlog

from headgate.kit.controls.call import Pipeline
from headgate.kit.controls.certificates import certificate_of_peer
from headgate.kit.controls.faults import FailedPrecondition
from headgate.kit.grpc.health import SERVICE as HEALTH
from headgate.kit.grpc.health import HealthService, Readiness
from headgate.kit.grpc.interceptor import CertificateOf, KitInterceptor
from headgate.kit.grpc.reflection import add_reflection
from headgate.kit.grpc.registry import Register, Registry
from headgate.kit.serve.ports import ensure_free, shown

MEBIBYTE: Final = 1024 * 1024

_FOREVER: Final = 2**31 - 1
_SLACK: Final = MEBIBYTE
_log = structlog.get_logger("headgate.grpc")


@dataclass(frozen=True, slots=True)
class Transport:
    """How the server treats connections: sizes in bytes, times in seconds; 0 is without limit, or never."""

    max_receive: int = MEBIBYTE
    """Largest message of a request."""
    max_send: int = 0
    """Largest message of a response."""
    keepalive: float = 60.0
    """How often an idle connection is asked whether it lives."""
    keepalive_timeout: float = 20.0
    """How long it has to answer."""
    min_ping_interval: float = 10.0
    """Clients that ask more often than this are sent away."""
    max_streams: int = 0
    """Most calls at a time on one connection."""
    max_connection_age: float = 0.0
    """After this a client is asked to connect anew, so that balancers spread the load."""
    max_connection_idle: float = 0.0
    """A connection without calls is closed after this."""
    reuse_port: bool = False
    """Whether several processes share the port."""

    def options(self) -> list[tuple[str, int]]:
        """The same as gRPC's channel arguments."""
        receive = self.max_receive
        found = [
            ("grpc.so_reuseport", int(self.reuse_port)),
            # What exceeds the limit by a little is refused by the call itself, with all that a fault can say.
            ("grpc.max_receive_message_length", receive + min(receive, _SLACK) if receive else -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.keepalive_time_ms", _milliseconds(self.keepalive)),
            ("grpc.keepalive_timeout_ms", _milliseconds(self.keepalive_timeout)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", round(self.min_ping_interval * 1000)),
        ]
        if self.max_streams:
            found.append(("grpc.max_concurrent_streams", self.max_streams))
        if self.max_connection_age:
            found.append(("grpc.max_connection_age_ms", _milliseconds(self.max_connection_age)))
        if self.max_connection_idle:
            found.append(("grpc.max_connection_idle_ms", _milliseconds(self.max_connection_idle)))
        return found


def _milliseconds(seconds: float) -> int:
    return min(_FOREVER, round(seconds * 1000)) if seconds else _FOREVER


class GrpcServer:
    """A server on one address. `setting` is the name of the port's setting, for the fault of a taken port."""

    def __init__(
        self,
        interceptor: KitInterceptor,
        registry: Registry | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 50_051,
        setting: str = "grpc_port",
        credentials: grpc.ServerCredentials | None = None,
        health: Readiness | None = None,
        reflection: bool = False,
        transport: Transport | None = None,
    ) -> None:
        self.registry = registry if registry is not None else Registry()
        self.host = host
        self.port = port
        self.health = HealthService(health, lambda: self.registry.services)
        self._interceptor = interceptor
        self._setting = setting
        self._credentials = credentials
        self._reflection = reflection
        self._transport = transport or Transport()
        self._server: grpc.aio.Server | None = None

    @property
    def address(self) -> str:
        """`host:port`; after `start` with the port it really has."""
        return shown(self.host, self.port)

    def add(self, register: Register) -> None:
        """Add a servicer; before `start`."""
        self.registry.add(register)

    async def start(self) -> int:
        """Listen. Returns the port.

        Raises FailedPrecondition (`address_in_use`, `address_unavailable`, `address_forbidden`) and
        InvalidArgument (`unknown_host`).
        """
        if HEALTH not in self.registry.services:
            self.health.add_to(self.registry)
        if self._reflection:
            add_reflection(self.registry, self.registry.services, self.registry.descriptors)
        if self.port and not self._transport.reuse_port:
            ensure_free(self.host, self.port, self._setting)
        server = self._made()
        try:
            self.port = self._bind(server)
        except BaseException:
            # gRPC takes the process down when a server is dropped that was never started.
            await server.start()
            await server.stop(None)
            raise
        await server.start()
        self._server = server
        _log.info("serving gRPC", address=self.address, tls=self._credentials is not None)
        return self.port

    def drain(self) -> None:
        """Let health say that this serves no more. Calls are still answered."""
        self.health.drain()

    async def stop(self, grace: float | None = 10.0) -> None:
        """Take no new calls, let those under way finish within `grace` seconds, then cancel them."""
        self.drain()
        if self._server is not None:
            await self._server.stop(grace)
            _log.info("stopped gRPC", address=self.address)

    async def wait(self) -> None:
        """Return when it has stopped, whoever stopped it."""
        if self._server is not None:
            await self._server.wait_for_termination()

    def _made(self) -> grpc.aio.Server:
        options, interceptors = self._transport.options(), self.registry.interceptors
        if interceptors:
            handlers = tuple(self.registry.handlers)
            return grpc.aio.server(handlers=handlers, interceptors=(self._interceptor, *interceptors), options=options)
        # Nobody comes between: the same wrapping without the detour that interceptors take.
        return grpc.aio.server(handlers=(_Front(self.registry, self._interceptor),), options=options)

    def _bind(self, server: grpc.aio.Server) -> int:
        try:
            if self._credentials is not None:
                return int(server.add_secure_port(self.address, self._credentials))
            return int(server.add_insecure_port(self.address))
        except RuntimeError as error:
            ensure_free(self.host, self.port, self._setting)  # says why, in all likelihood
            raise FailedPrecondition(
                f"{self._setting}: gRPC cannot listen on {self.address}",
                code="address_unavailable",
                internal=str(error),
            ) from error


class _Front(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Finds handlers already wrapped."""

    def __init__(self, registry: Registry, interceptor: KitInterceptor) -> None:
        self._look_up = registry.look_up
        self._wrap = interceptor.wrap

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._wrap(handler_call_details, self._look_up(handler_call_details))


def grpc_server(
    pipeline: Pipeline,
    *,
    services: Iterable[Register] = (),
    interceptors: Sequence[Any] = (),
    host: str = "127.0.0.1",
    port: int = 50_051,
    setting: str = "grpc_port",
    credentials: grpc.ServerCredentials | None = None,
    certificate_of: CertificateOf = certificate_of_peer,
    health: Readiness | None = None,
    reflection: bool = False,
    transport: Transport | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> GrpcServer:
    """A server whose calls pass through `pipeline`, then through `interceptors`.

    `credentials` make it speak TLS; the client certificate that they verified is then part of each call.
    """
    limits = transport or Transport()
    interceptor = KitInterceptor(
        pipeline,
        certificate_of=certificate_of if credentials is not None else None,
        max_receive=limits.max_receive,
        max_send=limits.max_send,
        clock=clock,
    )
    return GrpcServer(
        interceptor,
        Registry(services, interceptors=interceptors),
        host=host,
        port=port,
        setting=setting,
        credentials=credentials,
        health=health,
        reflection=reflection,
        transport=limits,
    )
