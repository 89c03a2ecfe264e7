"""ACK, NACK and nonces: rows 20 to 27, 37 and 38."""

import time

import pytest

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, ROUTE
from headgate.testing.envoy import eventually
from headgate.testing.xds import WILDCARD
from tests.scenarios.xds.rig import ADS, DELTA, SOTW
from tests.scenarios.xds.world import cluster, endpoints, make, table

A, A2, A3, B = cluster("a"), cluster("a", "2"), cluster("a", "3"), cluster("b")
STALE = "headgate_xds_stale_nonces_total"
NACKS = "headgate_xds_nacks_total"


@pytest.fixture
async def ab(client, source):
    """A client that follows two clusters by the legacy wildcard and has accepted them; the answer."""
    source.put(A, B)
    await client.request(CLUSTER)
    return await client.accept(CLUSTER, [A, B])


async def recorded(rig):
    """Wait until the server has noted what the client refused."""

    async def noted():
        return bool(rig.ledger.report("test").refused)

    await eventually(noted, 5.0, "no refusal was noted")
    return rig.ledger.report("test").refused


async def counted(rig, name, at_least):
    """Wait until a counter is there."""

    async def there():
        return rig.metric(name) >= at_least

    await eventually(there, 5.0, f"{name} is {rig.metric(name)}")


async def test_20_an_ack_gets_no_answer(client, ab):
    """An ACK, and the same ACK again, is not answered, and the server is idle afterwards."""
    await client.ack(ab)
    await client.silence()
    began = time.process_time()
    await client.silence(0.3)
    assert time.process_time() - began < 0.2


async def test_21_a_nack_is_recorded_and_not_answered(client, rig, source, ab):
    """What is refused is recorded with the client's words and not sent again; a new version is, as is another type."""
    source.put(A2)
    await client.nack(await client.expect(CLUSTER, [A2], full=[A2, B]), "the name is ugly")
    refused = await recorded(rig)
    assert {key: (entry.version, entry.message) for key, entry in refused.items()} == {
        (CLUSTER, A.name): (A2.version, "the name is ugly")
    }
    await client.silence()
    rows = table("r")
    source.put(rows)
    await rig.caught_up()
    await client.request(ROUTE, rows.name)
    await client.accept(ROUTE, [rows])
    source.put(A3)
    await client.accept(CLUSTER, [A3], full=[A3, B])
    await client.silence()
    assert not rig.ledger.report("test").refused


async def test_21_a_nack_of_what_came_first(client, rig, source):
    """What is refused at first sight is not sent again, and what else there is goes on."""
    source.put(A)
    await client.request(CLUSTER, WILDCARD)
    await client.nack(await client.expect(CLUSTER, [A]), "no")
    await recorded(rig)
    await client.silence()
    source.put(B)
    await client.accept(CLUSTER, [B], full=[B])
    source.put(A2)
    await client.accept(CLUSTER, [A2], full=[A2, B])


@pytest.mark.parametrize("mode", SOTW)
async def test_22_a_nack_with_the_current_version(client, rig, source, ab):
    """State of the world: an error is a NACK whatever version stands beside it."""
    source.put(A2)
    answer = await client.expect(CLUSTER, [A2], full=[A2, B])
    await client.nack(answer, "no", version=answer.version)
    assert (CLUSTER, A.name) in await recorded(rig)
    await client.silence()


@pytest.mark.parametrize("mode", SOTW)
async def test_23_an_old_version_without_an_error_is_no_nack(client, rig, source):
    """State of the world: a request that crossed a push, without an error, is not taken for a NACK of it."""
    a, a2, c = endpoints("a"), endpoints("a", "2"), endpoints("c")
    source.put(a, c)
    await client.request(ENDPOINT, a.name)
    first = await client.accept(ENDPOINT, [a])
    await client.barrier(ENDPOINT)
    source.put(a2)
    push = await client.next(ENDPOINT)
    await client.send(ENDPOINT, names=[a.name, c.name], version=first.version, nonce=first.nonce)
    await counted(rig, STALE, 1)
    await client.silence()
    await client.send(ENDPOINT, names=[a.name, c.name], version=push.version, nonce=push.nonce)
    await client.expect(ENDPOINT, [c])
    assert rig.metric(NACKS) == 0


