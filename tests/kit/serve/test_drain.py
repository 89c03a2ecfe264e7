"""The end of serving, with each server: what is under way goes on, and when the grace is over it ends."""

import asyncio
import socket

import httpx
import orjson
import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from headgate.kit.asgi.health import Health
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import OVER_HTTP, Control, Pipeline
from headgate.kit.controls.probes import Probes
from headgate.kit.serve import calls
from headgate.kit.serve.calls import DRAINING
from headgate.kit.serve.lifecycle import Serving
from tests.kit.serve.conftest import answer, refuses, until, until_refused


async def served_by(part, **options) -> Serving:
    """A started process of one part."""
    serving = Serving(**options)
    serving.add(part)
    await serving.start()
    return serving


async def test_a_request_under_way_finishes(http_server, probe):
    """While it drains no connections are taken, and a request under way is answered before the application ends."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=30)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http:
        under_way = asyncio.create_task(http.get("/gate"))
        await probe.asked.wait()
        stopping = asyncio.create_task(serving.stop())
        await until_refused(part.port)
        assert not stopping.done()
        probe.opened.set()
        answered = await under_way
    await asyncio.wait_for(stopping, 20)
    assert answered.text == "through"
    assert probe.story == ["up", "down"]


async def test_a_stream_finishes_within_the_grace(http_server, probe):
    """A stream under way is sent to its end when that comes within the grace."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=30)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http, http.stream("GET", "/stream") as stream:
        chunks = stream.aiter_text()
        await anext(chunks)
        stopping = asyncio.create_task(serving.stop())
        await until_refused(part.port)
        probe.opened.set()
        rest = "".join([chunk async for chunk in chunks])
    await asyncio.wait_for(stopping, 20)
    assert rest.endswith("data: end\n\n")


async def test_a_stream_is_cancelled_after_the_grace(http_server, probe):
    """A stream that goes on past the grace is cancelled in its handler, and ends so that the client notices."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=0.2)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http, http.stream("GET", "/stream") as stream:
        chunks = stream.aiter_text()
        await anext(chunks)
        stopping = asyncio.create_task(serving.stop())
        with pytest.raises(httpx.RemoteProtocolError):
            async for _ in chunks:
                pass
    await asyncio.wait_for(stopping, 20)
    assert probe.story == ["up", "cancelled /stream", "down"]


async def test_a_request_is_cancelled_after_the_grace(http_server, probe, logged):
    """A request that is not answered within the grace is cancelled, and answered 503 with when to come again."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=0.2)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http:
        under_way = asyncio.create_task(http.get("/gate"))
        await probe.asked.wait()
        await asyncio.wait_for(serving.stop(), 20)
        answered = await under_way
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "1")
    assert answered.headers["connection"] == "close"
    assert probe.story == ["up", "cancelled /gate", "down"]
    assert [line["calls"] for line in logged() if "cancelled" in line["event"]] == [1]


async def test_a_call_that_ignores_its_end(http_server, monkeypatch):
    """A handler that catches its cancellation and goes on does not keep the process from stopping."""
    monkeypatch.setattr(calls, "CUT_SECONDS", 0.1)
    asked, over = asyncio.Event(), asyncio.Event()

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        while not over.is_set():
            asked.set()
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    part = http_server(app)
    serving = await served_by(part, shutdown_grace=0.1)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http:
        under_way = asyncio.create_task(http.get("/"))
        await asked.wait()
        try:
            await asyncio.wait_for(serving.stop(), 20)
        finally:
            over.set()
        await asyncio.gather(under_way, return_exceptions=True)


async def test_a_websocket_goes_on_while_it_drains(http_server, probe):
    """A WebSocket is served on until the grace is over, then closed with 1001."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=1.0)
    async with websockets.connect(part.url.replace("http", "ws")) as client:
        await client.send("before")
        assert await client.recv() == "before"
        stopping = asyncio.create_task(serving.stop())
        await until_refused(part.port)
        await client.send("while")
        assert await client.recv() == "while"
        with pytest.raises(websockets.ConnectionClosed):
            await client.recv()
        assert client.close_code == 1001
    await asyncio.wait_for(stopping, 20)


async def test_a_websocket_that_ends_in_time(http_server, kind, probe):
    """The last WebSocket's end is the end of draining, however long the grace.

    hypercorn tells the application 1006 whatever the client said.
    """
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=60)
    async with websockets.connect(part.url.replace("http", "ws")) as client:
        await client.send("a")
        await client.recv()
        stopping = asyncio.create_task(serving.stop())
        await until_refused(part.port)
    await asyncio.wait_for(stopping, 20)
    assert probe.story == ["up", f"left {1006 if kind == 'hypercorn' else 1000}", "down"]


async def test_a_stream_without_an_end_hears_of_it(http_server):
    """A stream that watches for the end of serving can end by itself, before anything is cancelled."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begin ", "more_body": True})
        await scope["extensions"][DRAINING].wait()
        await send({"type": "http.response.body", "body": b"bye"})

    part = http_server(app)
    serving = await served_by(part, shutdown_grace=60)
    async with httpx.AsyncClient(base_url=part.url, timeout=30) as http, http.stream("GET", "/") as stream:
        chunks = stream.aiter_text()
        text = await anext(chunks)
        stopping = asyncio.create_task(serving.stop())
        text += "".join([chunk async for chunk in chunks])
    await asyncio.wait_for(stopping, 20)
    assert text == "begin bye"


