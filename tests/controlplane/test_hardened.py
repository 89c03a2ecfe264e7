"""What the kit's controls make of the control plane: the same answers, limits and lines for HTTP and xDS."""

import asyncio
import json

import httpx
import pytest
from grpc import StatusCode

from headgate.controlplane.app import control_plane
from headgate.controlplane.translate.resource import CLUSTER
from headgate.controlplane.xds.server import spiffe_id
from headgate.kit.controls.faults import InvalidArgument
from headgate.testing.controlplane import local_settings, running_control_plane
from headgate.testing.envoy import eventually
from headgate.testing.server import free_port
from headgate.testing.xds import Mode, XdsClient, node
from tests.scenarios.xds.certificates import Authority

WHOAMI = "/api/v1/whoami"


async def test_every_answer_is_dressed(tmp_path):
    """An answer, a refusal, a problem, a probe: all carry the security headers and the request id they came with."""
    async with running_control_plane(tmp_path) as running, running.client_for(None) as stranger:
        for number, (client, path, status) in enumerate(
            [
                (running.client, WHOAMI, 200),
                (stranger, WHOAMI, 401),
                (running.client, "/nothing", 404),
                (stranger, "/ready", 200),
                (stranger, "/swagger-ui", 200),
            ]
        ):
            answer = await client.get(path, headers={"x-request-id": f"r-{number}"})
            assert answer.status_code == status, path
            assert answer.headers["x-request-id"] == f"r-{number}"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-frame-options"] == "DENY"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers
            if status >= 400:
                assert answer.json()["request_id"] == f"r-{number}"


async def test_the_page_keeps_its_own_policy(tmp_path):
    """The documentation's page says itself what a browser may load for it, and that stands."""
    async with running_control_plane(tmp_path) as running:
        policies = (await running.client.get("/swagger-ui")).headers.get_list("content-security-policy")
        assert len(policies) == 1
        assert "unsafe-inline" not in policies[0]


async def test_tokens_have_budgets(tmp_path):
    """A token that asks too often is answered 429 with the time to wait; probes and other tokens go on."""
    async with running_control_plane(tmp_path, rate_limit_default="5/minute") as running:
        made = await running.client.post("/api/v1/tokens", json={"name": "other", "scopes": ["*:read"]})
        answers = [await running.client.get(WHOAMI) for _ in range(6)]
        assert answers[-1].status_code == 429
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await running.client.get("/ready")).status_code == 200
        async with running.client_for(made.json()["token"]) as other:
            assert (await other.get(WHOAMI)).status_code == 200


async def test_metrics_count_every_wire(tmp_path):
    """HTTP calls and xDS streams are counted in one exposition, which a scraper reads with a token of its own."""
    async with running_control_plane(tmp_path, metrics_token="scrape-me-please") as running:
        await running.client.get(WHOAMI)
        async with XdsClient(f"127.0.0.1:{running.xds_port}", Mode(delta=True, aggregated=True), node("n")) as client:
            await client.request(CLUSTER)
            await client.next(CLUSTER)
        async with running.client_for("scrape-me-please") as scraper:

            async def both():
                text = (await scraper.get("/metrics")).text
                return f'route="{WHOAMI}"' in text and "DeltaAggregatedResources" in text

            await eventually(both, 10.0, "a call is not counted")
            assert (await scraper.get(WHOAMI)).status_code == 401


async def test_metrics_on_a_port_of_their_own(tmp_path):
    """With `metrics_port` the metrics are there, without a token, and nothing else is."""
    port = free_port()
    async with running_control_plane(tmp_path, metrics_port=port), httpx.AsyncClient() as scraper:
        answer = await scraper.get(f"http://127.0.0.1:{port}/metrics")
        assert (answer.status_code, "headgate_xds_streams" in answer.text) == (200, True)


async def test_streams_outlive_the_limits_of_calls(tmp_path):
    """Deadlines, budgets and places for calls are no concern of an Envoy's stream, nor is a token."""
    limits = {"request_timeout": 0.05, "idle_timeout": 0.05, "total_timeout": 0.05, "max_concurrent": 1}
    settings = local_settings(tmp_path, rate_limit_default="1/minute", **limits)
    async with control_plane(settings) as plane:
        target = f"127.0.0.1:{plane.xds.port}"
        clients = [XdsClient(target, Mode(delta=True, aggregated=True), node(f"n{number}")) for number in range(3)]
        for client in clients:
            await client.__aenter__()
        try:
            for client in clients:
                await client.request(CLUSTER)
                await client.ack(await client.next(CLUSTER))
            await asyncio.sleep(0.3)
            assert len(plane.xds._hub.sessions()) == 3
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)


