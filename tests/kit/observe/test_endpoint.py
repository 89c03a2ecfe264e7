"""The metrics as an application of their own."""

import asyncio

import httpx
import pytest

from headgate.kit.controls.call import Call
from headgate.kit.controls.principal import Principal
from headgate.kit.current import CURRENT
from headgate.kit.observe.endpoint import MetricsEndpoint
from headgate.kit.observe.metrics import Metrics

TOKEN = "scraper-token"


def client(**options) -> httpx.AsyncClient:
    """A client of the endpoint."""
    app = MetricsEndpoint(Metrics(), **options)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://metrics")


@pytest.mark.parametrize("header", [None, "Bearer wrong", f"Basic {TOKEN}", "Bearer ", f"Bearer {TOKEN}x"])
async def test_strangers_are_refused(header):
    """Without the token there is nothing to see, and no token at all admits nobody."""
    for options in ({"token": TOKEN}, {}):
        answer = await client(**options).get("/metrics", headers={"authorization": header} if header else {})
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert "headgate_" not in answer.text


async def test_the_token_and_an_identity_admit():
    """The scraper's token admits, and so does a principal the controls have found; a public one admits all."""
    answer = await client(token=TOKEN).get("/", headers={"authorization": f"bearer {TOKEN}"})
    assert answer.status_code == 200
    assert "headgate_build_info" in answer.text
    assert (await client(public=True).get("/metrics")).status_code == 200
    call = Call("http", "GET", "/metrics", (), "10.0.0.7", 1.0)
    call.principal = Principal("prometheus")
    CURRENT.set(call)
    assert (await client(token=TOKEN).get("/metrics")).status_code == 200


async def test_the_scraper_chooses_the_format():
    """OpenMetrics for those who ask, and a length in any case."""
    async with client(public=True) as metrics:
        plain = await metrics.get("/metrics")
        opened = await metrics.get("/metrics", headers={"accept": "application/openmetrics-text"})
        head = await metrics.head("/metrics")
    assert plain.headers["content-type"].startswith("text/plain")
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0


async def test_nothing_else_is_served():
    """Other methods are refused, other protocols are none of its business."""
    assert (await client(public=True).post("/metrics")).status_code == 405
    app = MetricsEndpoint(Metrics(), public=True)
    with pytest.raises(NotImplementedError):
        await app({"type": "websocket"}, None, None)


async def test_it_starts_and_stops_with_a_server():
    """A server that asks it to start and to stop is told that it did."""
    asked = asyncio.Queue()
    told = []
    for kind in ("startup", "shutdown"):
        asked.put_nowait({"type": f"lifespan.{kind}"})

    async def send(message):
        told.append(message["type"])

    await MetricsEndpoint(Metrics())({"type": "lifespan"}, asked.get, send)
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
