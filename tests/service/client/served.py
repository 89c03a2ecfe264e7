"""Real servers for the tests of clients: the shop, and one whose every step a test decides, on every wire."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from headgate.kit.controls.faults import Fault
from headgate.kit.hardening import DeadlineSettings
from headgate.kit.kit import Kit
from headgate.kit.serve.http import HttpServer
from headgate.service import Context, Service, rpc
from headgate.service.host import Hosted, host
from headgate.service.registry.instance import Instance
from headgate.service.transports.http import HttpWire
from headgate.service.transports.socket.wire import SocketWire
from tests.service.shop import NewOrder, Order, Orders, OutOfStock


class Slow(Service, name="orders", public=True):
    """Waits for the test at every step."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()
        self.seen: list[Context] = []
        self.fault: Fault | None = None

    @rpc(name="Get", get="/orders/{key}", raises=[OutOfStock])
    async def get(self, key: str, context: Context, verbose: bool = False) -> Order:
        """Answers when the test says so."""
        self.seen.append(context)
        await self._step()
        return Order(key, "tea")

    @rpc(name="Place")
    async def place(self, order: NewOrder) -> Order:
        """The same, for what may not be repeated."""
        await self._step()
        return Order("slow", order.sku)

    @rpc(name="Track")
    async def track(self, key: str) -> AsyncIterator[Order]:
        """One message, and the next when the test says so."""
        try:
            yield Order(key, "first")
            await self._step()
            yield Order(key, "second")
        finally:
            self.ended.put_nowait("stream")

    async def _step(self) -> None:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.put_nowait("cancelled")
            raise
        if self.fault is not None:
            raise self.fault


Slow.declared = Orders.declared  # the same paths as the shop


def hosted(service: Service | None = None) -> tuple[Hosted, ...]:
    """The shop, or another, ready to be served."""
    return host([service or Orders()])


@asynccontextmanager
async def over_http(service: Service | None = None, **choices: Any) -> AsyncIterator[HttpServer]:
    """A hardened HTTP server, with sockets at /rpc."""
    there = hosted(service)
    app = SocketWire(there, path="/rpc", inside=HttpWire(there))
    server = HttpServer(Kit(DeadlineSettings(), **choices).harden(app), host="127.0.0.1", port=0, setting="port")
    await server.start()
    try:
        yield server
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def over_grpc(service: Service | None = None) -> AsyncIterator[str]:
    """The address of a gRPC server."""
    from headgate.service.transports.grpc import grpc_services

    server = Kit(DeadlineSettings()).grpc_server(*grpc_services(hosted(service)), host="127.0.0.1", port=0)
    port = await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0.0)


@asynccontextmanager
async def over_nats(service: Service | None = None) -> AsyncIterator[str]:
    """The address of a NATS server of its own, on which the service answers."""
    from headgate.service.transports.nats.wire import NatsWire
    from headgate.testing.nats import nats_or_skip

    with nats_or_skip() as server:
        serving = NatsWire(hosted(service), server.url)
        await serving.bind()
        await serving.start()
        try:
            yield server.url
        finally:
            await serving.drain(0.0)
            await serving.stop()


@asynccontextmanager
async def over(wire: str, service: Service | None = None) -> AsyncIterator[dict[str, Any]]:
    """What a client is told to find the service on a wire."""
    async with AsyncExitStack() as stack:
        if wire == "local":
            yield {"local": hosted(service)}
        elif wire == "nats":
            yield {"address": await stack.enter_async_context(over_nats(service))}
        elif wire == "grpc":
            address = await stack.enter_async_context(over_grpc(service))
            yield {"address": f"grpc://{address}"}
        else:
            server = await stack.enter_async_context(over_http(service))
            address = server.url if wire == "http" else server.url.replace("http", "ws") + "/rpc"
            yield {"address": address}


def instances(*servers: HttpServer) -> list[Instance]:
    """The servers as instances, in their order."""
    return [
        Instance(id=f"orders-{number}", service="orders", endpoints={"http": server.url})
        for number, server in enumerate(servers)
    ]


async def until(true: Callable[[], bool]) -> None:
    """Let others run until something is so."""
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)
