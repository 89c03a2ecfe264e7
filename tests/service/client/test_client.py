"""A client: where it finds its service, over which wire, and how it ends."""

import asyncio
import subprocess
import sys

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable
from headgate.kit.serve.http import HttpServer
from headgate.service import Context, Service, rpc
from headgate.service.client import CallOptions, Client, ClientPolicy, NoInstances
from headgate.service.host import host
from headgate.service.registry.instance import Instance, Snapshot
from headgate.service.registry.memory import MemoryRegistry
from tests.service.client.scripted import Shop, instance
from tests.service.client.served import over_http
from tests.service.shop import NewOrder, Orders


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"address": "http://a", "instances": []},
        {"address": "localhost:80"},
        {"address": "http://a", "wire": "smoke"},
        {"address": "http://a", "codec": "xml"},
        {"address": "grpc://user:secret@a"},
    ],
)
async def test_a_client_needs_one_place(wrong):
    """No place, two, or one that cannot be: refused at once, with what to do."""
    with pytest.raises(InvalidArgument) as refused:
        Client(Orders, **wrong)
    assert refused.value.hint
    assert "secret" not in str(refused.value)


async def test_instances_come_and_go_by_the_registry():
    """The first call waits for the first snapshot, later ones see each change at once."""
    registry = MemoryRegistry()
    lease = await registry.register(instance("a"))
    shop = Shop(a=[], b=[])
    client = shop.client(registry=registry)
    assert (await client.stub.get("7")).id == "a"
    assert client.snapshot.generation == 1
    await registry.register(instance("b"))
    await lease.release()
    async with asyncio.timeout(5):
        while [each.id for each in client.peers.members] != ["b"]:
            await asyncio.sleep(0)
    assert (await client.stub.get("7")).id == "b"
    await client.aclose()
    await registry.aclose()


async def test_an_instance_with_another_contract_is_told_once(logged):
    """That an instance promises something else than its client was written for is logged once, and it is called."""
    registry = MemoryRegistry()
    lease = await registry.register(instance("a", contract="sha256:other"))
    await registry.register(instance("b", contract=Orders.contract().hash))
    await registry.register(instance("c"))
    client = Shop(a=[], b=[], c=[]).client(registry=registry)
    assert (await client.stub.get("7")).id == "a"
    await lease.update(weight=0.5)
    async with asyncio.timeout(5):
        while client.snapshot.generation < 2:
            await asyncio.sleep(0)
    await lease.update(contract="sha256:third")
    async with asyncio.timeout(5):
        while client.snapshot.generation < 3:
            await asyncio.sleep(0)
    told = [(each["instance"], each["contract"]) for each in logged() if "another contract" in each["event"]]
    assert told == [("a", "sha256:other"), ("a", "sha256:third")]
    await client.aclose()
    await registry.aclose()


async def test_a_registry_that_is_down_keeps_the_last():
    """A stale snapshot is as good as none better: calls go where they went."""
    registry = MemoryRegistry()
    await registry.register(instance("a"))
    shop = Shop(a=[])
    client = shop.client(registry=registry)
    await client.stub.get("7")
    registry.reachable = False
    async with asyncio.timeout(5):
        while not client.snapshot.stale:
            await asyncio.sleep(0)
    assert (await client.stub.get("7")).id == "a"
    await client.aclose()
    await registry.aclose()


async def test_a_registry_that_refuses_is_told_and_asked_again():
    """What a registry raises instead of a snapshot the caller gets, and the next call asks again."""

    class Moody:
        asked = 0

        async def watch(self, service):
            self.asked += 1
            if self.asked == 1:
                raise ResourceExhausted("too many watched")
            yield Snapshot(service, 1, (instance("a"),))

    client = Shop(a=[]).client(registry=Moody())
    with pytest.raises(ResourceExhausted):
        await client.stub.get("7")
    assert (await client.stub.get("7")).id == "a"
    await client.aclose()


