"""Tests of Consul's own ways, on a fake agent that has the faults of real ones."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from headgate.kit.controls.faults import InvalidArgument, PermissionDenied
from headgate.service.registry import ConsulRegistry, Instance
from headgate.service.registry.consul_api import ConsulOptions
from headgate.service.registry.consul_form import definition, instance_of
from headgate.testing.consul import FakeConsul
from tests.service.registry.conftest import quick
from tests.service.registry.test_conformance import seen

ORDERS = Instance(id="orders-1", service="orders", version="1.2.0", endpoints={"http": "http://10.0.0.1:8080"})


@pytest.fixture
async def consul() -> AsyncIterator[FakeConsul]:
    """An agent."""
    async with FakeConsul() as fake:
        yield fake


@pytest.fixture
async def registry(consul) -> AsyncIterator[ConsulRegistry]:
    """A client of it."""
    async with client(consul) as made:
        yield made


def client(consul: FakeConsul, **options) -> ConsulRegistry:
    """A client of it."""
    told = {"ttl": 0.6, "wait": 0.5, "least_pause": 0.01, **options}
    return ConsulRegistry(consul.url, ConsulOptions(**told), policy=quick(call_timeout=1.0))


def queries(consul: FakeConsul) -> list[dict[str, str]]:
    """What was asked of the health of services so far."""
    return [dict(each.query) for each in consul.asked if each.path.startswith("/v1/health")]


async def test_queries_block_on_the_last_index(consul, registry):
    """The first query does not block; the next ones wait for what comes after the index of the last."""
    watch = registry.watch("orders")
    await anext(watch)
    async with await registry.register(ORDERS):
        await seen(watch, lambda each: bool(each.instances))
    first, second, *_ = queries(consul)
    assert "index" not in first
    assert (second["index"], second["wait"]) == ("10", "500ms")
    assert all(each["passing"] == "true" for each in queries(consul))


async def test_a_query_that_waited_in_vain_is_no_outage(consul, registry):
    """A blocking query that ends without news leaves the snapshot as it is, and confirms it."""
    snapshot = await registry.get("orders")
    watch = registry.watch("orders")
    await anext(watch)
    async with asyncio.timeout(10):
        while len(queries(consul)) < 4:
            await asyncio.sleep(0.01)
    assert await registry.get("orders") is snapshot
    assert registry.age("orders") < 5


async def test_an_index_that_goes_back_starts_over(consul, registry):
    """After the index went back, the next query does not block on an index of before."""
    watch = registry.watch("orders")
    async with await registry.register(ORDERS):
        await seen(watch, lambda each: bool(each.instances))
        consul.index = 1
        consul.change()
        async with asyncio.timeout(10):
            while not any("index" not in each for each in queries(consul)[1:]):
                await asyncio.sleep(0.01)
        consul.set_passing("orders-1", passing=False)
        await seen(watch, lambda each: not each.instances)


async def test_without_an_index_it_is_polled(consul, registry, monkeypatch):
    """An answer without an index does not make a busy loop."""
    monkeypatch.setattr("headgate.service.registry.consul._POLL_SECONDS", 0.05)
    consul.fail("/v1/health", status=200, text=[])
    watch = registry.watch("orders")
    assert (await anext(watch)).instances == ()
    consul.heal()
    async with await registry.register(ORDERS):
        await seen(watch, lambda each: bool(each.instances))


async def test_only_passing_instances(consul, registry):
    """An instance whose check fails is not told of, and is again when it passes."""
    lease = await registry.register(ORDERS)
    watch = registry.watch("orders")
    await seen(watch, lambda each: bool(each.instances))
    consul.set_passing("orders-1", passing=False)
    await seen(watch, lambda each: not each.instances)
    await seen(watch, lambda each: bool(each.instances))
    await lease.release()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"status": 500, "text": "No cluster leader"}, "registry_unavailable"),
        ({"status": 429, "headers": {"retry-after": "0"}}, "registry_busy"),
        ({"status": 403, "text": "Permission denied"}, "registry_forbidden"),
        ({"status": 404}, "registry_not_found"),
        ({"status": 200, "text": "<html>"}, "registry_unavailable"),
        ({"status": 200, "text": {"no": "list"}}, "registry_unavailable"),
        ({"cut": True}, "registry_unavailable"),
    ],
    ids=["500", "429", "403", "404", "no json", "no list", "reset"],
)
async def test_faults_are_outages(consul, registry, fault, code):
    """Whatever goes wrong between, the last snapshot stays, and the next answer is taken."""
    codes = []
    registry._observer._observer.failed = lambda _, __, told: codes.append(told.code)
    async with await registry.register(ORDERS):
        watch = registry.watch("orders")
        before = await seen(watch, lambda each: bool(each.instances))
        consul.fail("/v1/health", **fault)
        consul.change()
        stale = await seen(watch, lambda each: each.stale)
        assert stale.instances == before.instances
        consul.heal()
        await seen(watch, lambda each: not each.stale and each.instances == before.instances)
        assert code in codes


async def test_a_slow_agent_is_an_outage(consul, registry):
    """An agent that does not answer in time is an outage too."""
    consul.fail("/v1/health", delay=60)
    snapshot = await registry.get("orders")
    assert snapshot.stale
    assert "cannot be reached" in snapshot.reason


async def test_the_token_is_a_header_and_no_text(consul, tmp_path, logged):
    """The token goes in a header; no URL, repr, log or fault has it; one in a file is read anew each time."""
    file = tmp_path / "token"
    file.write_text("first-secret\n")
    async with FakeConsul(token="second-secret") as guarded:
        options = ConsulOptions(token_file=str(file), ttl=0.6)
        async with ConsulRegistry(guarded.url, options, policy=quick()) as registry:
            with pytest.raises(PermissionDenied) as raised:
                await registry.register(ORDERS)
            assert "service:write" in raised.value.hint
            file.write_text("second-secret\n")
            async with await registry.register(ORDERS) as lease:
                assert lease.held
        assert all("secret" not in each.path + str(each.query) for each in guarded.asked)
        assert "secret" not in repr(ConsulOptions(token="a-secret")) + str(raised.value) + json.dumps(logged())


async def test_datacentre_and_consistency(consul):
    """The datacentre and how consistent answers must be go with every query."""
    async with client(consul, dc="eu", consistency="stale") as registry:
        await registry.get("orders")
        await registry.services()
    assert all((each.query["dc"], each.query["stale"]) == ("eu", "") for each in consul.asked)


async def test_ttl_check(consul, registry):
    """An instance is registered passing, with a check that takes it away when nobody renews it."""
    async with await registry.register(ORDERS):
        check = consul.services["orders-1"]["Check"]
    assert check == {
        "CheckID": "service:orders-1", "DeregisterCriticalServiceAfter": "60s", "TTL": "0.6s", "Status": "passing",
    }  # fmt: skip


async def test_http_check(consul):
    """With an HTTP check the agent asks the instance, and the lease looks whether it is still known."""
    async with client(consul, check="http", tags=("blue",)) as registry:
        lease = await registry.register(ORDERS)
        told = consul.services["orders-1"]
        assert told["Check"]["HTTP"] == "http://10.0.0.1:8080/ready"
        assert (told["Address"], told["Port"], told["Tags"]) == ("10.0.0.1", 8080, ["version=1.2.0", "blue"])
        consul.forget()
        async with asyncio.timeout(10):
            while "orders-1" not in consul.services:
                await asyncio.sleep(0.01)
        await lease.release()
        with pytest.raises(InvalidArgument) as raised:
            await registry.register(Instance(id="o", service="orders"))
        assert raised.value.violations[0].pointer == "/endpoints/http"


@pytest.mark.parametrize("modern", [False, True], ids=["1.8", "1.11"])
async def test_forgotten_in_every_dialect(modern):
    """Older and newer agents say differently that they forgot an instance; both are understood."""
    async with FakeConsul(modern=modern) as consul, client(consul) as registry:
        lease = await registry.register(ORDERS)
        consul.forget()
        async with asyncio.timeout(10):
            while "orders-1" not in consul.services:
                await asyncio.sleep(0.01)
        consul.forget()
        await lease.release()
        assert not consul.services


def test_instances_survive_the_way_there_and_back():
    """What is registered is read as it was, whatever its metadata is called and however long it is."""
    told = Instance(
        id="orders-1", service="orders", version="1.2.0",
        endpoints={"http": "https://[::1]:8443", "nats": "svc.orders"},
        zone="eu", weight=0.25, metadata={"a": "b", "team.name/x": "ü" * 500, "headgate-x": "y"}, contract="sha256:1",
        started=1.5,
    )  # fmt: skip
    body = definition(told, (), {})
    assert (body["Address"], body["Port"], body["Weights"]["Passing"]) == ("::1", 8443, 1)
    assert all(len(value) <= 512 for value in body["Meta"].values())
    entry = {"Node": {"Node": "n"}, "Service": {**body, "Service": "orders"}}
    assert instance_of(entry, "orders", "http") == told


def test_wires_keep_their_order():
    """Consul sorts what it keeps; the wire that an instance lists first is the first for those who find it."""
    endpoints = {"socket": "ws://10.0.0.1:8080/rpc", "http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:50051"}
    body = definition(Instance(id="orders-1", service="orders", endpoints=endpoints), (), {})
    service = {**body, "Service": "orders", "Meta": dict(sorted(body["Meta"].items()))}
    read = instance_of({"Node": {"Node": "n"}, "Service": service}, "orders", "http")
    assert list(read.endpoints.items()) == list(endpoints.items())


def test_instances_of_others_are_read():
    """A service that others registered has one wire, at its address or its node's."""
    service = {"ID": "redis", "Address": "", "Port": 6379, "Tags": ["version=7"], "Meta": {"k": "v"}}
    entry = {"Node": {"Node": "n1", "Address": "fd00::1", "Meta": {"zone": "b"}}, "Service": service}
    read = instance_of(entry, "redis", "tcp")
    assert (read.id, read.endpoints, read.version) == ("n1/redis", {"tcp": "[fd00::1]:6379"}, "7")
    assert (read.zone, read.metadata) == ("b", {"k": "v"})


def test_entries_that_are_none_are_left_out():
    """An entry that cannot be an instance is left out, and harms no other."""
    for service in ({"ID": "a", "Meta": {"headgate-weight": "heavy"}}, {"ID": "a", "Meta": {"headgate-more-x": "{"}}):
        assert instance_of({"Node": {"Node": "n"}, "Service": service}, "orders", "http") is None


def test_too_much_metadata_is_refused():
    """What Consul cannot keep is refused here, with where it is."""
    metadata = {f"k.{n}": "x" * 512 for n in range(48)}
    wires = {f"w{n}": "a:1" for n in range(20)}
    with pytest.raises(InvalidArgument) as raised:
        definition(Instance(id="a", service="orders", metadata=metadata, endpoints=wires), (), {})
    assert raised.value.violations[0].pointer == "/metadata"
