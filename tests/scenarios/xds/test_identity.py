"""Who speaks: rows 28 to 32, 39 and 55."""

import grpc
import pytest
from grpc import StatusCode

from headgate.controlplane.app import control_plane
from headgate.controlplane.translate.resource import CLUSTER, LISTENER
from headgate.controlplane.xds.server import spiffe_id
from headgate.testing.controlplane import local_settings
from headgate.testing.envoy import eventually
from headgate.testing.xds import WILDCARD, XdsClient, node
from tests.scenarios.xds.certificates import Authority
from tests.scenarios.xds.rig import ADS, DELTA, KINDS, SEPARATE, serving
from tests.scenarios.xds.world import cluster, make

A, A2 = cluster("a"), cluster("a", "2")
DOMAIN = "headgate.local"


async def test_28_the_node_is_said_once(client, source):
    """The node is needed in the first request of a stream only."""
    source.put(A)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [A])
    source.put(A2)
    await client.accept(CLUSTER, [A2])
    await client.silence()


async def test_28_the_node_may_be_said_again(client, source):
    """A request may repeat the node of its stream."""
    source.put(A)
    await client.request(CLUSTER)
    answer = await client.expect(CLUSTER, [A])
    await client.send(CLUSTER, nonce=answer.nonce, who=client.who)
    source.put(A2)
    await client.accept(CLUSTER, [A2])


async def test_29_the_node_may_not_change(client, source):
    """A stream whose node id changes is refused."""
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [])
    await client.send(CLUSTER, who=node("somebody-else", team="red"))
    assert await client.ended(CLUSTER) is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("who", [None, node("", team="red")], ids=["none", "nameless"])
async def test_30_a_stream_begins_with_a_node(client, rig, who):
    """A stream whose first request carries no node id is refused."""
    client.who = who
    await client.request(CLUSTER)
    assert await client.ended(CLUSTER) is StatusCode.INVALID_ARGUMENT
    assert rig.streams == 0


@pytest.mark.parametrize(
    ("who", "status"),
    [
        (node("x", team="nobody"), StatusCode.NOT_FOUND),
        (node("x", team="red", scope="world"), StatusCode.INVALID_ARGUMENT),
    ],
    ids=["team", "scope"],
)
async def test_30_a_node_belongs_to_a_team(client, rig, who, status):
    """A node of a team that does not exist, or with a scope that does not, is refused."""
    client.who = who
    await client.request(CLUSTER)
    assert await client.ended(CLUSTER) is status
    assert rig.streams == 0


@pytest.fixture
def authority():
    """Who signs certificates."""
    return Authority()


@pytest.fixture
async def guarded(tmp_path, authority):
    """A server that asks for certificates."""
    settings = local_settings(tmp_path, **authority.server_files(tmp_path))
    async with serving(settings) as rig:
        rig.source.put(A)
        yield rig


async def test_31_a_certificate_speaks_for_its_node(guarded, mode, authority):
    """A dataplane whose certificate carries its SPIFFE id gets its configuration."""
    credentials = authority.credentials(spiffe_id(DOMAIN, "red", "test"))
    async with guarded.client(mode, credentials=credentials) as client:
        await client.request(CLUSTER)
        await client.accept(CLUSTER, [A])


@pytest.mark.parametrize(
    "identity",
    [
        spiffe_id(DOMAIN, "red", "other"),
        spiffe_id(DOMAIN, "blue", "test"),
        spiffe_id("elsewhere.local", "red", "test"),
        "https://example.com/team/red/dataplane/test",
    ],
    ids=["node", "team", "domain", "scheme"],
)
async def test_31_another_certificate_does_not(guarded, mode, authority, identity):
    """A certificate of another node, team or trust domain is denied, and nothing is sent."""
    async with guarded.client(mode, credentials=authority.credentials(identity)) as client:
        await client.request(CLUSTER)
        assert await client.ended(CLUSTER) is StatusCode.PERMISSION_DENIED
        with pytest.raises(AssertionError, match="has ended"):
            await client.next()
    assert [key for key, _ in guarded.denied] == ["red/test"]
    assert guarded.streams == 0


async def test_31_no_certificate_sees_all_teams(guarded, mode, authority):
    """Scope `all` is denied to whoever comes by certificate: one names one team."""
    credentials = authority.credentials(spiffe_id(DOMAIN, "red", "test"))
    async with guarded.client(mode, credentials=credentials, scope="all") as client:
        await client.request(CLUSTER)
        assert await client.ended(CLUSTER) is StatusCode.PERMISSION_DENIED


