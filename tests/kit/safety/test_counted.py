"""What the gate refuses is counted and logged as any refusal, over every protocol of a kit."""

import json

import grpc
import httpx
import pytest

from headgate.kit import HardeningSettings, Kit
from headgate.testing.conformance.orders_rpc import Order, add_orders

BAD = "I will kill you and your whole family, you worthless idiot"
COUNTED = 'headgate_refusals_total{code="content_blocked",control="content_filter"}'


async def app(scope, receive, send):
    """Answer with the request, as JSON or as a stream of events; echo a socket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    if scope["type"] != "http":
        return
    text = json.loads((await receive())["body"])["texts"]
    kind = b"text/event-stream" if scope["path"] == "/stream" else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    body = "".join(f"data: {each}\n\n" for each in text) if scope["path"] == "/stream" else json.dumps(" ".join(text))
    await send({"type": "http.response.body", "body": body.encode()})


def counted(kit):
    """How often the gate refused, as a scraper reads it."""
    lines = kit.metrics.render().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(COUNTED)), 0.0)


@pytest.fixture
async def kit():
    """A kit with a gate."""
    made = Kit(HardeningSettings(content_filter_scorers="builtin", content_filter_sides="output"))
    yield made
    await made.aclose()


async def test_refusals_over_http_are_counted(kit):
    """A response that is refused, before it starts or in its midst, is counted under the gate's name."""
    transport = httpx.ASGITransport(kit.harden(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.post("/say", json={"texts": [BAD]})).status_code == 403
        assert counted(kit) == 1
        answer = await http.post("/stream", json={"texts": ["All is well here. "] * 40 + [BAD]})
        assert (answer.status_code, "content_blocked" in answer.text) == (200, True)
        assert counted(kit) == 2
        assert (await http.post("/say", json={"texts": ["tea"]})).status_code == 200
    assert counted(kit) == 2


async def test_refusals_of_sockets_are_counted(kit):
    """So is a socket that is refused while it is open."""
    heard = [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": BAD},
        {"type": "websocket.disconnect"},
    ]
    said = []

    async def receive():
        return heard.pop(0)

    async def send(message):
        said.append(message)

    scope = {"type": "websocket", "path": "/chat", "headers": [], "client": None}
    await kit.harden(app)(scope, receive, send)
    assert (said[-1]["type"], said[-1]["reason"]) == ("websocket.close", "content_blocked")
    assert counted(kit) == 1


async def test_refusals_over_grpc_are_counted():
    """So is a call over gRPC."""
    kit = Kit(HardeningSettings(content_filter_scorers="builtin"))
    server = kit.grpc_server(add_orders, port=0)
    await server.start()
    try:
        async with grpc.aio.insecure_channel(server.address) as channel:
            create = channel.unary_unary(
                "/headgate.conformance.v1.Orders/Create",
                request_serializer=Order.SerializeToString,
                response_deserializer=Order.FromString,
            )
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await create(Order(name=BAD))
        assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    finally:
        await server.stop(0)
        await kit.aclose()
    assert counted(kit) == 1
