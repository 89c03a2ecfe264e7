"""A kit as a whole: one set of controls for every protocol, and nothing refused in silence."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headgate.kit import Call, Control, HardeningSettings, Kit, current_call, harden
from headgate.kit.controls.faults import InvalidArgument, PermissionDenied
from headgate.kit.observe.logs import configure_logs
from headgate.testing.conformance.orders_rpc import Order, add_orders

KEYS = "reader[orders:read]=read-key-0123456789,writer=write-key-0123456789"


async def order(request: Request) -> Response:
    """Read the body, and say who asked."""
    await request.body()
    call = current_call()
    return JSONResponse({"principal": call.principal.id if call else ""})


async def slow(_request: Request) -> Response:
    """Take long."""
    await asyncio.sleep(60)
    return Response()


def application() -> Starlette:
    """A small application."""
    return Starlette(routes=[Route("/orders", order, methods=["GET", "POST"]), Route("/slow", slow)])


@asynccontextmanager
async def client(kit: Kit, app: Any = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application with the kit round it."""
    transport = httpx.ASGITransport(kit.harden(app or application()), client=("203.0.113.9", 4711))
    async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as http:
        yield http


REFUSALS: dict[str, tuple[dict[str, Any], dict[str, Any], int, str, str]] = {
    "hosts": ({"trusted_hosts": "shop.example"}, {"url": "/orders"}, 400, "untrusted_host", "hosts"),
    "docs": ({}, {"url": "/docs"}, 404, "path_not_found", "docs"),
    "cors": (
        {"cors_allowed_origins": "https://shop.example"},
        {
            "method": "OPTIONS",
            "url": "/orders",
            "headers": {"origin": "https://evil.example", "access-control-request-method": "GET"},
        },
        403,
        "origin_not_allowed",
        "cors",
    ),
    "rate": ({"rate_limit_default": "1/day"}, {"url": "/orders", "warm": 1}, 429, "rate_limited", "rate_limit"),
    "stranger": ({"api_key": KEYS}, {"url": "/orders"}, 401, "no_credentials", "access"),
    "guess": (
        {"api_key": KEYS},
        {"url": "/orders", "headers": {"x-api-key": "guess-key-0123456789"}},
        401,
        "invalid_api_key",
        "identity",
    ),
    "scope": (
        {"api_key": KEYS, "access_rules": "POST /orders=orders:write"},
        {"method": "POST", "url": "/orders", "headers": {"x-api-key": "read-key-0123456789"}},
        403,
        "missing_scope",
        "access",
    ),
    "body": (
        {"max_body_size": 10},
        {"method": "POST", "url": "/orders", "content": b"x" * 11},
        413,
        "body_too_large",
        "body_limit",
    ),
    "timeout": (
        {},
        {"url": "/orders", "headers": {"x-request-timeout-ms": "soon"}},
        400,
        "malformed_timeout",
        "deadline",
    ),
    "deadline": (
        {},
        {"url": "/slow", "headers": {"x-request-timeout-ms": "30"}},
        504,
        "request_timeout",
        "",
    ),
    "nowhere": ({}, {"url": "/nowhere"}, 404, "path_not_found", ""),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_d02_every_refusal_is_dressed_logged_counted_and_audited(name: str, tmp_path: Path) -> None:
    """Whoever refuses, the answer has security headers and the request id, and log, metrics and audit know of it."""
    settings, asked, status, code, refused_by = REFUSALS[name]
    log, audit = io.StringIO(), tmp_path / "audit.log"
    configure_logs("info", "json", stream=log)
    kit = Kit(HardeningSettings(**settings, audit_log=str(audit), metrics_public=True))
    asked = {"method": "GET", **asked, "headers": {**asked.get("headers", {}), "x-request-id": f"refused-{name}"}}
    warm = asked.pop("warm", 0)
    async with client(kit) as http:
        for _ in range(warm):
            await http.request(**asked)
        response = await http.request(**asked)
        exposition = kit.metrics.render().decode()
    await kit.aclose()

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert response.headers["x-request-id"] == response.json()["request_id"] == f"refused-{name}"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    line = [json.loads(each) for each in log.getvalue().splitlines() if '"headgate.access"' in each][-1]
    assert (line["request_id"], line["status"]) == (f"refused-{name}", status)
    assert line["client"] == "203.0.113.9"
    record = json.loads(audit.read_text().splitlines()[-1])
    assert (record["http.request.id"], record["event.outcome"]) == (f"refused-{name}", "failure")
    if refused_by:
        assert line["refused_by"] == refused_by
        assert record["rule.name"] == refused_by
        assert f'headgate_refusals_total{{code="{code}",control="{refused_by}"}} 1.0' in exposition


async def test_a_budget_is_one_over_http_and_grpc() -> None:
    """What a principal spends over gRPC is spent over HTTP, and nobody else's."""
    kit = Kit(HardeningSettings(api_key=KEYS, rate_limit_default="3/day"))
    server = kit.grpc_server(add_orders, port=0)
    await server.start()
    metadata = [("x-api-key", "write-key-0123456789")]
    try:
        async with client(kit) as http, grpc.aio.insecure_channel(server.address) as channel:
            create = channel.unary_unary(
                "/headgate.conformance.v1.Orders/Create",
                request_serializer=Order.SerializeToString,
                response_deserializer=Order.FromString,
            )
            for _ in range(2):
                await create(Order(name="tea"), metadata=metadata)
            assert (await http.get("/orders", headers=dict(metadata))).status_code == 200
            assert (await http.get("/orders", headers=dict(metadata))).status_code == 429
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(Order(name="tea"), metadata=metadata)
            assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert (await http.get("/orders", headers={"x-api-key": "read-key-0123456789"})).status_code == 200
    finally:
        await server.stop(0)
        await kit.aclose()


async def test_guessing_keys_spends_the_guessers_budget() -> None:
    """Wrong keys count against the address: after its budget the answer is 429, also for the next guess."""
    kit = Kit(HardeningSettings(api_key=KEYS, rate_limit_default="3/day"))
    async with client(kit) as http:
        seen = [
            (await http.get("/orders", headers={"x-api-key": f"guess-{number}-0123456789"})).status_code
            for number in range(5)
        ]
        assert seen == [401, 401, 401, 429, 429]
        assert (await http.get("/orders", headers={"x-api-key": "read-key-0123456789"})).status_code == 200


async def test_a_control_of_ones_own() -> None:
    """A control given to the kit refuses like the kit's: dressed, and on every protocol."""

    class Closed(Control):
        name = "office_hours"

        def admit(self, call: Call) -> None:
            raise PermissionDenied("come back tomorrow", code="closed")

    kit = Kit(HardeningSettings(), more=[Closed()])
    async with client(kit) as http:
        response = await http.get("/orders")
    assert (response.status_code, response.json()["code"]) == (403, "closed")
    assert "content-security-policy" in response.headers
    server = kit.grpc_server(add_orders, port=0)
    await server.start()
    async with grpc.aio.insecure_channel(server.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/headgate.conformance.v1.Orders/Create")(b"")
    await server.stop(0)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_d22_nothing_is_asked_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making and starting a hardened service asks nobody anything, with or without settings."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
    async with client(Kit(HardeningSettings())) as http:
        assert (await http.get("/orders")).status_code == 200


async def test_one_line_hardens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`harden(app)` reads its settings from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAX_BODY_SIZE", "4")
    app = harden(application())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as http:
        assert (await http.post("/orders", content=b"12345")).status_code == 413


def test_unsafe_settings_do_not_start() -> None:
    """A production profile without any identity is refused before anything is served."""
    with pytest.raises(InvalidArgument) as refused:
        Kit(HardeningSettings(profile="production"))
    assert refused.value.code == "unsafe_settings"


async def test_content_is_judged_on_every_wire() -> None:
    """With a scorer in the settings, text that counts is refused over HTTP and over gRPC, and never repeated."""
    kit = Kit(HardeningSettings(content_filter_scorers="builtin"))
    bad = "I will kill you and your whole family, you worthless idiot"
    server = kit.grpc_server(add_orders, port=0)
    await server.start()
    try:
        async with client(kit) as http, grpc.aio.insecure_channel(server.address) as channel:
            response = await http.post("/orders", json={"text": bad})
            assert (response.status_code, response.json()["code"]) == (403, "content_blocked")
            assert "worthless" not in response.text
            assert (await http.post("/orders", json={"text": "two bags of tea, please"})).status_code == 200
            create = channel.unary_unary(
                "/headgate.conformance.v1.Orders/Create",
                request_serializer=Order.SerializeToString,
                response_deserializer=Order.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(Order(name=bad))
            assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
            assert (await create(Order(name="tea"))).name == "tea"
    finally:
        await server.stop(0)
        await kit.aclose()
