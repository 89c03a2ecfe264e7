"""Tests of DNS's own ways, on a name server of our own over UDP."""

from collections.abc import AsyncIterator

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry import DnsRegistry
from headgate.service.registry.dns import DnsOptions
from tests.service.registry.conftest import quick
from tests.service.registry.nameserver import NameServer
from tests.service.registry.test_conformance import seen


@pytest.fixture
async def server() -> AsyncIterator[NameServer]:
    """A name server."""
    async with NameServer() as made:
        yield made


def client(server: NameServer, **options) -> DnsRegistry:
    """A client of it."""
    told = {"least_ttl": 0.02, "most_ttl": 0.1, **options}
    return DnsRegistry("test", DnsOptions(server=server.server, **told), policy=quick(call_timeout=0.4))


async def test_wires_of_one_host_are_one_instance(server):
    """SRV records of several wires at one host are one instance; its weight is the record's."""
    server.records["_http._tcp.orders.test", "SRV"] = ["0 30 8080 a.test.", "0 10 8080 b.test."]
    server.records["_grpc._tcp.orders.test", "SRV"] = ["0 30 50051 a.test."]
    async with client(server, wires=("http", "grpc")) as registry:
        one, two = (await registry.get("orders")).instances
    assert (one.id, one.weight) == ("a.test", 30.0)
    assert one.endpoints == {"http": "http://a.test:8080", "grpc": "a.test:50051"}
    assert two.endpoints == {"http": "http://b.test:8080"}


async def test_ports_of_one_host_are_several_instances(server):
    """Several records of one wire at one host are instances of their own."""
    server.records["_http._tcp.orders.test", "SRV"] = ["0 0 8080 a.test.", "0 0 8081 a.test."]
    async with client(server) as registry:
        found = (await registry.get("orders")).instances
    assert [(each.id, each.weight) for each in found] == [("a.test:8080", 1.0), ("a.test:8081", 1.0)]


async def test_only_the_first_priority(server):
    """Records of a higher priority number wait until there are no others; a weight of 0 is a very small one."""
    records = ["5 0 8080 late.test.", "1 0 8080 a.test.", "1 10 8080 b.test."]
    server.records["_http._tcp.orders.test", "SRV"] = records
    async with client(server) as registry:
        watch = registry.watch("orders")
        found = (await anext(watch)).instances
        assert [(each.id, each.weight) for each in found] == [("a.test", 0.1), ("b.test", 10.0)]
        del records[1:]
        assert (await seen(watch, lambda each: len(each.instances) == 1)).instances[0].id == "late.test"


async def test_a_dot_is_no_service(server):
    """A record whose target is "." says that there is none."""
    server.records["_http._tcp.orders.test", "SRV"] = ["0 0 0 ."]
    async with client(server) as registry:
        snapshot = await registry.get("orders")
    assert (snapshot.instances, snapshot.stale) == ((), False)


async def test_addresses_of_both_families(server):
    """Without SRV every address of the name is an instance, with the port that is told."""
    server.records["orders.test", "A"] = ["10.0.0.1", "10.0.0.2"]
    server.records["orders.test", "AAAA"] = ["fd00::1"]
    async with client(server, records="a", wires=("http", "grpc"), port=8080) as registry:
        found = {each.id: each.endpoints for each in (await registry.get("orders")).instances}
    assert found["10.0.0.1"] == {"http": "http://10.0.0.1:8080", "grpc": "10.0.0.1:8080"}
    assert found["fd00::1"]["http"] == "http://[fd00::1]:8080"
    assert len(found) == 3


async def test_targets_are_resolved_where_that_is_wanted(server):
    """With `resolve` the addresses of targets are the instances."""
    server.records["_http._tcp.orders.test", "SRV"] = ["0 1 8080 a.test."]
    server.records["a.test", "A"] = ["10.0.0.1", "10.0.0.2"]
    async with client(server, resolve=True) as registry:
        assert [each.id for each in (await registry.get("orders")).instances] == ["10.0.0.1", "10.0.0.2"]


async def test_half_an_answer_is_none(server):
    """When one wire's records cannot be had, the whole answer does not count."""
    server.records["_http._tcp.orders.test", "SRV"] = ["0 1 8080 a.test."]
    server.records["_grpc._tcp.orders.test", "SRV"] = ["0 1 50051 a.test."]
    async with client(server, wires=("http", "grpc")) as registry:
        watch = registry.watch("orders")
        before = await anext(watch)
        server.failing.add("_grpc._tcp.orders.test")
        server.records["_http._tcp.orders.test", "SRV"] = ["0 1 8080 b.test."]
        assert (await seen(watch, lambda each: each.stale)).instances == before.instances


async def test_a_silent_server_is_an_outage(server):
    """A server that does not answer makes the snapshot stale."""
    server.silent = True
    async with client(server) as registry:
        snapshot = await registry.get("orders")
    assert (snapshot.stale, snapshot.generation) == (True, 0)


async def test_the_time_to_live_is_kept(server):
    """What may be kept for long is not asked for again soon."""
    server.ttl = 300
    server.records["_http._tcp.orders.test", "SRV"] = ["0 1 8080 a.test."]
    async with client(server, most_ttl=600.0) as registry:
        watch = registry.watch("orders")
        await anext(watch)
        server.records["_http._tcp.orders.test", "SRV"] = ["0 1 8080 b.test."]
        with pytest.raises(TimeoutError):
            await seen_within(watch, 0.3)
    assert len(server.asked) == 1


async def seen_within(watch: AsyncIterator[object], seconds: float) -> object:
    """The next snapshot. Raises TimeoutError."""
    import asyncio

    return await asyncio.wait_for(anext(watch), seconds)


@pytest.mark.parametrize("wrong", [{"records": "mx"}, {"records": "a"}, {"port": 80}, {"wires": ()}, {"least_ttl": 0}])
def test_impossible_options_are_refused(wrong):
    """Options that cannot be are refused."""
    with pytest.raises(InvalidArgument):
        DnsOptions(**wrong)
