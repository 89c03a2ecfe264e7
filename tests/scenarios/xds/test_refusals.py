"""What is refused: rows 57 and 58, and what is kept of it."""

import pytest

from headgate.controlplane.core.changes import Actor
from headgate.controlplane.core.dataplanes import Dataplanes
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.translate.resource import CLUSTER, LISTENER, ROUTE
from headgate.dataplane.validate import EnvoyValidator
from headgate.testing.controlplane import running_control_plane
from headgate.testing.envoy import eventually, require_envoy
from headgate.testing.xds import XdsClient, node
from tests.scenarios.xds.dataplane import Dataplane
from tests.scenarios.xds.rig import serving
from tests.scenarios.xds.world import cluster, endpoints, listener, make, table

ANONYMOUS = "something in it is wrong"


def config(value):
    """A route config that answers 200 with a header of this value."""
    route = {
        "name": "all",
        "match": {"path": {"prefix": "/"}},
        "direct_response": {"status": 200},
        "response_headers": {"set": [{"name": "x-note", "value": value}]},
    }
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]}


@pytest.mark.envoy
async def test_57_poison_is_stopped_before_it_is_stored(tmp_path, mode):
    """What Envoy would refuse is refused where it is written, and reaches no dataplane."""
    gate = EnvoyValidator(require_envoy())
    async with running_control_plane(tmp_path, gate=gate) as running:
        path, name = "/api/v1/native/route-configs/rc", "default/rc"
        target = f"127.0.0.1:{running.xds_port}"
        async with XdsClient(target, mode, node("test")) as client:
            put = await running.client.put(path, json=config("fine"))
            assert put.status_code == 201, put.text
            await client.request(ROUTE, name)
            answer = await client.next(ROUTE)
            await client.ack(answer)
            if not answer.names:
                await client.ack(await client.next(ROUTE))
            refused = await running.client.put(path, json=config("%NO_SUCH%"))
            assert refused.status_code == 400, refused.text
            assert refused.json()["code"] == "refused_by_envoy"
            await client.silence()
            better = await running.client.put(path, json=config("better"))
            assert better.status_code == 200, better.text
            answer = await client.next(ROUTE)
            assert b"better" in answer.resources[name]


