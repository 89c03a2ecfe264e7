"""Many names, large answers, slow readers: rows 51 and 52."""

import pytest

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, ROUTE
from headgate.testing.envoy import eventually
from tests.scenarios.xds.rig import DELTA, serving
from tests.scenarios.xds.world import cluster, endpoints, make, table

MANY = 20_000
LIMIT = 4 << 20
"""What gRPC receives in one message unless told otherwise."""
BULK = "x" * 200_000
BYTES = "headgate_xds_response_bytes_total"


async def test_51_twenty_thousand_names(client, source):
    """A request with 20,000 names is served, each name once, and an update of one of them is sent alone."""
    resources = {f"red/{number}": endpoints(str(number)) for number in range(MANY)}
    source.put(*resources.values())
    await client.request(ENDPOINT, *resources)
    seen = []
    while len(seen) < MANY:
        answer = await client.next(ENDPOINT, within=30.0)
        await client.ack(answer)
        seen += answer.names
    assert len(seen) == MANY
    assert set(seen) == set(resources)
    changed = endpoints("7", "2")
    source.put(changed)
    await client.accept(ENDPOINT, [changed])
    await client.silence()


async def test_51_more_than_a_message_takes(client, source):
    """More than 4 MB is split by delta into answers below it; state of the world sends it whole."""
    resources = [make(CLUSTER, f"c{number}", f"{number} {BULK}") for number in range(30)]
    source.put(*resources)
    await client.request(CLUSTER)
    if not client.delta:
        assert (await client.accept(CLUSTER, resources)).size > LIMIT
        return
    seen = []
    while len(seen) < len(resources):
        answer = await client.next(CLUSTER)
        await client.ack(answer)
        assert answer.size < LIMIT
        seen += answer.names
    assert sorted(seen) == sorted(resource.name for resource in resources)
    await client.silence()


@pytest.mark.parametrize("mode", DELTA)
async def test_51_one_resource_above_the_limit(settings, mode):
    """Delta: a resource that is larger than the limit travels alone."""
    large, small = make(CLUSTER, "b", BULK), [make(CLUSTER, name) for name in "ac"]
    async with serving(settings, max_bytes=1000) as rig, rig.client(mode) as client:
        rig.source.put(large, *small)
        await client.request(CLUSTER)
        seen = []
        while len(seen) < 3:
            answer = await client.next(CLUSTER)
            await client.ack(answer)
            seen.append(answer.names)
        assert sorted(seen) == [("red/a",), ("red/b",), ("red/c",)]


async def test_52_a_slow_reader_costs_one_answer(rig, mode, source):
    """For a client that does not read, no more than one answer of a type is made; others are served meanwhile."""
    source.put(make(CLUSTER, "a", f"0 {BULK}"))
    async with rig.client(mode, "slow") as slow, rig.client(mode, "quick") as quick:
        for client in (slow, quick):
            await client.request(CLUSTER)
            await client.accept(CLUSTER, [source.current("red").resources[CLUSTER]["red/a"]])
        slow.pause()
        made = rig.metric(BYTES)
        read = 0
        for number in range(1, 51):
            newest = make(CLUSTER, "a", f"{number} {BULK}")
            source.put(newest)
            read += (await quick.accept(CLUSTER, [newest])).size
        assert rig.metric(BYTES) - made - read < 2 * len(BULK)
        slow.resume()
        answer = await slow.next(CLUSTER)
        await slow.ack(answer)
        if answer.resources["red/a"] != newest.body:
            await slow.accept(CLUSTER, [newest])
        await slow.silence()


@pytest.mark.parametrize("mode", DELTA)
async def test_52_a_client_that_only_asks(rig, mode, source):
    """A client that asks without end and reads nothing gets a bounded number of answers; others are served."""
    source.put(make(ROUTE, "a", BULK))
    async with rig.client(mode, "greedy") as greedy, rig.client(mode, "quick") as quick:
        await greedy.request(ROUTE, "red/a")
        greedy.pause()
        before = rig.metric(BYTES)
        for _ in range(500):
            await greedy.send(ROUTE, subscribe=["red/a"])
        rows = table("b")
        source.put(rows)
        await rig.caught_up()
        await quick.request(ROUTE, rows.name)
        await quick.accept(ROUTE, [rows])
        assert rig.metric(BYTES) - before < 25 * len(BULK)


async def test_52_a_reader_that_is_gone(rig, mode, source):
    """A client that stopped reading and then goes away leaves nothing behind."""
    source.put(cluster("a"))
    async with rig.client(mode) as client:
        await client.request(CLUSTER)
        client.pause()
        for number in range(20):
            source.put(make(CLUSTER, "a", f"{number} {BULK}"))

    async def gone():
        return rig.streams == 0 and not rig.hub.sessions()

    await eventually(gone, 5.0, "a stream is still open")
