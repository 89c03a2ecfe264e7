"""Every wire calls every kind of method, brings back the same faults, and leaves nothing open."""

import asyncio

import grpc
import pytest

from headgate.kit.controls.faults import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    Unauthenticated,
    Unavailable,
)
from headgate.kit.controls.retry import RetryPolicy
from headgate.service import AUTHENTICATED, Service, rpc
from headgate.service.client import Client, ClientPolicy, ConnectionLost, Unreachable
from headgate.service.middleware import bulkhead
from tests.service.client.served import Slow, over, until
from tests.service.shop import NewOrder, Order, Orders, OutOfStock

WIRES = [
    *((wire, codec) for wire in ("local", "http", "socket", "nats") for codec in ("msgpack", "json")),
    ("grpc", "msgpack"),
]
every_wire = pytest.mark.parametrize(("wire", "codec"), WIRES)


async def parts(count: int = 3):
    """Some orders."""
    for number in range(count):
        yield NewOrder("tea", number + 1)


@every_wire
async def test_every_kind_of_method(wire, codec):
    """One for one, many for one, one for many and many for many: all answer alike."""
    async with over(wire) as place, Client(Orders, codec=codec, **place) as orders:
        assert await orders.get("7", verbose=True) == Order("7", "long")
        assert await orders.place(NewOrder("tea", 2)) == Order("anybody", "tea", 2)
        assert [each.quantity async for each in orders.track("7")] == [0, 1, 2]
        assert await orders.upload(parts()) == 6
        assert [each.quantity async for each in orders.chat(parts())] == [1, 2, 3]
        assert [each async for each in orders.chat(parts(0))] == []


@every_wire
async def test_declared_faults_come_back(wire, codec):
    """A fault that the method declares is of its class again, with all that it told."""
    async with over(wire) as place, Client(Orders, codec=codec, **place) as orders:
        with pytest.raises(OutOfStock) as raised:
            await orders.get("none")
    assert (raised.value.code, raised.value.details, raised.value.message) == (
        "out_of_stock", {"left": 0}, "there is none",
    )  # fmt: skip


@every_wire
async def test_what_the_service_refuses_is_told(wire, codec):
    """What only the service finds wrong comes back with its violations."""
    policy = ClientPolicy(validate=False)
    async with over(wire) as place, Client(Orders, codec=codec, policy=policy, **place) as orders:
        with pytest.raises(InvalidArgument) as refused:
            await orders.place(NewOrder("tea", 0))
    assert [each.pointer for each in refused.value.violations] == ["/quantity"]


@every_wire
async def test_guards_hold(wire, codec):
    """A caller nobody knows is refused the same way everywhere."""

    class Closed(Service, name="orders", guard=AUTHENTICATED):
        @rpc
        async def get(self, key: str) -> Order:
            return Order(key, "tea")

    async with over(wire, Closed()) as place, Client(Closed, codec=codec, **place) as orders:
        with pytest.raises(Unauthenticated):
            await orders.get("7")


@every_wire
async def test_what_a_service_had_not_begun_with_is_called_again(wire, codec):
    """A refusal for want of room reaches the caller as one, who calls again although the method may not be repeated."""
    service = Slow()

    class Narrow(Service, name="orders", public=True, middleware=[bulkhead(1, retry_after=0.0)]):
        @rpc
        async def place(self, order: NewOrder) -> Order:
            return await service.place(order)

    async with over(wire, Narrow()) as place:
        once = ClientPolicy(retry=RetryPolicy(attempts=1))
        async with Client(Narrow, codec=codec, **place) as orders, Client(Narrow, policy=once, **place) as proud:
            first = asyncio.create_task(orders.place(NewOrder("tea")))
            await service.begun.wait()
            with pytest.raises(Unavailable, match="too many calls"):
                await proud.place(NewOrder("tea"))
            counted = Counted(service)
            second = Client(Narrow, codec=codec, retry_observer=counted, **place)
            assert (await second.stub.place(NewOrder("milk"))).sku == "milk"
            await second.aclose()
            assert (await first).sku == "tea"
    assert counted.retries == 1


class Counted:
    """Lets the service go on once a call is to be sent again."""

    def __init__(self, service: Slow) -> None:
        self.service, self.retries = service, 0

    def retried(self, target: str, attempt: int, wait: float) -> None:
        self.retries += 1
        self.service.go.set()

    def gave_up(self, target: str, reason: str) -> None:
        """Not here."""