async def test_callers_who_wait_for_the_registry_are_apart():
    """One caller who gives up before the first snapshot does not take the others along."""
    go = asyncio.Event()

    class Late:
        async def watch(self, service):
            await go.wait()
            yield Snapshot(service, 1, (instance("a"),))

    client = Shop(a=[]).client(registry=Late())
    first, second = (asyncio.create_task(client.stub.get("7")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    go.set()
    assert (await second).id == "a"
    await client.aclose()


async def test_instances_without_the_wire_are_not_called():
    """Of the instances only those that have a wire of the client's are there for it."""
    other = Instance(id="b", service="orders", endpoints={"smoke": "signal"})
    shop = Shop(a=[], b=[])
    client = shop.client(instances=[other, instance("a")])
    for _ in range(5):
        assert (await client.stub.get("7")).id == "a"
    await client.aclose()
    client = shop.client(instances=[instance("a")], wire="grpc")
    with pytest.raises(NoInstances):
        await client.stub.get("7")
    await client.aclose()


async def test_the_first_wire_of_an_instance_is_taken():
    """An instance lists its wires in the order it likes; a client without a wish takes the first."""
    async with over_http() as server:
        place = Instance(
            id="a", service="orders", endpoints={"ws": server.url.replace("http", "ws") + "/rpc", "http": server.url}
        )
        client = Client(Orders, instances=[place])
        await client.stub.get("7")
        assert type(client.peers.members[0].wire).__name__ == "SocketClient"
        await client.aclose()
        client = Client(Orders, instances=[place], wire="http")
        await client.stub.get("7")
        assert type(client.peers.members[0].wire).__name__ == "HttpWire"
        await client.aclose()


async def test_a_conversation_takes_the_socket():
    """Where an instance has HTTP and a socket, a method that streams both ways is a real conversation."""
    heard = []

    async def talk():
        yield NewOrder("first")
        async with asyncio.timeout(5):
            while not heard:
                await asyncio.sleep(0.001)
        yield NewOrder("second")

    async with over_http() as server:
        endpoints = {"http": server.url, "socket": server.url.replace("http", "ws") + "/rpc"}
        async with Client(Orders, instances=[Instance(id="a", service="orders", endpoints=endpoints)]) as orders:
            assert (await orders.get("7")).id == "7"
            async for each in orders.chat(talk()):
                heard.append(each.sku)  # noqa: PERF401 - the other side waits for it
    assert heard == ["first", "second"]


async def test_a_socket_is_opened_with_the_metadata_of_all_calls():
    """What a client says with each of its calls it also says when a socket is opened: there identity is judged."""
    asked = []

    async def app(scope, receive, send):
        asked.append(dict(scope["headers"]).get(b"authorization"))
        await receive()
        await send({"type": "websocket.close", "code": 1000})

    server = HttpServer(app, host="127.0.0.1", port=0, setting="port")
    await server.start()
    client = Client(
        Orders,
        address=server.url.replace("http", "ws"),
        options=CallOptions(metadata={"authorization": "Bearer t"}, retries=0),
    )
    with pytest.raises(Unavailable):
        await client.stub.get("7")
    await client.aclose()
    await server.stop(0.0)
    assert asked == [b"Bearer t"]


async def test_options_add_up():
    """What `using` says adds to what the client says of all its calls."""
    shop = Shop(a=[])
    client = shop.client()
    await client.using(metadata={"x-a": "1"}, key="k").get("7")
    await client.stub.get("7")
    sent = shop.wires["a"].sent
    assert (sent[0].headers.get("x-a"), sent[1].headers.get("x-a")) == ("1", None)
    await client.aclose()


async def test_a_closed_client_calls_nobody():
    """After closing, a call is refused and nothing is opened."""
    shop = Shop(a=[])
    client = shop.client()
    async with client as orders:
        await orders.get("7")
    assert shop.wires["a"].closed
    with pytest.raises(Unavailable, match="closed"):
        await client.stub.get("7")


async def test_hops_within_a_process():
    """A service that calls another passes on its id, its trace and the time it has left."""
    seen = []

    class Shelf(Service, name="shelf", public=True):
        @rpc
        async def look(self, context: Context) -> str:
            seen.append(context)
            return "tea"

    class Front(Service, name="front", public=True):
        shelf: Client

        @rpc(timeout=5)
        async def ask(self, context: Context) -> str:
            seen.append(context)
            return await self.shelf.stub.look()

    shelf = Client(Shelf, local=host([Shelf()]))
    front = Client(Front, local=host([Front(shelf=shelf)]))
    client_headers = {"x-request-id": "r-1", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    assert await front.using(metadata=client_headers).ask() == "tea"
    await front.aclose()
    await shelf.aclose()
    first, second = seen
    assert second.request_id == first.request_id == "r-1"
    assert second.trace.trace_id == "1" * 32
    assert second.remaining < 5
    assert second.wire == "local"


async def test_a_policy_reaches_the_wire():
    """Limits of the policy are those of the connections: here, of the answer's size."""
    async with over_http() as server:
        client = Client(Orders, address=server.url, policy=ClientPolicy(max_message=4))
        with pytest.raises(ResourceExhausted):
            await client.stub.get("7")
        await client.aclose()


async def test_a_missing_extra_is_named(monkeypatch):
    """A wire whose library is not installed says what to install."""
    monkeypatch.setitem(sys.modules, "grpc", None)
    for name in [each for each in sys.modules if each.startswith("headgate.service.client.wires.grpc")]:
        monkeypatch.delitem(sys.modules, name)
    async with Client(Orders, address="grpc://127.0.0.1:1") as orders:
        with pytest.raises(FailedPrecondition) as refused:
            await orders.get("7")
    assert "headgate[grpc]" in refused.value.hint


def test_importing_a_client_imports_no_wire():
    """Wires are imported when they are used: making a client needs none of their libraries."""
    code = (
        "import sys\n"
        "from headgate.service.client import Client, RingHash\n"
        "print([name for name in ('httpx', 'grpc', 'websockets', 'nats') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