async def test_31_a_denied_identity_is_audited(tmp_path, authority):
    """A denied identity is in the audit trail of the team it asked for."""
    settings = local_settings(tmp_path, **authority.server_files(tmp_path))
    async with control_plane(settings) as plane:
        credentials = authority.credentials(spiffe_id(DOMAIN, "default", "other"))
        target = f"127.0.0.1:{plane.xds.port}"
        async with XdsClient(target, DELTA[0], node("test"), credentials=credentials) as client:
            await client.request(CLUSTER)
            assert await client.ended() is StatusCode.PERMISSION_DENIED
        entries = (await plane.cases.audit.list(team="default", action="connect")).items
    assert [(entry.outcome, entry.target, entry.surface) for entry in entries] == [("refused", "test", "xds")]


async def test_31_two_names_are_none(guarded, mode, authority):
    """A certificate with two URIs proves nobody, though one of them is the dataplane's: a SPIFFE id stands alone."""
    credentials = authority.credentials(spiffe_id(DOMAIN, "red", "test"), spiffe_id(DOMAIN, "red", "other"))
    async with guarded.client(mode, credentials=credentials) as client:
        await client.request(CLUSTER)
        assert await client.ended(CLUSTER) is StatusCode.PERMISSION_DENIED
    assert [key for key, _ in guarded.denied] == ["red/test"]


async def test_31_certificates_rotate(tmp_path, authority, mode):
    """New certificates and authorities hold for new connections, without a restart; streams that are open go on."""
    settings = local_settings(tmp_path, xds_tls_reload=0.02, **authority.server_files(tmp_path))
    async with serving(settings) as rig:
        rig.source.put(A)
        identity, successor = spiffe_id(DOMAIN, "red", "test"), Authority()
        async with rig.client(mode, credentials=authority.credentials(identity)) as before:
            await before.request(CLUSTER)
            await before.accept(CLUSTER, [A])
            old = rig.server.certificates.loaded
            successor.server_files(tmp_path)

            async def noticed():
                return rig.server.certificates.loaded is not old

            await eventually(noticed, 10.0, "the files were not looked at")
            async with rig.client(mode, credentials=successor.credentials(identity)) as after:
                await after.request(CLUSTER)
                await after.accept(CLUSTER, [A])
            rig.source.put(A2)
            await before.accept(CLUSTER, [A2])
        address, past = f"127.0.0.1:{rig.server.port}", authority.credentials(identity)
        async with grpc.aio.secure_channel(address, past) as late:
            with pytest.raises(grpc.aio.AioRpcError, match="handshake") as refused:
                await late.unary_unary("/any/Method")(b"", timeout=10)
        assert refused.value.code() is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("kind", KINDS)
async def test_32_a_team_gets_its_own(client, rig, source, mode, kind):
    """Two teams on one server get their own resources only, and a change of one sends the other not a byte."""
    red, blue = make(kind, "a"), make(kind, "a", team="blue")
    source.change(put=[red])
    source.change(put=[blue], team="blue")
    async with rig.client(mode, "test", team="blue") as other:
        await client.request(kind, red.name)
        await client.accept(kind, [red])
        await other.request(kind, blue.name)
        await other.accept(kind, [blue])
        before = rig.metric("headgate_xds_response_bytes_total")
        changed = make(kind, "a", "2")
        source.change(put=[changed])
        answer = await client.accept(kind, [changed])
        await other.silence()
        assert rig.metric("headgate_xds_response_bytes_total") == before + answer.size


@pytest.mark.parametrize("kind", KINDS)
async def test_32_another_team_s_name_does_not_exist(client, source, kind):
    """A name of another team is answered as one that does not exist, and `*` does not cover it."""
    red, blue = make(kind, "a"), make(kind, "a", team="blue")
    source.change(put=[red])
    source.change(put=[blue], team="blue")
    await client.request(kind, WILDCARD, red.name, blue.name)
    answer = await client.next(kind)
    assert red.name in answer.names
    assert blue.name not in answer.names
    assert not client.delta or list(answer.removed) == [blue.name]


@pytest.mark.parametrize("mode", ADS)
async def test_39_an_aggregated_request_names_its_type(client):
    """On an aggregated stream a first request without a type is refused."""
    await client.send("")
    assert await client.ended() is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("mode", SEPARATE)
@pytest.mark.parametrize("kind", [CLUSTER, LISTENER])
async def test_39_a_separate_service_implies_its_type(client, source, kind):
    """A service of one type serves it to whoever names none."""
    a = make(kind, "a")
    source.put(a)
    await client.send("", service=kind)
    await client.accept(kind, [a])
    await client.silence()


async def test_55_the_control_plane_says_who_it_is(settings, mode):
    """Every response carries the replica's id as the control plane's identifier."""
    async with serving(settings, identifier="replica-7") as rig, rig.client(mode) as client:
        await client.request(CLUSTER)
        assert (await client.accept(CLUSTER, [])).identifier == "replica-7"
        rig.source.put(A)
        assert (await client.accept(CLUSTER, [A])).identifier == "replica-7"
