"""Secrets: row 47."""

import pytest
import structlog

from headgate.controlplane.translate.resource import CLUSTER, SECRET
from headgate.testing.xds import WILDCARD
from tests.scenarios.xds.rig import ADS
from tests.scenarios.xds.world import cluster, make, secret

S, S2 = secret("s", "hush"), secret("s", "hush-hush")


@pytest.fixture
async def holding(client, source):
    """A client that follows a secret and has it."""
    source.put(S)
    await client.request(SECRET, S.name)
    await client.accept(SECRET, [S])


@pytest.mark.usefixtures("holding")
async def test_47_a_secret_is_delivered_and_rotated(client, source):
    """A secret is delivered to whoever names it, and sent again when it is rotated."""
    await client.silence()
    source.put(S2)
    await client.accept(SECRET, [S2])
    await client.silence()


@pytest.mark.usefixtures("holding")
async def test_47_a_deleted_secret_is_removed(client, source):
    """A secret that is deleted is removed by delta; state of the world does not speak of it until it is back."""
    source.drop(S)
    if client.delta:
        await client.accept(SECRET, [], removed=[S.name])
    await client.silence()
    source.put(S2)
    await client.accept(SECRET, [S2])


async def test_47_another_team_s_secret_does_not_exist(client, source):
    """A secret of another team is answered like one that does not exist, however it is asked for."""
    other = make(SECRET, "s", team="blue")
    source.change(put=[other], team="blue")
    for name in (other.name, "red/absent"):
        await client.request(SECRET, name)
        if client.delta:
            await client.accept(SECRET, [], removed=[name])
        await client.silence()
    source.change(put=[make(SECRET, "s", "2", team="blue")], team="blue")
    await client.silence()


@pytest.mark.parametrize("names", [(), (WILDCARD,)], ids=["legacy", "asterisk"])
async def test_47_secrets_have_no_wildcard(client, source, names):
    """Nobody gets secrets that were not asked for by name."""
    source.put(S)
    await client.request(SECRET, *names)
    await client.silence()
    source.put(S2)
    await client.silence()


@pytest.mark.parametrize("mode", ADS)
async def test_47_a_cluster_s_secret_goes_after_it(client, source):
    """On one stream a secret stays until the cluster that names it is gone or names it no more."""
    a = cluster("a", "1", S)
    source.put(S, a)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [a])
    await client.request(SECRET, S.name)
    await client.accept(SECRET, [S])
    plain = cluster("a", "plain")
    source.change(put=[plain], drop=[S])
    answer = await client.expect(CLUSTER, [plain])
    await client.silence()
    await client.ack(answer)
    if client.delta:
        await client.accept(SECRET, [], removed=[S.name])
    await client.silence()


@pytest.mark.usefixtures("holding")
async def test_47_a_secret_is_in_no_log(client, rig, source):
    """What is in a secret is in no log line, also when the secret is refused."""
    with structlog.testing.capture_logs() as lines:
        source.put(S2)
        await client.nack(await client.expect(SECRET, [S2]), "no good")
        await client.silence()
    refused = rig.ledger.report("test").refused
    assert (SECRET, S.name) in refused
    assert "hush" not in f"{lines}{refused}"