async def test_readiness_ends_before_the_listener(http_server):
    """During the delay `/ready` refuses and `/health` does not, and everything is served over new connections too."""
    health = Health()

    async def hello(_request):
        return PlainTextResponse("hello")

    probes = Pipeline([Probes(health.report, orjson.dumps)], OVER_HTTP)
    part = http_server(Shell(Starlette(routes=[Route("/", hello)]), probes))
    serving = await served_by(part, health=health, shutdown_delay=1.0, shutdown_grace=10)
    async with httpx.AsyncClient(base_url=part.url) as http:
        assert (await http.get("/ready")).status_code == 200
        stopping = asyncio.create_task(serving.stop())
        await until(lambda: health.draining)
        ready = await http.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await http.get("/health")).status_code == 200
        assert (await http.get("/")).headers["connection"] == "close"
    assert not await refuses(part.port)
    await asyncio.wait_for(stopping, 20)
    assert await refuses(part.port)


async def test_nobody_fails_who_follows_readiness(http_server):
    """Clients that turn away when readiness ends see every request answered, over kept connections too."""
    health, answered = Health(), 0

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("none")
        await asyncio.sleep(0.005)
        if scope["path"] == "/ready":
            await answer(send, b"", 503 if health.draining else 200)
        else:
            await answer(send, b"hello")

    part = http_server(app)
    serving = await served_by(part, health=health, shutdown_delay=2.0, shutdown_grace=10)

    async def client() -> None:
        nonlocal answered
        async with httpx.AsyncClient(base_url=part.url, timeout=30) as http:
            while (await http.get("/ready")).status_code == 200:
                for _ in range(5):
                    (await http.get("/")).raise_for_status()
                    answered += 1

    clients = asyncio.gather(*(client() for _ in range(10)))
    await until(lambda: answered > 50)
    await asyncio.gather(clients, asyncio.wait_for(serving.stop(), 30))


async def test_idle_connections_do_not_delay(http_server, probe):
    """Connections without a call under way are closed at once."""
    part = http_server(probe)
    serving = await served_by(part, shutdown_grace=60)
    silent = socket.create_connection(("127.0.0.1", part.port))
    async with httpx.AsyncClient(base_url=part.url) as http:
        await http.get("/")
        await asyncio.wait_for(serving.stop(), 20)
    silent.close()


class Names(Control):
    """A control that names every call, and remembers how it ended."""

    name = "names"

    def __init__(self) -> None:
        self.ends: list[str] = []

    def identify(self, call):
        call.request_id = "r-1"

    def respond(self, call, headers):
        headers.append((b"x-request-id", call.request_id.encode()))

    def settle(self, call):
        self.ends.append(f"{call.status} {call.code}")


async def test_what_is_cut_behind_a_shell_is_told_as_any_other_end(http_server, probe):
    """At the end of the grace a request gets a problem with its id, an event stream an event, a WebSocket a frame."""
    names = Names()
    part = http_server(Shell(probe, Pipeline([names], OVER_HTTP)))
    serving = await served_by(part, shutdown_grace=0.3)
    async with (
        httpx.AsyncClient(base_url=part.url, timeout=30) as http,
        http.stream("GET", "/stream") as stream,
        websockets.connect(part.url.replace("http", "ws")) as client,
    ):
        chunks = stream.aiter_text()
        await anext(chunks)
        await client.send("a")
        assert await client.recv() == "a"
        probe.asked.clear()
        under_way = asyncio.create_task(http.get("/gate"))
        await until(lambda: len(probe.scopes) == 3)
        await asyncio.wait_for(serving.stop(), 20)
        answered = await under_way
        text = "".join([chunk async for chunk in chunks])
        frame = orjson.loads(await client.recv())
        await client.wait_closed()
    assert (answered.status_code, answered.headers["retry-after"]) == (503, "1")
    assert (answered.json()["code"], answered.headers["x-request-id"]) == ("stopping", "r-1")
    assert '"code":"stopping"' in text.rpartition("event: error\ndata: ")[2]
    assert (frame["error"]["code"], client.close_code) == ("stopping", 1001)
    assert sorted(names.ends) == ["101 UNAVAILABLE", "200 UNAVAILABLE", "503 UNAVAILABLE"]
    assert probe.story[-1] == "down"
