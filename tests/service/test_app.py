"""Applications: every wire at once, who may call, how it starts and stops."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from starlette.responses import PlainTextResponse

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, PermissionDenied, Unauthenticated
from headgate.kit.controls.principal import Principal
from headgate.kit.kit import Kit
from headgate.kit.serve.http import HttpServer
from headgate.service import App, Context, Role, Service, ServiceSettings, on, require, rpc
from headgate.service.broker import Broker, MemoryBroker
from headgate.service.client import CallOptions, Client
from headgate.service.registry import MemoryRegistry, Registry
from headgate.service.running import without_user
from headgate.testing.nats import nats_or_skip
from tests.service.shop import SETTLED, NewOrder, Order, Orders, OutOfStock

KEYS = "ada[orders:read]=key-of-ada-0123456789,bob[else:read]=key-of-bob-0123456789"
WIRES = ["http", "grpc", "socket"]


def settings(**changes) -> ServiceSettings:
    """Settings that read nothing."""
    return ServiceSettings(**{"access_log": False, "rate_limit_default": "off"} | changes)


def keyed(name: str) -> dict[str, str]:
    """The header of somebody with a key."""
    return {"x-api-key": f"key-of-{name}-0123456789"}


class Vault(Service, name="vault", guard=require(scopes={"orders:read"})):
    """A service that is not for everybody."""

    @rpc(get="/vault/{name}")
    async def open(self, name: str, context: Context) -> str:
        """Open it."""
        return f"{name} for {context.principal.id}"

    @rpc(get="/door", public=True)
    async def door(self, context: Context) -> str:
        """Everybody sees the door."""
        return context.principal.id or "a stranger"

    @rpc(guard=require(permissions={"vault:empty"}))
    async def empty(self) -> None:
        """Only who may."""


class Front(Service, name="front", public=True):
    """Calls another one."""

    orders: Orders
    client: Client[Orders]
    kit: Kit

    @rpc
    async def ask(self, key: str) -> list[str]:
        """Ask twice."""
        return [(await self.orders.get(key)).id, (await self.client.stub.get(key)).id]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_service_answers_over_every_wire(wire):
    """Calls, streams both ways and declared faults are the same over every wire."""

    async def said() -> AsyncIterator[NewOrder]:
        for number in (1, 2):
            yield NewOrder("tea", number)

    async with App(Orders(), settings=settings()).started() as running:
        orders = running.client(Orders, wire=wire)
        assert await orders.get("7", verbose=True) == Order("7", "long")
        assert [each.quantity async for each in orders.track("7")] == [0, 1, 2]
        assert await orders.upload(said()) == 3
        assert [each.quantity async for each in orders.chat(said())] == [1, 2]
        with pytest.raises(OutOfStock) as raised:
            await orders.get("none")
        assert raised.value.details == {"left": 0}


async def test_bindings_probes_and_metrics_share_the_port():
    """Bindings, health and metrics answer on the port of HTTP."""
    app = App(Orders(), settings=settings(metrics_public=True))
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get("/orders/7")).json() == {"id": "7", "sku": "tea", "quantity": 1}
        assert (await http.get("/ready")).status_code == 200
        assert "/orders/{key}" in (await http.get("/metrics")).text


@pytest.mark.parametrize("wire", WIRES)
async def test_guards_hold_on_every_wire(wire):
    """Strangers, and those who lack something, are refused the same way over every wire; the public is not."""
    app = App(Vault(), settings=settings(api_key=KEYS), roles={"boss": Role({"vault:*"})})
    async with app.started() as running:
        stranger = running.client(Vault, wire=wire)
        assert await stranger.door() == "a stranger"
        with pytest.raises(Unauthenticated) as raised:
            await stranger.open("a")
        assert raised.value.code == "no_credentials"
        if wire == "socket":  # who calls is settled by its handshake
            return
        ada, bob = (
            running.client(Vault, wire=wire, options=CallOptions(metadata=keyed(name))) for name in ("ada", "bob")
        )
        assert await ada.open("a") == "a for ada"
        with pytest.raises(PermissionDenied) as denied:
            await bob.open("a")
        assert denied.value.code == "missing_scope"


@pytest.mark.parametrize(
    ("path", "who", "status"),
    [
        ("/vault/a", None, 401),
        ("/vault/a", "bob", 403),
        ("/vault/a", "ada", 200),
        ("/door", None, 200),
        ("/door", "bob", 200),
        ("/nowhere", None, 401),
    ],
)
async def test_the_kit_and_the_guards_agree(path, who, status):
    """What is public by its guard is public for the kit; all else needs an identity, and then what the guard says."""
    app = App(Vault(), settings=settings(api_key=KEYS))
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:
        assert (await http.get(path, headers=keyed(who) if who else {})).status_code == status


async def test_wrong_credentials_are_none_where_everybody_may():
    """A public method answers who sends a wrong key as it answers a stranger, by its path and by its binding."""
    app = App(Vault(), settings=settings(api_key=KEYS))
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:
        wrong = {"x-api-key": "wrong"}
        assert (await http.get("/door", headers=wrong)).json() == "a stranger"
        assert (await http.post("/vault.Vault/Door", headers=wrong, json={})).json() == "a stranger"
        assert (await http.get("/vault/a", headers=wrong)).status_code == 401


async def test_roles_of_the_application_reach_its_guards():
    """Permissions come from the roles that the application was told."""
    app = App(Vault(), settings=settings(), roles={"boss": Role({"vault:*"})})
    endpoint = app.hosted[0].endpoints["Empty"]
    call = Call("local", "POST", endpoint.path, [], "", 0.0)
    call.principal = Principal("x", roles=frozenset({"boss"}))
    await endpoint.call(endpoint.method.request(), call)
    call.principal = Principal("x", roles=frozenset({"clerk"}))
    with pytest.raises(PermissionDenied):
        await endpoint.call(endpoint.method.request(), call)


class Recorded(Service, public=True):
    """Writes down what becomes of it."""

    def __init__(self, story: list[str], name: str = "", fault: Exception | None = None) -> None:
        self.story, self.named, self.fault = story, name, fault

    async def on_start(self) -> None:
        """See Service."""
        self.story.append(f"start {self.named}")
        if self.fault is not None:
            raise self.fault

    async def on_stop(self) -> None:
        """See Service."""
        self.story.append(f"stop {self.named}")

    @rpc
    async def slow(self) -> str:
        """Take a while."""
        self.story.append("called")
        await asyncio.sleep(0.2)
        self.story.append("answered")
        return "done"


class First(Recorded, name="first"):
    """The first of two."""


class Second(Recorded, name="second"):
    """The second of two."""


async def test_services_start_in_order_and_stop_in_reverse():
    """`on_start` is called before the first call and `on_stop` after the last, in reverse."""
    story: list[str] = []
    app = App(First(story, "a"), Second(story, "b"), settings=settings())
    async with app.started() as running:
        calling = asyncio.create_task(running.client(First).slow())
        while "called" not in story:
            await asyncio.sleep(0.01)
        stopping = asyncio.create_task(running.serving.stop())
        assert await calling == "done"
        await stopping
    assert story == ["start a", "start b", "called", "answered", "stop b", "stop a"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(FailedPrecondition("no disk", code="no_disk"), "no_disk"), (OSError("x"), "service_not_started")],
)
async def test_a_service_that_does_not_start_stops_the_rest(error, code):
    """What `on_start` raises is told as a fault, those started before are stopped, and no port is held."""
    story: list[str] = []
    app = App(First(story, "a"), Second(story, "b", error), settings=settings())
    serving = app.serving()
    with pytest.raises(Fault) as raised:
        async with app.started():
            pass
    assert raised.value.code == code
    assert story == ["start a", "start b", "stop b", "stop a"]
    assert serving.parts


async def test_instances_are_told_while_they_serve():
    """The registry knows an instance with its real ports and contract once it answers, and not when it is leaving."""
    registry = MemoryRegistry()
    app = App(
        Orders(), settings=settings(zone="eu-1", weight=2, instance_id="one", shutdown_delay=0.2), registry=registry
    )
    async with app.started() as running:
        (instance,) = (await registry.get("orders")).instances
        assert instance.endpoints == {
            "http": running.url,
            "grpc": running.grpc_address,
            "socket": running.socket_url,
        }
        assert (instance.id, instance.version, instance.zone, instance.weight) == ("one-orders", "1.2.0", "eu-1", 2)
        assert instance.contract == Orders.contract().hash
        stopping = asyncio.create_task(running.serving.stop())
        while not app.health.draining:
            await asyncio.sleep(0)
        assert registry.directory.of("orders") == ()
        assert (await running.client(Orders).get("7")).id == "7"
        await stopping
    await registry.aclose()


async def test_a_registry_that_refuses_stops_the_start():
    """What registering raises ends the start, with nothing left running."""

    class Refusing(MemoryRegistry):
        async def register(self, instance):
            raise PermissionDenied("not here", code="registry_forbidden")

    story: list[str] = []
    app = App(First(story, "a"), settings=settings(), registry=Refusing())
    with pytest.raises(PermissionDenied):
        async with app.started():
            pass
    assert story == ["start a", "stop a"]


async def test_clients_are_given_by_type():
    """A service gets stubs and clients of others: in this process, or through the registry."""
    async with App(Front(), Orders(), settings=settings()).started() as running:
        assert await running.client(Front).ask("7") == ["7", "7"]
    registry = MemoryRegistry()
    front = App(Front(), settings=settings(), registry=registry)
    async with App(Orders(), settings=settings(), registry=registry).started(), front.started() as running:
        assert await running.client(Front).ask("8") == ["8", "8"]
        assert front.hosted[0].service.kit is front.kit
    await registry.aclose()


async def test_a_client_of_nobody_stops_the_start():
    """A service that is to call another one, which is nowhere, is told so at the start."""
    with pytest.raises(FailedPrecondition) as raised:
        async with App(Front(), settings=settings()).started():
            pass
    assert raised.value.code == "nowhere_to_call"


async def test_an_application_can_be_served_again():
    """An application that was stopped serves again, with a registry of its settings, too."""

    class Told(Service, public=True):
        registry: Registry

        @rpc
        async def services(self) -> list[str]:
            return sorted(await self.registry.services())

    app = App(Told(), settings=settings(registry="memory://again"))
    for _ in range(2):
        async with app.started() as running:
            assert await running.client(Told).services() == ["told"]


async def test_any_asgi_server_serves_it():
    """`app.asgi` starts the services in its lifespan, and stops them."""
    story: list[str] = []
    app = App(First(story, "a"), settings=settings())
    server = HttpServer(app.asgi, host="127.0.0.1", port=0, setting="port")
    await server.start()
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.post("/first.First/Slow", json={})).json() == "done"
    await server.stop()
    assert story == ["start a", "called", "answered", "stop a"]


async def test_extra_applications_are_behind_the_same_controls():
    """What is mounted beside the methods is hardened with them."""
    app = App(Orders(), settings=settings(), extra={"/hello": PlainTextResponse("hello")})
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:
        answer = await http.get("/hello")
    assert answer.text == "hello"
    assert "content-security-policy" in answer.headers


def test_a_class_is_no_service():
    """Services are instances."""
    with pytest.raises(InvalidArgument, match="is no service"):
        App(Orders, settings=settings())  # type: ignore[arg-type]


def test_an_application_is_one_process():
    """Several workers are refused: each process is an instance of its own."""
    with pytest.raises(FailedPrecondition) as raised:
        App(Orders(), settings=settings(workers=2)).run()
    assert raised.value.code == "one_process"


class Heard(Service, public=True):
    """Publishes, and hears it."""

    broker: Broker

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Order] = asyncio.Queue()

    @rpc
    async def say(self, order: Order) -> None:
        """Publish."""
        await self.broker.publish(SETTLED, order)

    @on(SETTLED)
    async def settled(self, event: Order) -> None:
        """Hear."""
        await self.heard.put(event)


async def test_events_stay_in_the_process_without_a_broker():
    """Without any setting what is published is heard by the services here."""
    service = Heard()
    async with App(service, settings=settings(api_key=KEYS)).started() as running:
        await running.client(Heard).say(Order("1", "tea"))
        assert await asyncio.wait_for(service.heard.get(), 10) == Order("1", "tea")


async def test_a_broker_that_is_given_is_not_closed():
    """A broker belongs to whoever gave it, and serves on when the application has stopped."""
    broker, heard = MemoryBroker(), Heard()
    for _ in range(2):
        async with App(heard, settings=settings(), broker=broker).started() as running:
            await running.client(Heard).say(Order("1", "tea"))
            await asyncio.wait_for(heard.heard.get(), 10)
    await broker.publish(SETTLED, Order("2", "tea"))
    await broker.aclose()


@pytest.fixture(scope="module")
def nats() -> Iterator[str]:
    """The URL of a NATS server."""
    with nats_or_skip() as server:
        yield server.url


async def test_methods_and_events_travel_by_nats(nats):
    """With `nats_url` methods answer over NATS too, guards included, and with `broker` events are heard by others."""
    told = settings(nats_url=nats, broker=nats, api_key=KEYS)
    heard = Heard()
    async with App(heard, settings=told).started(), App(Vault(), Heard(), settings=told).started() as running:
        await running.client(Heard, wire="nats").say(Order("1", "tea"))
        assert await asyncio.wait_for(heard.heard.get(), 10) == Order("1", "tea")
        vault = running.client(Vault, wire="nats")
        assert await vault.door() == "a stranger"
        with pytest.raises(Unauthenticated):
            await vault.open("a")


def test_the_registry_is_told_no_password():
    """What others are told of NATS holds no user and no password."""
    assert without_user("nats://user:secret@127.0.0.1:4222") == "nats://127.0.0.1:4222"


async def test_a_nats_that_is_not_there_stops_the_start():
    """A server that cannot be reached is a fault at the start, with nothing left running."""
    story: list[str] = []
    app = App(First(story, "a"), settings=settings(nats_url="nats://127.0.0.1:9"))
    with pytest.raises(Fault):
        async with app.started():
            pass
    assert story == []


@pytest.mark.parametrize(
    ("changes", "status"), [({}, 404), ({"docs_public": True}, 200), ({"docs": False, "debug": True}, 404)]
)
async def test_documentation_is_shown_as_it_is_told(changes, status):
    """Documents are there for everybody with `docs_public`, keys or not, and for nobody otherwise."""
    app = App(Orders(), settings=settings(api_key=KEYS, **changes))
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:
        for path in ("/docs", "/openapi.json", "/asyncapi.json", "/contract.json"):
            assert (await http.get(path, headers=keyed("ada") if status == 404 else {})).status_code == status


async def test_tools_are_offered_when_asked_for():
    """With `mcp` methods are tools at the path of one's choice, and their guards hold."""
    app = App(Vault(), settings=settings(api_key=KEYS, mcp=True, mcp_path="/tools"))
    async with app.started() as running, httpx.AsyncClient(base_url=running.url) as http:

        async def ask(method, **params):
            asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-06-18"}
            return (await http.post("/tools", json=asked, headers=headers)).json()

        tools = [each["name"] for each in (await ask("tools/list"))["result"]["tools"]]
        opening, door = (next(name for name in tools if name.lower().endswith(each)) for each in ("open", "door"))
        assert not (await ask("tools/call", name=door, arguments={}))["result"].get("isError")
        assert (await ask("tools/call", name=opening, arguments={"name": "a"}))["result"]["isError"]
        assert (await http.post("/mcp", json={})).status_code == 401
