"""Make before break, on one stream: rows 40 to 45. For streams of one type each see `test_warming`."""

import pytest

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from tests.scenarios.xds.dataplane import Dataplane
from tests.scenarios.xds.rig import ADS
from tests.scenarios.xds.world import cluster, endpoints, listener, table

pytestmark = pytest.mark.parametrize("mode", ADS)

A, B = cluster("a"), cluster("b")
EA, EB = endpoints("a"), endpoints("b")
ROWS_A, ROWS_B = table("r", "a", A), table("r", "b", B)
DOOR = listener("l", "1", ROWS_A)


@pytest.fixture
async def serving_a(client, source):
    """A client with a listener, its routes, and the one cluster they lead to."""
    source.put(A, EA, DOOR, ROWS_A)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [A])
    await client.request(ENDPOINT, A.name)
    await client.accept(ENDPOINT, [EA])
    await client.request(LISTENER)
    await client.accept(LISTENER, [DOOR])
    await client.request(ROUTE, ROWS_A.name)
    await client.accept(ROUTE, [ROWS_A])
    await client.silence()


@pytest.mark.usefixtures("serving_a")
async def test_40_a_changed_cluster_gets_its_endpoints_again(client, source):
    """When a cluster changed, its endpoints come again though they are the same: it warms until they do."""
    a2 = cluster("a", "2")
    source.put(a2)
    await client.accept(CLUSTER, [a2])
    await client.accept(ENDPOINT, [EA])
    await client.silence()


@pytest.mark.usefixtures("serving_a")
async def test_41_routes_wait_for_their_cluster(client, source):
    """A new cluster and routes to it travel as cluster, endpoints, routes; the last wait for both ACKs."""
    source.put(B, EB, ROWS_B)
    clusters = await client.expect(CLUSTER, [B], full=[A, B])
    await client.request(ENDPOINT, B.name)
    await client.silence(0.15, ROUTE)
    loads = await client.expect(ENDPOINT, [EB])
    await client.ack(clusters)
    await client.silence(0.15, ROUTE)
    await client.ack(loads)
    await client.accept(ROUTE, [ROWS_B])


@pytest.mark.usefixtures("serving_a")
async def test_41_a_listener_waits_for_its_cluster(client, source):
    """A listener that names a new cluster itself waits for it, too."""
    door = listener("l", "2", ROWS_A, B)
    source.put(B, door)
    clusters = await client.expect(CLUSTER, [B], full=[A, B])
    await client.silence(0.15, LISTENER)
    await client.ack(clusters)
    await client.accept(LISTENER, [door])


@pytest.mark.usefixtures("serving_a")
async def test_42_the_old_cluster_stays_until_the_routes_left_it(client, source):
    """A cluster that is replaced is removed when the routes to its successor are acknowledged, and not before."""
    source.change(put=[B, EB, ROWS_B], drop=[A, EA])
    await client.accept(CLUSTER, [B], full=[A, B])
    await client.request(ENDPOINT, B.name)
    await client.accept(ENDPOINT, [EB])
    rows = await client.expect(ROUTE, [ROWS_B])
    await client.silence(0.2, CLUSTER)
    await client.ack(rows)
    await client.accept(CLUSTER, [], full=[B], removed=[A.name])


@pytest.mark.usefixtures("serving_a")
async def test_42_the_old_cluster_stays_while_the_routes_are_refused(client, source):
    """A cluster that is replaced stays as long as the client refuses the routes to its successor."""
    source.change(put=[B, EB, ROWS_B], drop=[A, EA])
    await client.accept(CLUSTER, [B], full=[A, B])
    await client.request(ENDPOINT, B.name)
    await client.accept(ENDPOINT, [EB])
    await client.nack(await client.expect(ROUTE, [ROWS_B]), "no")
    await client.silence()
    better = table("r", "better", B)
    source.put(better)
    await client.accept(ROUTE, [better])
    await client.accept(CLUSTER, [], full=[B], removed=[A.name])


@pytest.mark.usefixtures("serving_a")
async def test_43_new_routes_come_when_they_are_asked_for(client, source):
    """The routes of a new listener come after it, when the client asks for them."""
    rows, door = table("s", "1", A), listener("m", "1", table("s"))
    source.put(rows, door)
    await client.accept(LISTENER, [door], full=[DOOR, door])
    await client.silence(0.2)
    await client.request(ROUTE, rows.name)
    await client.accept(ROUTE, [rows])


@pytest.mark.usefixtures("serving_a")
async def test_44_what_is_used_goes_last(client, source):
    """When all of an API is deleted, its listener goes first and its cluster last."""
    source.drop(A, EA, DOOR, ROWS_A)
    gone = await client.expect(LISTENER, [], full=[], removed=[DOOR.name])
    await client.silence(0.2)
    await client.ack(gone)
    if client.delta:
        rows = await client.expect(ROUTE, [], removed=[ROWS_A.name])
        await client.silence(0.2, CLUSTER)
        await client.ack(rows)
    await client.accept(CLUSTER, [], full=[], removed=[A.name])
    if client.delta:
        await client.accept(ENDPOINT, [], removed=[A.name])
    await client.silence()


@pytest.mark.usefixtures("serving_a")
async def test_44_routes_let_go_of_a_cluster_first(client, source):
    """When a route and its cluster are deleted, the routes change first and the cluster is removed last."""
    empty = table("r", "empty")
    source.change(put=[empty], drop=[A, EA])
    rows = await client.expect(ROUTE, [empty])
    await client.silence(0.2)
    await client.ack(rows)
    await client.accept(CLUSTER, [], full=[], removed=[A.name])


EDITS = 100


async def test_45_rapid_edits_are_coalesced(rig, mode, source):
    """A hundred edits in a row become few pushes, none of them inconsistent, and the last state arrives exactly."""
    old = cluster("c0")
    source.put(old, endpoints("c0"), DOOR, table("r", "c0", old))
    async with rig.client(mode) as client, Dataplane(client) as dataplane:
        await dataplane.in_step(source.current("red"))
        before = rig.metric("headgate_xds_responses_total", type="rds")
        for number in range(1, EDITS + 1):
            new = cluster(f"c{number}")
            rows = table("r", new.name, new)
            source.change(put=[new, endpoints(f"c{number}"), rows], drop=[old, endpoints(f"c{number - 1}")])
            old = new
        await dataplane.in_step(source.current("red"))
        assert dataplane.names(CLUSTER) == {old.name}
        assert rig.metric("headgate_xds_responses_total", type="rds") - before <= 10
        assert dataplane.broken == []


async def test_45_a_busy_dataplane_is_never_inconsistent(rig, mode, source):
    """With edits all the time, no dataplane is ever led to a cluster it does not have."""
    old = cluster("c0")
    source.put(old, endpoints("c0"), DOOR, table("r", "c0", old))
    async with rig.client(mode) as client, Dataplane(client) as dataplane:
        for number in range(1, EDITS // 2):
            new = cluster(f"c{number}")
            rows = table("r", new.name, new)
            source.change(put=[new, endpoints(f"c{number}"), rows], drop=[old, endpoints(f"c{number - 1}")])
            old = new
            await dataplane.heard()
        await dataplane.in_step(source.current("red"))
        assert dataplane.names(CLUSTER) == {old.name}
        assert dataplane.broken == []
