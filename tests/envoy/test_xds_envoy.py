"""A real Envoy behind the real control plane, incremental and state of the world: sync, flips, restarts, refusals."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import RunningControlPlane, running_control_plane
from headgate.testing.echo import Echo
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually
from headgate.testing.server import free_port
from tests.dataplane.certificates import Authority
from tests.envoy.live import (
    Live,
    cluster,
    dataplane,
    delete,
    direct,
    forward,
    http,
    metric,
    patch,
    peer_serial,
    put,
    routes,
)
from tests.scenarios.traffic import Traffic

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

SOON = 3.0
"""Seconds; a cluster that is left warming takes 15."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running(tmp_path_factory) -> AsyncIterator[RunningControlPlane]:
    """A control plane for the tests that leave it running."""
    async with running_control_plane(tmp_path_factory.mktemp("plane")) as plane:
        yield plane


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lives(running, tmp_path_factory) -> AsyncIterator[dict[str, Live]]:
    """An Envoy per mode, each of a team of its own."""
    async with AsyncExitStack() as stack:
        yield {
            mode: await stack.enter_async_context(
                dataplane(running, tmp_path_factory.mktemp(mode), team=mode, mode=mode)
            )
            for mode in ("delta", "sotw")
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def echoes() -> AsyncIterator[tuple[Echo, Echo]]:
    """Two upstreams."""
    async with Echo(name="one") as one, Echo(name="two") as two:
        yield one, two


@pytest.fixture(params=["delta", "sotw"])
def mode(request) -> str:
    """Both modes of xDS."""
    return request.param


@pytest_asyncio.fixture(loop_scope="module")
async def live(mode, lives, echoes) -> Live:
    """An Envoy whose listener `web` forwards all to cluster `one`; cluster `two` is there as well."""
    one, two = echoes
    live = lives[mode]
    await live.settle(
        put("cluster", "one", cluster(one.port)),
        put("cluster", "two", cluster(two.port)),
        put("route_config", "web", routes(forward("all", "one"))),
        put("listener", "web", http(live.port, "web")),
    )
    return live


async def test_everything_is_acknowledged(live, mode, echoes, tmp_path):
    """After the first sync every kind of resource is acknowledged, status names the revision, and requests pass."""
    certificate, key = Authority(tmp_path).issue("edge.test")
    chain = {"tls": {"certificate_secrets": ["edge"]}, "http": {"route_config": "web"}, "name": "tls"}
    revision = await live.settle(
        put("secret", "edge", {"tls_certificate": pem(certificate, key)}),
        put("listener", "tls", {"port": free_port(), "filter_chains": [chain]}),
    )
    status = await live.status()
    assert (status["state"], status["mode"], status["connected"]) == ("in_sync", mode, True)
    assert status["revision_wanted"] == status["revision_acked"] == revision
    assert status["version"].startswith("envoy 1.")
    assert set(status["types"]) == {"cds", "eds", "lds", "rds", "sds"}
    for kind in status["types"].values():
        assert kind["in_sync"]
        assert kind["resources"] >= 1
        assert kind["acknowledged"] == kind["wanted"]
    assert await live.upstream_of() == "one"
    await live.settle(delete("listener", "tls"), delete("secret", "edge"))
    assert not any(await rejections(live.envoy))


def pem(certificate, key):
    """The document of a certificate and its key."""
    return {"certificate_chain": certificate.read_text(), "private_key": key.read_text()}


async def rejections(envoy):
    """How many updates Envoy refused, per type."""
    return (await envoy.admin.stats("update_rejected")).values()


async def test_flips_lose_nothing(live):
    """A route that moves between two clusters 200 times under load answers 200 every time."""
    async with Traffic(live.url) as traffic:
        for number in range(200):
            revision = await live.apply(
                patch("route", "web/all/all", {"forward": {"cluster": ["two", "one"][number % 2]}})
            )
            if number % 20 == 19:
                await live.synced(revision, SOON)
        await traffic.more(20)
    assert traffic.bad == []
    assert await live.upstream_of() == "one"


async def test_replaced_clusters_lose_nothing(live, echoes):
    """A new cluster, the route moved to it and the old one deleted in one revision, 50 times: only 200s."""
    old = "one"
    async with Traffic(live.url) as traffic:
        for number in range(50):
            new = f"generation-{number}"
            revision = await live.apply(
                put("cluster", new, cluster(echoes[number % 2].port)),
                patch("route", "web/all/all", {"forward": {"cluster": new}}),
                delete("cluster", old),
            )
            old = new
            if number % 10 == 9:
                await live.synced(revision, SOON)
        await traffic.more(20)
    assert traffic.bad == []
    assert await live.active(old)

    async def only_what_is_wanted() -> bool:
        stats = await live.envoy.admin.stats("cluster_manager.(active|warming)_clusters")
        # The control plane's own and `two`.
        return stats == {"cluster_manager.active_clusters": 3, "cluster_manager.warming_clusters": 0}

    await eventually(only_what_is_wanted, SOON, "old clusters were left behind")
    await live.settle(
        put("cluster", "one", cluster(echoes[0].port)),
        patch("route", "web/all/all", {"forward": {"cluster": "one"}}),
        delete("cluster", old),
    )


async def test_a_changed_cluster_does_not_warm_for_long(live):
    """A changed cluster is in use at once: its endpoints, which did not change, are sent behind it again."""

    async def is_live() -> bool:
        thresholds = (await live.active("one")).get("circuit_breakers", {}).get("thresholds", [{}])
        return thresholds[0].get("max_requests") == 777

    async with Traffic(live.url) as traffic:
        await live.settle(
            patch("cluster", "one", {"circuit_breakers": {"default": {"max_requests": 777}}}), within=SOON
        )
        await eventually(is_live, SOON, "the cluster was still warming")
    assert traffic.bad == []


async def test_endpoints_change_without_their_cluster(live, echoes):
    """New endpoints take the traffic over, and the cluster itself is not touched."""
    counters = "cluster_manager.(cluster_added|cluster_modified|cluster_removed|cds.update_success)$"
    before = await live.envoy.admin.stats(counters)
    async with Traffic(live.url) as traffic:
        await live.settle(put("cluster", "one", cluster(echoes[1].port)))

        async def has_moved() -> bool:
            return await live.upstream_of() == "two"

        await eventually(has_moved, SOON)
    assert traffic.bad == []
    assert await live.envoy.admin.stats(counters) == before


async def test_tls_terminates_and_rotates(live, tmp_path):
    """A listener shows the certificate of its secret, and a new version of the secret without being changed."""
    authority = Authority(tmp_path)
    port = free_port()
    chain = {"name": "tls", "tls": {"certificate_secrets": ["edge"]}, "http": {"route_config": "web"}}
    await live.settle(
        put("secret", "edge", {"tls_certificate": pem(*authority.issue("edge.test"))}),
        put("listener", "tls", {"port": port, "filter_chains": [chain]}),
    )
    first = await peer_serial(port, authority.file, "edge.test")
    listeners = await live.envoy.admin.stats("listener_manager.listener_(added|modified|in_place_updated)$")
    await live.settle(put("secret", "edge", {"tls_certificate": pem(*authority.issue("edge.test"))}))

    async def has_rotated() -> bool:
        return await peer_serial(port, authority.file, "edge.test") != first

    await eventually(has_rotated, SOON, "the old certificate is still shown")
    assert await live.envoy.admin.stats("listener_manager.listener_(added|modified|in_place_updated)$") == listeners
    await live.settle(delete("listener", "tls"), delete("secret", "edge"))


async def test_server_names_choose_the_chain(live, tmp_path):
    """Two filter chains of one port each answer for their own server names with their own certificate and routes."""
    authority = Authority(tmp_path)
    port = free_port()
    chains = [
        {
            "name": name,
            "server_names": [f"{name}.test"],
            "tls": {"certificate_secrets": [name]},
            "http": {"route_config": name},
        }
        for name in ("left", "right")
    ]
    await live.settle(
        *(
            change
            for name in ("left", "right")
            for change in (
                put("secret", name, {"tls_certificate": pem(*authority.issue(f"{name}.test"))}),
                put("route_config", name, routes(direct(name))),
            )
        ),
        put("listener", "tls", {"port": port, "filter_chains": chains}),
    )
    serials = {name: await peer_serial(port, authority.file, f"{name}.test") for name in ("left", "right")}
    assert serials["left"] != serials["right"]
    for name in ("left", "right"):
        assert await ask_tls(port, authority, f"{name}.test") == name
    with pytest.raises(httpx.ConnectError):
        await ask_tls(port, authority, "neither.test")
    await live.settle(
        delete("listener", "tls"),
        *(delete("route_config", name) for name in serials),
        *(delete("secret", name) for name in serials),
    )


async def ask_tls(port: int, authority: Authority, server_name: str) -> str:
    """What a port answers over TLS to a client that wants this server."""
    context = ssl.create_default_context(cafile=str(authority.file))
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        extensions = {"sni_hostname": server_name}
        return (await client.get(f"https://127.0.0.1:{port}/", extensions=extensions)).text


async def test_upstream_tls_with_secrets(live, tmp_path):
    """An upstream is verified against the authorities of a secret and shown the client certificate of another."""
    authority, stranger = Authority(tmp_path), Authority(make(tmp_path / "stranger"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority.file))
    context.load_cert_chain(*authority.issue("upstream.test"))
    context.verify_mode = ssl.CERT_REQUIRED
    server = await asyncio.start_server(name_the_client, "127.0.0.1", 0, ssl=context)
    tls = {
        "sni": "upstream.test",
        "verify": "secret",
        "ca_secret": "authorities",
        "client_certificate_secret": "client",
    }
    async with server:
        await live.settle(
            put("secret", "authorities", {"trusted_ca": stranger.file.read_text()}),
            put("secret", "client", {"tls_certificate": pem(*authority.issue("client.test"))}),
            put("cluster", "secure", cluster(server.sockets[0].getsockname()[1], tls=tls)),
            put("route_config", "web", routes(forward("all", "secure"))),
        )
        assert (await live.get()).status_code == httpx.codes.SERVICE_UNAVAILABLE
        await live.settle(put("secret", "authorities", {"trusted_ca": authority.file.read_text()}))

        async def passes() -> bool:
            return (await live.get()).text == "client.test"

        await eventually(passes, SOON, "the authority of the changed secret is not trusted")
        await live.settle(patch("cluster", "secure", {"tls": {"sni": "other.test"}}))
        assert (await live.get()).status_code == httpx.codes.SERVICE_UNAVAILABLE
        await live.settle(
            put("route_config", "web", routes(forward("all", "one"))),
            delete("cluster", "secure"),
            delete("secret", "authorities"),
            delete("secret", "client"),
        )


def make(directory):
    """A directory, made."""
    directory.mkdir()
    return directory


async def name_the_client(reader, writer):
    """Answer a request with the name in the certificate of the client."""
    await reader.readuntil(b"\r\n\r\n")
    name = dict(part[0] for part in writer.get_extra_info("peercert")["subject"])["commonName"]
    writer.write(f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode())
    await writer.drain()
    writer.close()


async def test_tcp_passes_bytes(live):
    """A TCP proxy passes bytes both ways, and goes to another cluster for new connections when it is told to."""

    async def greet(reader, writer, name):
        line = await reader.readline()
        writer.write(name + b" " + line)
        writer.close()

    port = free_port()
    async with (
        await asyncio.start_server(lambda r, w: greet(r, w, b"first"), "127.0.0.1", 0) as first,
        await asyncio.start_server(lambda r, w: greet(r, w, b"second"), "127.0.0.1", 0) as second,
    ):
        ports = [server.sockets[0].getsockname()[1] for server in (first, second)]
        chain = {"name": "tcp", "tcp": {"cluster": "first"}}
        await live.settle(
            put("cluster", "first", cluster(ports[0])),
            put("cluster", "second", cluster(ports[1])),
            put("listener", "tcp", {"port": port, "filter_chains": [chain]}),
        )
        assert await say(port) == b"first hello\n"
        chain["tcp"]["cluster"] = "second"
        await live.settle(put("listener", "tcp", {"port": port, "filter_chains": [chain]}))

        async def has_moved() -> bool:
            return await say(port) == b"second hello\n"

        await eventually(has_moved, SOON)
    await live.settle(delete("listener", "tcp"), delete("cluster", "first"), delete("cluster", "second"))


async def say(port: int) -> bytes:
    """What comes back for a line, until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    answer = await reader.read()
    writer.close()
    return answer


BAD = {"set": [{"name": "x-bad", "value": "%NO_SUCH%"}]}
"""The model takes it, Envoy does not: without preflight it is refused on arrival."""


async def test_a_refusal_is_named_and_holds_nothing_else_back(live, lives, mode, echoes):
    """What Envoy refuses is named with its field; the last good version serves on, and all else arrives."""
    other = lives["sotw" if mode == "delta" else "delta"]
    await other.synced(0)
    others_status = await other.status()
    extra = free_port()
    bad = {**forward("all", "one"), "request_headers": BAD}
    await live.apply(
        put("route_config", "web", routes(direct("new", "/new"), bad)),
        put("cluster", "two", cluster(echoes[0].port)),
        put("route_config", "extra", routes(direct("extra"))),
        put("listener", "extra", http(extra, "extra")),
    )
    (refused,) = await live.refusals()
    assert (refused["type"], refused["resource"], refused["kind"]) == ("rds", f"{mode}/web", "route")
    assert (refused["name"], refused["pointer"]) == ("web/all/all", "/request_headers/set/0/value")
    assert "NO_SUCH" in refused["message"]
    assert refused["last_good_version"]
    assert (await live.status())["state"] == "refused"

    async def rest_has_arrived() -> bool:
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                return (await client.get(f"http://127.0.0.1:{extra}/")).text == "extra"
            except httpx.ConnectError:
                return False

    await eventually(rest_has_arrived, SOON, "the good part of the revision did not arrive")
    assert (await live.status())["types"]["cds"]["in_sync"]
    assert await live.upstream_of() == "one"
    assert await live.upstream_of("/new") == "one"
    now = await other.status()
    assert now["refused"] == []
    assert (now["state"], now["revision_wanted"]) == ("in_sync", others_status["revision_wanted"])
    await live.settle(
        put("route_config", "web", routes(direct("new", "/new"), forward("all", "one"))),
        delete("listener", "extra"),
        delete("route_config", "extra"),
    )
    assert (await live.status())["refused"] == []
    assert (await live.get("/new")).text == "new"


async def test_a_refused_listener_stays_as_it_was(live):
    """A listener's new version that Envoy refuses leaves the old one at work, and says which field is to blame."""
    logs = {"access_logs": [{"text_format": "%NO_SUCH%"}]}
    await live.apply(put("listener", "web", http(live.port, "web", **logs)))
    (refused,) = await live.refusals()
    assert (refused["kind"], refused["name"]) == ("listener", "web")
    assert refused["pointer"] == "/filter_chains/0/http/access_logs/0/text_format"
    assert await live.upstream_of() == "one"
    await live.settle(put("listener", "web", http(live.port, "web")))
    assert (await live.status())["refused"] == []


async def test_a_taken_port_is_a_refusal(live, echoes):
    """A listener on a port that another process has is refused at its port, and works when it moves."""
    await live.apply(put("listener", "other", http(echoes[0].port, "web")))
    (refused,) = await live.refusals()
    assert (refused["kind"], refused["name"], refused["pointer"]) == ("listener", "other", "/port")
    assert await live.upstream_of() == "one"
    await live.settle(put("listener", "other", http(free_port(), "web")))
    await live.settle(delete("listener", "other"))


@asynccontextmanager
async def alone(directory, mode):
    """How to start a control plane on a fixed xDS port, an Envoy that follows it, and an upstream."""
    xds_port = free_port()
    async with Echo(name="one") as echo, AsyncExitStack() as stack:

        def start(token=None):
            return running_control_plane(directory / "plane", token=token, xds_port=xds_port)

        bootstrap = bootstrap_for(xds_port, node_id="default", mode=mode)
        envoy = await stack.enter_async_context(RealEnvoy(bootstrap, directory / "envoy"))
        yield start, envoy, echo


async def test_restart_sends_nothing_twice(mode, tmp_path):
    """Traffic flows while the control plane is away; back on the same store it sends only what is new."""
    async with alone(tmp_path, mode) as (start, envoy, echo):
        async with start() as plane:
            live = Live(plane.client, "default", envoy)
            revision = await live.settle(
                put("cluster", "one", cluster(echo.port)),
                put("route_config", "web", routes(forward("all", "one"))),
                put("listener", "web", http(live.port, "web")),
            )
        updates = "(cluster_added|cluster_modified|cluster_removed|listener_added|listener_modified|config_reload)$"
        before = await envoy.admin.stats(updates)
        async with Traffic(live.url) as traffic:
            await traffic.more(50)
            async with start(plane.token) as again:
                live.api = again.client
                await live.synced(revision)
                await traffic.more(50)
                assert await envoy.admin.stats(updates) == before
                if mode == "delta":
                    assert await metric(live.api, "headgate_xds_responses_total") == 0
                await live.settle(patch("route", "web/all/all", {"forward": {"timeout_ms": 9_000}}))
                await traffic.more(10)
        assert traffic.bad == []
        assert await envoy.admin.stats(updates) != before


async def test_a_refusal_survives_a_restart(mode, tmp_path):
    """After a restart the refused version is still known, is not sent again, and a better one lifts the refusal."""
    async with alone(tmp_path, mode) as (start, envoy, echo):
        async with start() as plane:
            live = Live(plane.client, "default", envoy)
            await live.settle(
                put("cluster", "one", cluster(echo.port)),
                put("route_config", "web", routes(forward("all", "one"))),
                put("listener", "web", http(live.port, "web")),
            )
            await live.apply(put("route_config", "web", routes({**forward("all", "one"), "request_headers": BAD})))
            first = await live.refusals()
            assert await live.upstream_of() == "one"
        rejected = await rejections_of_routes(envoy)
        assert rejected
        async with start(plane.token) as again:
            live.api = again.client

            async def is_back() -> bool:
                status = await live.status()
                return bool(status.get("connected")) and "rds" in status["types"]

            await eventually(is_back)
            assert await live.refusals() == first
            # A change that goes the whole way shows that nothing is still under way.
            await live.apply(put("route_config", "later", routes(direct("later"))), put_later := later())

            async def has_later() -> bool:
                async with httpx.AsyncClient(trust_env=False) as client:
                    try:
                        port = put_later["spec"]["port"]
                        return (await client.get(f"http://127.0.0.1:{port}/")).text == "later"
                    except httpx.ConnectError:
                        return False

            await eventually(has_later)
            assert await rejections_of_routes(envoy) == rejected
            assert await live.refusals() == first
            assert await live.upstream_of() == "one"
            await live.settle(put("route_config", "web", routes(direct("better"))))
            assert (await live.status())["refused"] == []
            assert (await live.get()).text == "better"


def later():
    """A listener for a route config `later`."""
    return put("listener", "later", http(free_port(), "later"))


async def rejections_of_routes(envoy):
    """How many route configs Envoy refused."""
    return sum((await envoy.admin.stats("rds.*update_rejected")).values())
