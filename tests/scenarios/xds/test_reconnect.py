"""Coming back: rows 33 to 36."""

from contextlib import AsyncExitStack

import certifi
import pytest

from headgate.controlplane.core.changes import Actor, Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.snapshots import Snapshots
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE
from headgate.testing.envoy import eventually
from headgate.testing.xds import WILDCARD
from tests.scenarios.xds.rig import DELTA, KINDS, SOTW, WILDCARD_KINDS, serving
from tests.scenarios.xds.world import make

ME = Actor("test", "test")


def asked(kind):
    """How a client follows a, b, c and d of a type: all of them, or by name."""
    return [WILDCARD] if kind in WILDCARD_KINDS else [f"red/{name}" for name in "abcd"]


@pytest.mark.parametrize("mode", DELTA)
@pytest.mark.parametrize("kind", KINDS)
async def test_33_nothing_is_sent_again(client, source, kind):
    """Delta: a client that comes back with the versions there are is sent nothing."""
    resources = [make(kind, name) for name in "abcd"]
    source.put(*resources)
    await client.request(kind, *asked(kind))
    answer = await client.accept(kind, resources)
    await client.reset()
    await client.request(kind, *asked(kind), versions=answer.versions)
    await client.silence()
    source.put(make(kind, "a", "2"))
    await client.accept(kind, [make(kind, "a", "2")])


@pytest.mark.parametrize("mode", DELTA)
@pytest.mark.parametrize("kind", KINDS)
async def test_34_only_the_difference_is_sent(client, rig, source, kind):
    """Delta: a client that comes back is sent what changed and what is new, and is told what is gone."""
    a, b, c = (make(kind, name) for name in "abc")
    source.put(a, b, c)
    names = asked(kind)[:3]
    await client.request(kind, *names)
    answer = await client.accept(kind, [a, b, c])
    await client.reset()
    await rig.caught_up()
    a2, d = make(kind, "a", "2"), make(kind, "d")
    source.change(put=[a2, d], drop=[b])
    await client.request(kind, *asked(kind), versions=answer.versions)
    answers = [await client.next(kind)]
    await client.ack(answers[0])
    if not answers[0].removed:
        # On an aggregated stream a removal waits until the client had time to name its other types.
        answers.append(await client.accept(kind, [], removed=[b.name]))
    assert sorted(answers[0].names) == [a.name, d.name]
    assert answers[0].versions == {a.name: a2.version, d.name: d.version}
    assert [name for answer in answers for name in answer.removed] == [b.name]
    await client.silence()


def cluster_change(name, port):
    """A cluster with one endpoint."""
    spec = {"endpoints": [{"address": "127.0.0.1", "port": port}]}
    return Change("put", "cluster", name, spec)


@pytest.fixture
async def replicas(settings, sqlite_store):
    """Two servers over one store, each with its own snapshots; a function that changes the store's clusters."""
    box = SecretBox(bytes(32))
    resources = Resources(sqlite_store, preflight=None, secrets=box)
    await Teams(sqlite_store).create(ME, "default")
    async with AsyncExitStack() as stack:
        rigs = []
        for _ in range(2):
            snapshots = Snapshots(
                sqlite_store,
                lambda _, row: row,
                lambda team: TeamCompiler(team, system_ca=certifi.contents()),
                poll=0.1,
            )
            await snapshots.start()
            stack.push_async_callback(snapshots.stop)
            rigs.append(await stack.enter_async_context(serving(settings, source=snapshots)))

        async def change(*changes):
            outcome = await resources.apply(ME, "default", changes)

            async def everywhere():
                return all(rig.source.current("default").revision >= outcome.revision for rig in rigs)

            await eventually(everywhere, 5.0)

        yield *rigs, change


async def test_35_replicas_agree(replicas, mode):
    """Every replica has the same bytes and versions, and a client that moves is sent nothing again."""
    one, two, change = replicas
    await change(cluster_change("a", 1), cluster_change("b", 2))
    await change(cluster_change("a", 3))
    async with one.client(mode, team="default") as here, two.client(mode, team="default") as there:
        for kind, names in ((CLUSTER, ()), (ENDPOINT, ("default/a", "default/b"))):
            await here.request(kind, *names)
            await there.request(kind, *names)
            mine, others = await here.next(kind), await there.next(kind)
            assert mine.names
            assert (mine.resources, mine.versions, mine.version) == (others.resources, others.versions, others.version)
            await here.ack(mine)
            await there.ack(others)
            async with two.client(mode, "moved", team="default") as moved:
                versions = mine.versions if mode.delta else {"": mine.version}
                await moved.request(kind, *names, versions=versions)
                if mode.delta or kind == CLUSTER:
                    await moved.silence()


@pytest.mark.parametrize("mode", SOTW)
@pytest.mark.parametrize("kind", WILDCARD_KINDS)
@pytest.mark.parametrize("names", [(), (WILDCARD,)], ids=["legacy", "asterisk"])
async def test_36_the_same_state_is_not_sent_again(client, source, kind, names):
    """State of the world: who follows everything and has it is sent nothing, and the whole after the next change."""
    a, b = make(kind, "a"), make(kind, "b")
    source.put(a, b)
    await client.request(kind, *names)
    answer = await client.accept(kind, [a, b])
    await client.reset()
    await client.request(kind, *names, versions={"": answer.version})
    await client.silence()
    source.drop(a)
    await client.accept(kind, [b])
    a2 = make(kind, "a", "2")
    source.put(a2)
    await client.accept(kind, [a2, b])


@pytest.mark.parametrize("mode", SOTW)
@pytest.mark.parametrize("kind", [CLUSTER, LISTENER, ROUTE, ENDPOINT])
async def test_36_a_version_proves_nothing_for_names(client, source, kind):
    """State of the world: who comes back with names is answered, whatever version it gives."""
    a, b = make(kind, "a"), make(kind, "b")
    source.put(a, b)
    await client.request(kind, a.name)
    answer = await client.accept(kind, [a])
    await client.reset()
    await client.request(kind, b.name, versions={"": answer.version})
    await client.accept(kind, [b])