@every_wire
async def test_a_stream_that_fails_in_its_midst(wire, codec):
    """Messages before a fault are delivered, then the fault, of its class."""
    service = Slow()
    service.fault = OutOfStock("no more", details={"left": 0})
    service.go.set()
    async with over(wire, service) as place, Client(Slow, codec=codec, **place) as orders:
        events = orders.track("7")
        assert (await anext(events)).sku == "first"
        with pytest.raises(FailedPrecondition, match="no more"):
            await anext(events)


@every_wire
async def test_leaving_a_stream_ends_it_at_the_service(wire, codec):
    """A stream that is left early is closed at the service."""
    service = Slow()
    async with over(wire, service) as place, Client(Slow, codec=codec, **place) as orders:
        async with orders.track("7") as events:
            assert (await anext(events)).sku == "first"
        async with asyncio.timeout(5):
            assert await service.ended.get() in ("stream", "cancelled")


@every_wire
async def test_a_caller_who_leaves_is_noticed_by_the_service(wire, codec):
    """Cancelling a call cancels its handler."""
    service = Slow()
    async with over(wire, service) as place, Client(Slow, codec=codec, **place) as orders:
        task = asyncio.create_task(orders.get("7"))
        await service.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            assert await service.ended.get() == "cancelled"


@every_wire
async def test_the_service_knows_how_long_it_has(wire, codec):
    """The time a caller allows reaches the handler, and ends the call on both sides."""
    service = Slow()
    client = Client(Slow, codec=codec, **(place := await _entered(over(wire, service)))[1])
    try:
        with pytest.raises(DeadlineExceeded):
            await client.using(timeout=1).get("7")
        assert 0 < service.seen[0].call.deadline - service.seen[0].call.started <= 1.01
        async with asyncio.timeout(5):
            assert await service.ended.get() == "cancelled"
    finally:
        await client.aclose()
        await place[0].__aexit__(None, None, None)


@every_wire
async def test_metadata_reaches_the_handler(wire, codec):
    """What a caller adds to a call is there as its headers."""
    service = Slow()
    service.go.set()
    async with over(wire, service) as place:
        client = Client(Slow, codec=codec, **place)
        await client.using(metadata={"X-Tenant": "t1"}).get("7")
        await client.aclose()
    assert service.seen[0].header("x-tenant") == "t1"
    assert service.seen[0].header("x-retry-budget") == "2"


@every_wire
async def test_many_calls_at_once(wire, codec):
    """Many calls at the same time each get their own answer."""
    async with over(wire) as place, Client(Orders, codec=codec, **place) as orders:
        found = await asyncio.gather(*(orders.get(str(number)) for number in range(50)))
    assert [each.id for each in found] == [str(number) for number in range(50)]


@pytest.mark.parametrize(
    ("address", "codec"),
    [
        ("http://127.0.0.1:1", "json"),
        ("grpc://127.0.0.1:1", "json"),
        ("ws://127.0.0.1:1/rpc", "json"),
        ("nats://127.0.0.1:1", "json"),
    ],
)
async def test_nobody_listening_is_told(address, codec):
    """Where nobody listens, a call is known not to have been sent."""
    policy = ClientPolicy(connect_timeout=0.3, retry=RetryPolicy(attempts=1))
    async with Client(Orders, address=address, codec=codec, policy=policy) as orders:
        with pytest.raises(Unreachable):
            await orders.get("7")


async def test_a_call_that_a_server_of_grpc_drops_is_a_lost_connection():
    """What gRPC itself makes of a call that waits as its server ends, cancelled without a word, is no wish of ours."""

    async def drop(_requests, context):
        await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")

    server = grpc.aio.server()
    path = Orders.contract().path(Orders.contract().methods["Get"])
    handlers = {"Get": grpc.stream_unary_rpc_method_handler(drop)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(path.split("/")[1], handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    policy = ClientPolicy(retry=RetryPolicy(attempts=1))
    try:
        async with Client(Orders, address=f"grpc://127.0.0.1:{port}", policy=policy) as orders:
            with pytest.raises(ConnectionLost):
                await orders.get("7")
    finally:
        await server.stop(None)


@pytest.mark.parametrize("wire", ["local", "http", "grpc", "socket", "nats"])
async def test_nothing_is_left_behind(wire):
    """After a client is closed none of its tasks runs on."""
    async with over(wire) as place:
        before = asyncio.all_tasks()
        client = Client(Orders, **place)
        await client.stub.get("7")
        async with client.stub.track("7") as events:
            await anext(events)
        await client.aclose()
        mine = [task for task in asyncio.all_tasks() - before if "client" in repr(task.get_coro())]
        await until(lambda: all(task.done() for task in mine))


async def _entered(manager):
    return manager, await manager.__aenter__()
