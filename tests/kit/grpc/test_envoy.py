"""Browsers' calls by way of a real Envoy: translated to our gRPC port, and passed on to our HTTP port."""

import asyncio
import base64
from pathlib import Path

import httpx
import pytest
import yaml
from google.rpc.status_pb2 import Status

from headgate.kit.grpc.frames import frame
from headgate.kit.grpc.status import fault_of
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit, nothing
from headgate.kit.serve.http import HttpServer
from headgate.testing.envoy import RealEnvoy
from headgate.testing.server import free_port
from tests.kit.grpc.echo import KINDS, Ask, Echo, Recorder, path
from tests.kit.grpc.web import PROTO, TEXT, web

CONFIG = Path(__file__).parents[3] / "deploy" / "envoy" / "grpc-web.yaml"
ORIGIN = "https://shop.example"
WAYS = {"translated": "grpc", "through": "grpc-web"}
"""The listeners, and what a call by way of each is."""

pytestmark = pytest.mark.envoy


class Fronted:
    """A service of the kit behind the Envoy of the example; one client for each listener."""

    def __init__(self):
        self.echo, self.recorder = Echo(), Recorder()
        settings = {"port": 0, "grpc_port": 0, "cors_allowed_origins": [ORIGIN], "trusted_proxies": ["127.0.0.1"]}
        kit = Kit(HardeningSettings(**settings), more=[self.recorder])
        self.rpc = kit.grpc_server(self.echo.add_to)
        self.http = HttpServer(kit.harden(nothing, rpc=self.rpc), host="127.0.0.1", port=0, setting="port")
        self.ports = {name: free_port() for name in WAYS}
        self.clients = {
            name: httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
            for name, port in self.ports.items()
        }

    async def calls(self, count=1):
        """The calls that were settled, without Envoy's own, once there are so many."""

        def asked():
            return [call for call in self.recorder.calls if "Echo" in call.path]

        async with asyncio.timeout(10):
            while len(asked()) < count:
                await asyncio.sleep(0.005)
        return asked()

    def config(self):
        """The example's configuration, on ports that are free."""
        document = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        resources = document["static_resources"]
        for listener in resources["listeners"]:
            listener["address"]["socket_address"]["port_value"] = self.ports[listener["name"]]
        for cluster, port in zip(resources["clusters"], (self.rpc.port, self.http.port), strict=True):
            [endpoints] = cluster["load_assignment"]["endpoints"]
            [each] = endpoints["lb_endpoints"]
            each["endpoint"]["address"]["socket_address"]["port_value"] = port
        return document


@pytest.fixture
async def fronted(tmp_path):
    """The service and its Envoy, which has found it healthy."""
    served = Fronted()
    await served.rpc.start()
    await served.http.start()
    try:
        async with RealEnvoy(served.config(), tmp_path) as envoy:
            await envoy.wait_live()
            served.envoy = envoy
            yield served
    finally:
        for client in served.clients.values():
            await client.aclose()
        await served.http.stop()
        await served.rpc.stop(None)


async def test_calls_of_every_kind_and_form(fronted):
    """Replies and trailers arrive, binary and as text, and the call is known by its wire, id and client."""
    asked = 0
    for way, protocol in WAYS.items():
        for kind in (PROTO, TEXT):
            for method in KINDS:
                headers = {"x-request-id": f"{way}-{asked}"}
                ask = Ask(text="hello", count=2)
                response, replies, trailers = await web(
                    fronted.clients[way], path(method), ask, kind=kind, headers=headers
                )
                assert [each.text for each in replies] == ["hello"] * (2 if method in {"ServerStream", "Bidi"} else 1)
                assert trailers["grpc-status"] == "0"
                assert response.headers["content-type"].startswith(kind)
                asked += 1
                call = (await fronted.calls(asked))[-1]
                assert (call.protocol, call.route, call.code) == (protocol, path(method), "OK")
                assert call.request_id == headers["x-request-id"]
                assert {**response.headers, **trailers}["x-request-id"] == headers["x-request-id"]
                assert call.client.encode() == call.headers[b"x-forwarded-for"].rpartition(b",")[2].strip()


@pytest.mark.parametrize("way", WAYS)
async def test_errors_with_details(fronted, way):
    """Code, text and details of a fault arrive, and a method that is not there is unimplemented."""
    _, _, trailers = await web(fronted.clients[way], path("Unary"), Ask(how="fault"))
    assert trailers["grpc-status"] == "9"
    raw = trailers["grpc-status-details-bin"]
    details = Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4))).details
    fault = fault_of("FAILED_PRECONDITION", "", details)
    assert (fault.code, fault.hint) == ("shop_closed", "come back tomorrow")
    _, _, trailers = await web(fronted.clients[way], "/made.Up/Method", Ask())
    assert trailers["grpc-status"] == "12"


@pytest.mark.parametrize("way", WAYS)
async def test_deadlines_go_through(fronted, way):
    """The caller's `grpc-timeout` ends the handler, and it is the service that says so."""
    headers = {"grpc-timeout": "300m"}
    _, _, trailers = await web(fronted.clients[way], path("Unary"), Ask(how="wait"), headers=headers)
    assert trailers["grpc-status"] == "4"
    await asyncio.wait_for(fronted.echo.stopped.wait(), 10)


@pytest.mark.parametrize("way", WAYS)
async def test_streams_flow_and_end_with_their_reader(fronted, way):
    """A reply is not held back, and a reader who leaves ends the handler behind Envoy."""
    content = frame(0, Ask(text="a", count=1, how="wait").SerializeToString())
    client = fronted.clients[way]
    request = client.build_request("POST", path("ServerStream"), content=content, headers={"content-type": PROTO})
    response = await client.send(request, stream=True)
    assert (await anext(response.aiter_raw()))[:1] == b"\x00"
    assert not fronted.echo.stopped.is_set()
    await response.aclose()
    await asyncio.wait_for(fronted.echo.stopped.wait(), 10)
    [call] = await fronted.calls()
    assert (call.code, call.complete) == ("CANCELLED", False)


async def test_browsers_of_other_origins(fronted):
    """A page of the allowed origin may ask and read what went wrong, one of another may not, on both ways."""
    for client in fronted.clients.values():
        for origin, allowed in ((ORIGIN, ORIGIN), ("https://evil.example", None)):
            asking = {"access-control-request-method": "POST", "access-control-request-headers": "x-grpc-web"}
            preflight = await client.options(path("Unary"), headers={"origin": origin, **asking})
            assert preflight.headers.get("access-control-allow-origin") == allowed
            if allowed:
                response, _, _ = await web(client, path("Unary"), Ask(), headers={"origin": origin})
                assert "grpc-status" in response.headers["access-control-expose-headers"]


async def test_envoy_asks_for_health(fronted):
    """Envoy's health checks find both ports healthy, that of gRPC by its health service."""
    stats = await fronted.envoy.admin.stats("health_check.success|membership_healthy")
    for name in ("grpc", "http"):
        assert stats[f"cluster.{name}.health_check.success"] >= 1
        assert stats[f"cluster.{name}.membership_healthy"] == 1