@pytest.mark.envoy
async def test_57_what_kills_envoy_kills_a_child(tmp_path):
    """A configuration that crashes Envoy is refused by the gate, which survives it."""
    gate = EnvoyValidator(require_envoy())
    tap = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap",
        "common_config": {"admin_config": {"config_id": "x"}},
    }
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": (
            "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "x",
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"]}]},
        "http_filters": [{"name": "tap", "typed_config": tap}, {"name": "router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    poison = {"static_resources": {"listeners": [{"name": "l", "address": address, "filter_chains": [chain]}]}}
    assert "crash" in (await gate.check(poison) or "")
    assert await gate.check({"static_resources": {}}) is None


@pytest.mark.parametrize("spoiled", [["c3"], ["c0", "c7"], [f"c{number}" for number in range(16)]], ids=len)
async def test_58_the_good_of_a_refused_batch_is_delivered(rig, mode, source, spoiled):
    """Of a batch refused with words that name nobody, the good arrive and the bad are quarantined."""
    good = [cluster(f"c{number}") for number in range(16)]
    loads = [endpoints(f"c{number}") for number in range(16)]
    async with rig.client(mode) as client, Dataplane(client, refuses=b"poison", verdict=ANONYMOUS) as dataplane:
        source.put(*good, *loads)
        await dataplane.in_step(source.current("red"))
        news = {f"c{number}": cluster(f"c{number}", "2") for number in range(16)}
        for name in spoiled:
            news[name] = cluster(name, "poison")
        source.put(*news.values())
        held = {old.name: old.body for old in good}
        held |= {new.name: new.body for name, new in news.items() if name not in spoiled}
        await dataplane.holds(CLUSTER, held)

        async def quarantined():
            refused = rig.ledger.report("test").refused
            return {key: entry.message for key, entry in refused.items()} == {
                (CLUSTER, f"red/{name}"): ANONYMOUS for name in spoiled
            }

        await eventually(quarantined, 10.0, f"{rig.ledger.report('test').refused.keys()}")
        report = rig.ledger.report("test")
        assert all(report.refused[CLUSTER, f"red/{n}"].last_good.body == held[f"red/{n}"] for n in spoiled)
        assert len(dataplane.refused) == len(set(dataplane.refused)) < 32
        source.put(*(cluster(name, "3") for name in spoiled))
        await dataplane.in_step(source.current("red"))
        assert not rig.ledger.report("test").refused


async def test_58_a_batch_of_newcomers(rig, mode, source):
    """Of new resources refused with words that name nobody, the good arrive, and the bad one is the only one absent."""
    async with rig.client(mode) as client, Dataplane(client, refuses=b"poison", verdict=ANONYMOUS) as dataplane:
        new = [cluster(f"c{number}", "poison" if number == 5 else "1") for number in range(8)]
        source.put(*new, *(endpoints(f"c{number}") for number in range(8)))
        await dataplane.holds(CLUSTER, {each.name: each.body for each in new if b"poison" not in each.body})


async def test_58_a_refusal_that_names_its_resource(rig, mode, source):
    """When the client's words name the resource, it alone is held back, after one refusal."""
    good = {name: cluster(name) for name in "abc"}
    async with rig.client(mode) as client:
        verdict = "Error adding/updating cluster(s) red/b: it is bad"
        async with Dataplane(client, refuses=b"poison", verdict=verdict) as dataplane:
            source.put(*good.values(), *(endpoints(name) for name in "abc"))
            await dataplane.in_step(source.current("red"))
            news = {name: cluster(name, "poison" if name == "b" else "2") for name in "abc"}
            source.put(*news.values())
            await dataplane.holds(CLUSTER, {each.name: each.body for each in (news["a"], good["b"], news["c"])})
            assert len(dataplane.refused) == 1


async def test_58_what_is_quarantined_blocks_nothing_else(rig, mode, source):
    """A refused listener leaves the other listeners, clusters and routes free to change."""
    a = cluster("a")
    rows = table("r", "1", a)
    fine, bad = listener("fine", "1", rows), listener("bad", "1", rows)
    async with rig.client(mode) as client, Dataplane(client, refuses=b"poison", verdict=ANONYMOUS) as dataplane:
        source.put(a, endpoints("a"), rows, fine, bad)
        await dataplane.in_step(source.current("red"))
        better = listener("fine", "2", rows)
        source.put(better, listener("bad", "poison", rows))
        await dataplane.holds(LISTENER, {fine.name: better.body, bad.name: bad.body})
        newer = table("r", "2", a)
        source.put(newer, cluster("a", "2"))
        await dataplane.holds(ROUTE, {rows.name: newer.body})
        await dataplane.holds(CLUSTER, {a.name: cluster("a", "2").body})


async def test_58_a_quarantine_outlives_the_stream(settings, mode, sqlite_store):
    """What a dataplane refused is in the store with its words; it is not shown it again when it comes back."""
    await Teams(sqlite_store).create(Actor("test", "test"), "red")
    ledger = Dataplanes(sqlite_store, replica="test", delay=0.01)
    await ledger.start()
    async with serving(settings, ledger=ledger) as rig:
        good, bad = make(CLUSTER, "a"), make(CLUSTER, "a", "bad")
        rig.source.put(good)
        async with rig.client(mode) as client:
            await client.request(CLUSTER)
            await client.accept(CLUSTER, [good])
            rig.source.put(bad)
            await client.nack(await client.expect(CLUSTER, [bad]), "it is bad")

            async def noted():
                status = await ledger.get("red", "test")
                return [(each.resource, each.message) for each in status.refused] == [(good.name, "it is bad")]

            await eventually(noted, 5.0, "the refusal is not shown")
            await client.reset()

            async def closed():
                return not (await ledger.get("red", "test")).connected

            await eventually(closed, 5.0)
            await client.request(CLUSTER)
            await client.accept(CLUSTER, [good])
            await client.silence()
            better = make(CLUSTER, "a", "better")
            rig.source.put(better)
            await client.accept(CLUSTER, [better])
    await ledger.stop()
