"""TLS on both sides of a real Envoy, certificates by SDS: who is believed, who is shown what."""

import asyncio
import http.client
import socket
import ssl
from contextlib import AbstractContextManager
from http.server import ThreadingHTTPServer

import pytest

from headgate.controlplane.model.rows import Row, RowChange, explode
from headgate.controlplane.translate.compile import TeamCompiler
from headgate.controlplane.translate.resource import ROUTE, SECRET
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually
from headgate.testing.server import free_port
from tests.dataplane.certificates import Authority
from tests.envoy.ads import FixedAds
from tests.envoy.gateway import Echo, ask, served

pytestmark = pytest.mark.envoy


class Quiet(ThreadingHTTPServer):
    """A server that does not print what a client's refusal to shake hands looks like."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


def tls_upstream(authority: Authority, name: str, *, clients: bool = False) -> AbstractContextManager[int]:
    """The port of an upstream with a certificate for `name`; with `clients` it wants theirs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue(name))
    if clients:
        context.load_verify_locations(authority.file)
        context.verify_mode = ssl.CERT_REQUIRED
    server = Quiet(("127.0.0.1", 0), Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return served(server)


def pair(authority: Authority, name: str) -> dict:
    """The document of a secret with a certificate for `name`."""
    certificate, key = authority.issue(name)
    return {"tls_certificate": {"certificate_chain": certificate.read_text(), "private_key": key.read_text()}}


def team(documents: dict, *, system_ca: str = "") -> FixedAds:
    """An ADS that serves a team's documents: {kind: {name: document}}."""
    rows = []
    for kind, named in documents.items():
        for name, document in named.items():
            if kind == "route_config":
                shell, routes = explode(name, document)
                rows += [Row("route", route, spec, index) for index, (route, spec) in enumerate(routes)]
                rows.append(Row(kind, name, shell))
            else:
                rows.append(Row(kind, name, document))
    snapshot = TeamCompiler("default", system_ca=system_ca).apply([RowChange(None, row) for row in rows], 1)
    assert not snapshot.problems
    return FixedAds.of(snapshot)


def routed(*clusters: str) -> dict:
    """A route config that leads `/NAME` to each cluster; without clusters, one that answers `direct`."""
    routes = [
        {"name": name, "match": {"path": {"path_separated_prefix": f"/{name}"}}, "forward": {"cluster": name}}
        for name in clusters
    ]
    direct = {
        "name": "direct",
        "match": {"path": {"prefix": "/"}},
        "direct_response": {"status": 200, "body": "direct"},
    }
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*routes, direct]}]}


async def test_upstreams(tmp_path):
    """An upstream is believed with the right name and authority only, and is shown our certificate when it asks."""
    authority = Authority(tmp_path)
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other")
    with (
        tls_upstream(authority, "orders.internal") as plain,
        tls_upstream(authority, "orders.internal", clients=True) as asking,
        tls_upstream(authority, "127.0.0.1") as by_address,
    ):
        private = {"verify": "secret", "ca_secret": "ours"}
        right = {**private, "sni": "orders.internal"}
        contexts = {
            "right": (plain, right),
            "wrong-name": (plain, {**private, "sni": "payments.internal"}),
            "other-name": (plain, {**right, "subject_alt_names": ["a.internal", "orders.internal"]}),
            "wrong-authority": (plain, {**right, "ca_secret": "theirs"}),
            "public": (plain, {"sni": "orders.internal"}),
            "anybody": (plain, {"verify": "none"}),
            "address": (by_address, {**private, "sni": "127.0.0.1"}),
            "unknown-client": (asking, right),
            "known-client": (asking, {**right, "client_certificate_secret": "us"}),
            "old": (plain, {**right, "max_version": "1.2"}),
        }
        clusters = {
            name: {"endpoints": [{"address": "127.0.0.1", "port": port}], "tls": tls}
            for name, (port, tls) in contexts.items()
        }
        port = free_port()
        ads = team(
            {
                "secret": {
                    "ours": {"trusted_ca": authority.file.read_text()},
                    "theirs": {"trusted_ca": stranger.file.read_text()},
                    "us": pair(authority, "gateway.internal"),
                },
                "cluster": clusters,
                "route_config": {"rc": routed(*clusters)},
                "listener": {"l": {"port": port, "filter_chains": [{"name": "http", "http": {"route_config": "rc"}}]}},
            },
            system_ca=stranger.file.read_text(),
        )
        async with ads, RealEnvoy(bootstrap_for(ads.port, mode="sotw"), tmp_path / "envoy") as envoy:
            await envoy.wait_live()
            assert await ads.verdict(SECRET) == ""
            statuses = {name: (await asyncio.to_thread(ask, port, f"/{name}")).status for name in contexts}
    believed = {name for name, status in statuses.items() if status == 200}
    assert believed == {"right", "other-name", "anybody", "address", "known-client", "old"}


