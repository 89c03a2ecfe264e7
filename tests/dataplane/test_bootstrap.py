"""Bootstrap: what Envoy starts with."""

import asyncio
import time
from pathlib import Path

import grpc
import pytest
import yaml
from envoy.config.bootstrap.v3.bootstrap_pb2 import Bootstrap
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2  # noqa: F401
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from google.protobuf import json_format

from headgate.dataplane.bootstrap import Address, BootstrapOptions, XdsTls, bootstrap, render
from headgate.kit.controls.faults import InvalidArgument
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually, require_envoy
from headgate.testing.server import free_port
from tests.dataplane.certificates import Authority

EVERYTHING = BootstrapOptions(
    node_id="edge-1",
    team="shop",
    scope="allowlist",
    listeners=("public", "partners"),
    xds=(Address("::1", 18000), Address("127.0.0.1", 18000)),
    mode="sotw",
    max_heap_bytes=1 << 28,
)


@pytest.mark.parametrize("text", ["n", "y", "no", "null", "~", "0x1f", "010", "1e3", "1_000", "12:30", "true"])
def test_yaml_keeps_strings(text):
    """What YAML readers take for a boolean, a number or nothing stays a string."""
    assert yaml.safe_load(render({"node": {"id": text}}, "yaml")) == {"node": {"id": text}}
    assert f'"{text}"' in render({"node": {"id": text}}, "yaml")


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_both_forms_say_the_same(form):
    """JSON and YAML hold the same document."""
    assert yaml.safe_load(render(bootstrap(EVERYTHING), form)) == bootstrap(EVERYTHING)


def test_is_a_bootstrap():
    """Every field is one of Envoy's Bootstrap message."""
    message = json_format.ParseDict(bootstrap(EVERYTHING), Bootstrap())
    assert message.node.metadata["headgate"] == {
        "team": "shop",
        "scope": "allowlist",
        "listeners": ["public", "partners"],
    }
    assert message.dynamic_resources.ads_config.set_node_on_first_message_only


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"node_id": ""}, "/node_id"),
        ({"node_id": "a\nb"}, "/node_id"),
        ({"team": "Shop"}, "/team"),
        ({"scope": "allowlist"}, "/listeners"),
        ({"listeners": ("a",)}, "/listeners"),
        ({"admin": Address("0.0.0.0", 9901)}, "/admin"),
        ({"admin": Address("example.com", 9901)}, "/admin"),
        ({"xds": ()}, "/xds"),
        ({"xds": (Address("::1", 1), Address("example.com", 1))}, "/xds"),
        ({"tls": XdsTls("ca.pem", "cp", certificate="c.pem")}, "/tls"),
        ({"max_connections": 0}, "/max_connections"),
        ({"max_heap_bytes": 5}, "/max_heap_bytes"),
        ({"reconnect_max_ms": 1}, "/reconnect_max_ms"),
    ],
)
def test_refuses_nonsense(changes, pointer):
    """An option that cannot work is refused with a pointer to it."""
    with pytest.raises(InvalidArgument) as refused:
        BootstrapOptions(**{"node_id": "edge", **changes})
    assert [violation.pointer for violation in refused.value.violations] == [pointer]


@pytest.mark.parametrize("text", ["", "host", "host:0", "host:65536", "::1:80", "[::1]", "a b:80", "http://a:80"])
def test_refuses_addresses(text):
    """What is not `host:port` is refused."""
    with pytest.raises(InvalidArgument):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80", "control-plane.example.com:18000"])
def test_addresses_round_trip(text):
    """An address is written as it is read."""
    assert str(Address.parse(text)) == text


@pytest.mark.envoy
@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize(
    "options",
    [
        BootstrapOptions(node_id="n"),
        EVERYTHING,
        BootstrapOptions(node_id="dns", xds=(Address("control-plane.example.com", 443),), admin=None),
    ],
    ids=lambda options: options.node_id,
)
async def test_envoy_accepts(tmp_path, options, form):
    """Envoy validates what we write, in both forms."""
    file = tmp_path / f"bootstrap.{form}"
    file.write_text(render(bootstrap(options), form))
    assert await _validate(file) == 0


