"""One story, told in one loop and by real servers: every wire, a registry that is a file, and brokers of NATS."""

from pathlib import Path

import pytest

from headgate.kit.controls.faults import Unavailable
from headgate.service import Service, Struct, Topic, on, rpc
from headgate.service.broker import Broker
from headgate.testing.nats import nats_or_skip
from headgate.testing.world import World


class Sold(Struct):
    """Something is sold."""

    sku: str


SOLD = Topic("shop.sold", Sold)


class Till(Service, name="till", public=True):
    """Sells."""

    broker: Broker

    @rpc(idempotent="key")
    async def sell(self, sku: str) -> str:
        """Sell one."""
        await self.broker.publish(SOLD, Sold(sku), key=f"sold-{sku}")
        return sku


class Shelf(Service, name="shelf", public=True):
    """Counts what is left."""

    def __init__(self) -> None:
        self.sold: list[str] = []

    @on(SOLD, group="shelf", retries=5, backoff=0.05)
    async def taken(self, event: Sold) -> None:
        """One less."""
        self.sold.append(event.sku)

    @rpc(idempotent=True)
    async def count(self) -> int:
        """How many were sold."""
        return len(self.sold)


@pytest.fixture(params=["virtual", "http", "grpc", "socket", "nats", "jetstream"])
def world(request: pytest.FixtureRequest, tmp_path: Path):
    """The world of the story; the last two have their events over NATS."""
    if request.param == "virtual":
        yield World(seed=3)
        return
    registry = f"file://{tmp_path}/services.json?interval=0.05&ttl=5"
    if request.param not in ("nats", "jetstream"):
        yield World.real(seed=3, wire=request.param, registry=registry)
        return
    with nats_or_skip() as server:
        address = f"{request.param}://127.0.0.1:{server.port}"
        stream = "?stream=SHOP&subjects=shop.>" if request.param == "jetstream" else ""
        yield World.real(seed=3, registry=registry, broker=address + stream)


def test_a_sale_is_counted_once_whatever_the_network_does(world: World):
    """Requests and events that come twice are one sale, and a registry that is cut off keeps what it told last."""
    shelf = Shelf()
    world.add(Till(), at="till-1")
    world.add(Till(), at="till-2")
    world.add(shelf, at="shelf-1")

    async def story() -> None:
        desk = world.connect(Till, at="desk")
        world.network.duplicate(1.0, source="desk")
        world.network.delay(0.005, jitter=0.005)
        assert await desk.stub.sell("tea") == "tea"
        await world.until(lambda: shelf.sold)
        with world.network.partition("desk", "registry"):
            await world.until(lambda: desk.snapshot.stale)
            assert len(desk.snapshot.instances) == 2
            assert await desk.stub.sell("jam") == "jam"
        await world.until(lambda: len(shelf.sold) == 2)
        await world.until(lambda: not desk.snapshot.stale)
        await world.stop("till-1")
        await world.until(lambda: len(desk.snapshot.instances) == 1)
        assert await desk.stub.sell("ham") == "ham"
        await world.until(lambda: len(shelf.sold) == 3)
        assert await world.client(Shelf, at="desk").count() == 3

    world.run(story)
    assert shelf.sold == ["tea", "jam", "ham"]


@pytest.mark.parametrize("wire", ["http", "grpc", "socket"])
def test_the_wire_that_is_asked_for_is_taken(wire: str):
    """A real world is called over the wire it was made with, in the codec that a client is given."""
    world = World.real(wire=wire)
    world.add(Shelf(), at="shelf-1")

    async def story() -> str:
        client = world.connect(Shelf, at="desk", codec="json")
        assert await client.stub.count() == 0
        return type(client.peers.members[0].wire._inner).__name__

    assert world.run(story) == {"http": "Paired", "grpc": "GrpcWire", "socket": "SocketClient"}[wire]


def test_a_node_that_is_cut_off_from_a_real_registry_is_told_so(tmp_path: Path):
    """While the network is cut, a node neither lists nor registers; when it is mended it comes back by itself."""
    world = World.real(registry=f"file://{tmp_path}/services.json?interval=0.05&ttl=0.5")
    world.add(Shelf(), at="shelf-1")

    async def story() -> None:
        registry = world._registry("desk")
        assert set(await registry.services()) == {"shelf"}
        client = world.connect(Shelf, at="desk")
        assert await client.stub.count() == 0
        with world.network.partition("shelf-1", "registry"):
            await world.until(lambda: not client.snapshot.instances)
        await world.until(lambda: client.snapshot.instances)
        with world.network.partition("desk", "registry"), pytest.raises(Unavailable):
            await registry.services()

    world.run(story)