async def test_a_stream_is_one_line_of_the_log(tmp_path, logged):
    """A stream that was refused is a line with its request id, its method and why."""
    async with control_plane(local_settings(tmp_path)) as plane:
        target = f"127.0.0.1:{plane.xds.port}"
        async with XdsClient(target, Mode(delta=True, aggregated=True), node("n", team="nobody")) as client:
            await client.request(CLUSTER)
            assert await client.ended(CLUSTER) is StatusCode.NOT_FOUND

        async def told():
            return [line for line in logged() if line.get("protocol") == "grpc"]

        await eventually(told, 10.0, "no line tells of the stream")
        (line,) = await told()
    assert line["route"].endswith("/DeltaAggregatedResources")
    assert (line["code"], line["fault"], line["status"]) == ("NOT_FOUND", "unknown_team", 404)
    assert line["request_id"]


@pytest.mark.parametrize(("team", "code"), [("default", "CANCELLED"), ("other", "PERMISSION_DENIED")])
async def test_a_stream_is_told_of_by_the_name_in_its_certificate(tmp_path, logged, team, code):
    """With TLS the line of a stream names who was connected, also where that one may not speak for the node."""
    authority, name = Authority(), spiffe_id("headgate.local", "default", "n")
    settings = local_settings(tmp_path, **authority.server_files(tmp_path))
    async with control_plane(settings) as plane:
        target, credentials = f"127.0.0.1:{plane.xds.port}", authority.credentials(name)
        mode, who = Mode(delta=True, aggregated=True), node("n", team=team)
        async with XdsClient(target, mode, who, credentials=credentials) as client:
            await client.request(CLUSTER)
            await (client.next(CLUSTER) if team == "default" else client.ended(CLUSTER))

        async def told():
            return [line for line in logged() if line.get("protocol") == "grpc"]

        await eventually(told, 10.0, "no line tells of the stream")
        (line,) = await told()
    assert (line["principal"], line["code"]) == (name, code)


async def test_readiness_ends_before_anything_else(tmp_path):
    """While `shutdown_delay` runs `/ready` refuses, and the API and xDS serve as before."""
    settings = local_settings(tmp_path, shutdown_delay=1.0)
    async with control_plane(settings) as plane, httpx.AsyncClient(base_url=plane.url) as client:
        client.headers["authorization"] = f"Bearer {plane.first_token}"
        assert (await client.get("/ready")).status_code == 200
        stopping = asyncio.create_task(plane.serving.stop())

        async def draining():
            return (await client.get("/ready")).json()["status"] == "draining"

        await eventually(draining, 5.0, "it is ready")
        assert (await client.get("/health")).status_code == 200
        assert (await client.get(WHOAMI)).status_code == 200
        async with XdsClient(f"127.0.0.1:{plane.xds.port}", Mode(delta=True, aggregated=True), node("n")) as envoy:
            await envoy.request(CLUSTER)
            await envoy.next(CLUSTER)
        await asyncio.wait_for(stopping, 20)
    for port in (plane.http.port, plane.xds.port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


class SlowGate:
    """An Envoy that takes its time over each configuration, and likes them all."""

    async def check(self, _config):
        await asyncio.sleep(1.0)


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_an_import_at_work_is_never_idle(tmp_path, monkeypatch, encoding):
    """An import that has nothing new to tell for longer than `idle_timeout` says where it is, and gets to its end."""
    monkeypatch.setattr("headgate.controlplane.platform.imports.REPEAT_SECONDS", 0.05)
    document = {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "servers": [{"url": "http://a.example"}]}
    document["paths"] = {"/x": {"get": {"responses": {"200": {"description": "fine"}}}}}
    headers = {"accept": "application/x-ndjson", "accept-encoding": encoding}
    async with running_control_plane(tmp_path, gate=SlowGate(), idle_timeout=0.4) as running:
        answer = await running.client.post("/api/v1/platform/import/openapi", json=document, headers=headers)
        *progress, last = (json.loads(line) for line in answer.text.splitlines())
    assert last["report"]["totals"]["routed"] == 1
    assert all(line["progress"]["stage"] in {"reading", "planning", "applying"} for line in progress)


async def test_series_are_as_many_as_the_setting_says(tmp_path):
    """Beyond `metrics_max_series` calls are counted under one label."""
    async with running_control_plane(tmp_path, metrics_max_series=10) as running:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            for path in (WHOAMI, "/api/v1/teams", "/api/v1/tokens", "/api/v1/native/clusters"):
                await running.client.request(method, path)
        assert "(other)" in (await running.client.get("/metrics")).text


@pytest.mark.parametrize("unsafe", [{"metrics_public": True}, {"debug": True}, {"rate_limit_default": "off"}])
async def test_production_refuses_what_is_unsafe(tmp_path, unsafe):
    """With the profile `production` an unsafe setting keeps it from starting, before anything is made."""
    with pytest.raises(InvalidArgument) as refused:
        async with control_plane(local_settings(tmp_path / "state", profile="production", **unsafe)):
            pass
    assert refused.value.code == "unsafe_settings"
    assert next(iter(unsafe)) in refused.value.message
    assert not (tmp_path / "state").exists()


async def test_production_starts_with_the_defaults(tmp_path):
    """Callers prove who they are with tokens, so the defaults are safe enough for production."""
    async with running_control_plane(tmp_path, profile="production") as running:
        assert (await running.client.get(WHOAMI)).status_code == 200