@pytest.mark.parametrize("mode", SOTW)
async def test_24_a_stale_nonce_is_not_answered(client, rig, source):
    """State of the world: a request with a stale nonce gets no answer; the one with the newest nonce counts."""
    a, a2, b, c = endpoints("a"), endpoints("a", "2"), endpoints("b"), endpoints("c")
    source.put(a, b, c)
    await client.request(ENDPOINT, a.name)
    first = await client.accept(ENDPOINT, [a])
    source.put(a2)
    second = await client.expect(ENDPOINT, [a2])
    await client.send(ENDPOINT, names=[b.name], version=first.version, nonce=first.nonce)
    await counted(rig, STALE, 1)
    await client.silence()
    await client.send(ENDPOINT, names=[c.name], version=second.version, nonce=second.nonce)
    await client.expect(ENDPOINT, [c])


@pytest.mark.parametrize("mode", DELTA)
async def test_25_a_subscription_with_a_stale_nonce_counts(client, source):
    """Delta: a subscription is honoured whatever nonce it comes with."""
    a, a2, c = endpoints("a"), endpoints("a", "2"), endpoints("c")
    source.put(a, c)
    await client.request(ENDPOINT, a.name)
    first = await client.accept(ENDPOINT, [a])
    source.put(a2)
    second = await client.expect(ENDPOINT, [a2])
    await client.send(ENDPOINT, subscribe=[c.name], nonce=first.nonce)
    third = await client.expect(ENDPOINT, [c])
    await client.ack(second)
    await client.ack(third)
    await client.silence()


async def test_26_a_forged_nonce_is_ignored(client, rig, source, ab):
    """A nonce that was never given is counted and ignored, with and without an error."""
    await client.send(CLUSTER, nonce="forged")
    await client.send(CLUSTER, nonce="forged", error="no")
    await counted(rig, STALE, 2)
    assert rig.metric(NACKS) == 0
    source.put(A2)
    await client.accept(CLUSTER, [A2], full=[A2, B])


async def test_27_a_nonce_belongs_to_one_stream(client, rig, mode, source):
    """Nonces are unique among streams, and one given to another stream acknowledges nothing."""
    source.put(A)
    async with rig.client(mode, "other") as other:
        await client.request(CLUSTER)
        await other.request(CLUSTER)
        mine, others = await client.expect(CLUSTER, [A]), await other.expect(CLUSTER, [A])
        assert mine.nonce != others.nonce
        await client.send(CLUSTER, nonce=others.nonce)
        await counted(rig, STALE, 1)
        assert not rig.ledger.report("test").types["cds"].in_sync
        assert not rig.ledger.report("other").types["cds"].in_sync
        await client.ack(mine)
        source.put(A2)
        await client.expect(CLUSTER, [A2])
        assert rig.metric("headgate_xds_acks_total") == 1


async def test_37_types_have_nothing_to_do_with_each_other(client, rig, source, ab):
    """Each type has its own versions and nonces, and one that is refused or not yet answered holds up no other."""
    old = table("r")
    source.put(old)
    await rig.caught_up()
    await client.request(ROUTE, old.name)
    rows = await client.accept(ROUTE, [old])
    assert rows.nonce != ab.nonce
    assert client.delta or rows.version != ab.version
    source.put(A2)
    push = await client.expect(CLUSTER, [A2], full=[A2, B])
    source.put(table("r", "2"))
    await client.accept(ROUTE, [table("r", "2")])
    await client.nack(push, "no")
    source.put(table("r", "3"))
    await client.accept(ROUTE, [table("r", "3")])
    await client.silence()


@pytest.mark.parametrize("type_url", ["type.googleapis.com/envoy.service.runtime.v3.Runtime", "nonsense"])
async def test_38_an_unknown_type_is_met_with_silence(client, source, ab, type_url):
    """A request of a type that is not served is not answered and does no harm to the others of its stream."""
    names = {"subscribe": ["x"]} if client.delta else {"names": ["x"]}
    await client.send(type_url, service=CLUSTER, **names)
    await client.silence()
    source.put(A2)
    await client.accept(CLUSTER, [A2], full=[A2, B])


@pytest.mark.parametrize("mode", ADS)
async def test_38_an_unknown_type_first(client, source):
    """A stream may begin with a type that is not served."""
    source.put(A)
    await client.send("nonsense")
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [A])


@pytest.mark.parametrize("kind", [CLUSTER, ROUTE])
async def test_27_nonces_do_not_repeat_on_a_stream(client, source, kind):
    """No two responses of a stream have the same nonce."""
    nonces = []
    await client.request(kind, "red/a")
    for content in "1234":
        source.put(make(kind, "a", content))
        while True:
            answer = await client.next(kind)
            await client.ack(answer)
            nonces.append(answer.nonce)
            if answer.names:
                break
    assert len(set(nonces)) == len(nonces)