def shake(port: int, name: str, authority: Authority, alpn: list[str], certificate=None) -> tuple[str | None, str]:
    """Shake hands for `name`, ask once over HTTP/1.1; the protocol agreed on, and the body."""
    context = ssl.create_default_context(cafile=str(authority.file))
    context.set_alpn_protocols(alpn)
    if certificate:
        context.load_cert_chain(*certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=10)
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sock = context.wrap_socket(raw, server_hostname=name)
    agreed = connection.sock.selected_alpn_protocol()
    if agreed == "h2":
        connection.close()
        return agreed, ""
    connection.request("GET", "/")
    body = connection.getresponse().read().decode()
    connection.close()
    return agreed, body


async def test_downstreams(tmp_path):
    """Each name gets its certificate, chain and protocols; a client without a wanted certificate is cut off."""
    authority = Authority(tmp_path)
    client = authority.issue("client.example")
    names = ("shop.example", "www.shop.example", "mutual.example")
    port = free_port()
    http1 = {"route_config": "rc", "codec": "http1"}
    chains = [
        {
            "name": "shop",
            "server_names": ["shop.example"],
            "tls": {"certificate_secrets": ["shop"]},
            "http": {"route_config": "rc"},
        },
        {"name": "wild", "server_names": ["*.shop.example"], "tls": {"certificate_secrets": ["www"]}, "http": http1},
        {
            "name": "mutual",
            "server_names": ["mutual.example"],
            "tls": {
                "certificate_secrets": ["mutual"],
                "client_ca_secret": "ca",
                "require_client_certificate": True,
                "min_version": "1.3",
            },
            "http": http1,
        },
    ]
    secrets = {short: pair(authority, name) for short, name in zip(("shop", "www", "mutual"), names, strict=True)}
    secrets["ca"] = {"trusted_ca": authority.file.read_text()}
    ads = team(
        {
            "secret": secrets,
            "route_config": {"rc": routed()},
            "listener": {"l": {"port": port, "filter_chains": chains}},
        }
    )
    both = ["h2", "http/1.1"]

    async def ready() -> bool:
        with_answer = await asyncio.to_thread(lambda: _answers(port))
        return with_answer and ads.verdicts.get(ROUTE) == ""

    async with ads, RealEnvoy(bootstrap_for(ads.port, mode="sotw"), tmp_path / "envoy") as envoy:
        await envoy.wait_live()
        await eventually(ready)
        assert await asyncio.to_thread(shake, port, "shop.example", authority, both) == ("h2", "")
        assert await asyncio.to_thread(shake, port, "shop.example", authority, both[1:]) == ("http/1.1", "direct")
        assert await asyncio.to_thread(shake, port, "www.shop.example", authority, both) == ("http/1.1", "direct")
        assert (await asyncio.to_thread(shake, port, "mutual.example", authority, both, client))[1] == "direct"
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shake, port, "mutual.example", authority, both)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shake, port, "nobody.example", authority, both)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