@pytest.mark.envoy
async def test_envoy_accepts_mutual_tls(tmp_path):
    """Envoy validates a bootstrap with a certificate of its own and a pinned control plane."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("edge-1")
    tls = XdsTls(str(authority.file), "127.0.0.1", str(certificate), str(key))
    file = tmp_path / "bootstrap.json"
    file.write_text(render(bootstrap(BootstrapOptions(node_id="edge-1", tls=tls))))
    assert await _validate(file) == 0


async def _validate(file: Path) -> int:
    process = await asyncio.create_subprocess_exec(
        require_envoy(), "--mode", "validate", "-c", str(file), "-l", "error"
    )
    return await process.wait()


class _Empty(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """A control plane that has nothing, and remembers who asked."""

    def __init__(self):
        self.nodes = []
        self.peers = []

    async def DeltaAggregatedResources(self, requests, context):  # noqa: N802 - gRPC's name
        self.peers.append(context.auth_context().get("x509_common_name"))
        async for request in requests:
            self.nodes.append(request.node.id)
            if not request.response_nonce:
                yield discovery_pb2.DeltaDiscoveryResponse(type_url=request.type_url, nonce=request.type_url)

    async def StreamAggregatedResources(self, requests, _context):  # noqa: N802 - gRPC's name
        async for request in requests:
            self.nodes.append(request.node.id)
            if not request.response_nonce:
                yield discovery_pb2.DiscoveryResponse(type_url=request.type_url, nonce="1", version_info="1")


async def _serve(port, credentials=None):
    server, service = grpc.aio.server(), _Empty()
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(service, server)
    if credentials:
        server.add_secure_port(f"127.0.0.1:{port}", credentials)
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, service


@pytest.mark.envoy
@pytest.mark.parametrize("mode", ["delta", "sotw"])
async def test_envoy_connects_and_names_itself_once(tmp_path, mode):
    """Envoy becomes LIVE through either protocol, and sends its node on the first message only."""
    port = free_port()
    server, service = await _serve(port)
    async with RealEnvoy(bootstrap_for(port, node_id="once", mode=mode), tmp_path) as envoy:
        await envoy.wait_live()
        await eventually(lambda: _true(len(service.nodes) >= 4))
    await server.stop(None)
    assert service.nodes[0] == "once"
    assert not any(service.nodes[1:])


@pytest.mark.envoy
async def test_envoy_is_not_ready_without_a_configuration(tmp_path):
    """An Envoy that has never reached its control plane does not call itself ready, and becomes so once it has."""
    port = free_port()
    async with RealEnvoy(bootstrap_for(port), tmp_path) as envoy:
        await eventually(lambda: _logged(envoy, "gRPC config stream to headgate_xds closed"))
        assert not await envoy.admin.ready()
        server, _ = await _serve(port)
        await envoy.wait_live()
        await server.stop(None)


@pytest.mark.envoy
async def test_envoy_reconnects(tmp_path):
    """Envoy is back within moments of its control plane's return, however long that was away."""
    port = free_port()
    server, _ = await _serve(port)
    async with RealEnvoy(bootstrap_for(port), tmp_path) as envoy:
        await envoy.wait_live()
        await server.stop(None)
        failures = "cluster.headgate_xds.upstream_cx_connect_fail"
        await eventually(lambda: _at_least(envoy, failures, 8), 30.0, "Envoy did not go on trying")
        before = time.monotonic()
        server, service = await _serve(port)
        await eventually(lambda: _true(bool(service.nodes)), 10.0, "Envoy did not come back")
        assert time.monotonic() - before < 5.0
        await server.stop(None)


@pytest.mark.envoy
async def test_envoy_connects_over_mutual_tls(tmp_path):
    """With certificates Envoy shows its own and reaches a control plane whose certificate names the pinned host."""
    authority = Authority(tmp_path)
    server_certificate, server_key = authority.issue("127.0.0.1")
    certificate, key = authority.issue("edge-1")
    credentials = grpc.ssl_server_credentials(
        [(server_key.read_bytes(), server_certificate.read_bytes())], authority.file.read_bytes(), True
    )
    port = free_port()
    server, service = await _serve(port, credentials)
    tls = XdsTls(str(authority.file), "127.0.0.1", str(certificate), str(key))
    options = BootstrapOptions(node_id="edge-1", xds=(Address("127.0.0.1", port),), tls=tls, admin=None)
    async with RealEnvoy(bootstrap(options), tmp_path / "envoy") as envoy:
        await envoy.wait_live()
    await server.stop(None)
    assert service.peers == [[b"edge-1"]]


@pytest.mark.envoy
async def test_strings_survive_in_envoy(tmp_path):
    """Envoy reads a node id that other YAML writers turn into a boolean as the string it is."""
    port = free_port()
    server, _ = await _serve(port)
    written = render({"node": {"id": "n"}}, "yaml")
    async with RealEnvoy(bootstrap_for(port), tmp_path, arguments=("--config-yaml", written)) as envoy:
        info = await envoy.admin.get_json("/server_info")
    await server.stop(None)
    assert info["node"]["id"] == "n"


async def _true(value):
    return value


async def _logged(envoy, text):
    return text in envoy.log


async def _at_least(envoy, stat, value):
    return (await envoy.admin.stats(f"^{stat}$")).get(stat, 0) >= value
