"""Serving with each server: the same promises, whoever keeps them."""

import asyncio
import signal
from contextlib import asynccontextmanager

import httpx
import pytest
import websockets
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.serve.engines import HttpLimits
from headgate.kit.serve.http import HttpServer
from tests.kit.serve.conftest import answer, until


async def ask_raw(port: int, *parts: bytes) -> bytes:
    """Send bytes over a connection of its own, and return what comes until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answered = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return answered


async def test_serving(http_server, probe):
    """Started, it answers where it says; stopped, the port is free again."""
    served = http_server(probe)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        assert (await http.get("/")).text == "hello"
    await served.stop()
    again = HttpServer(probe, host="127.0.0.1", port=served.port, setting="api_port")
    await again.start()
    await again.stop()


async def test_d01_no_server_is_named(http_server, kind, probe):
    """No answer names the server, not even one to an error; granian can only send the header empty."""
    served = http_server(probe)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        answers = [await http.get("/"), await http.get("/raise")]
    await served.stop()
    expected = "" if kind == "granian" else None
    assert [answered.headers.get("server") for answered in answers] == [expected, expected]


async def test_what_the_application_raises(http_server, probe, logged):
    """An error of the application is logged and answered with 500, without its text."""
    served = http_server(probe)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        answered = await http.get("/raise")
    await served.stop()
    assert (answered.status_code, answered.text) == (500, "Internal Server Error\n")
    assert [line["event"] for line in logged() if line["level"] == "error"] == ["the application raised"]


async def test_a_response_that_breaks_off(http_server):
    """An error in the middle of a response cuts it off, so that it cannot be taken for complete."""

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ValueError("the other half is missing")

    served = http_server(app)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/")
    await served.stop()


async def test_a_taken_port(http_server, probe):
    """A taken port is a fault that names the setting, before the application starts up."""
    first = http_server(probe)
    await first.start()
    probe.story.clear()
    second = HttpServer(probe, host="127.0.0.1", port=first.port, setting="api_port")
    with pytest.raises(FailedPrecondition, match="HEADGATE_API_PORT"):
        await second.start()
    await second.stop()
    assert probe.story == []
    await first.stop()


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (Unavailable("no database", code="no_database"), "no_database", "no database"),
        (RuntimeError("no disk at postgres://u:hunter2@h/d"), "startup_failed", "RuntimeError: no disk at postgres"),
        (SystemExit(4), "startup_failed", "exit with status 4"),
    ],
)
async def test_a_start_up_that_fails(http_server, error, code, told):
    """The fault of a failed start-up names what was raised, without secrets; the loop goes on, the port is free."""

    @asynccontextmanager
    async def lifespan(_app):
        raise error
        yield

    failed = http_server(Starlette(lifespan=lifespan))
    with pytest.raises(Unavailable) as caught:
        await failed.start()
    assert caught.value.code == code
    assert told in caught.value.message
    assert "hunter2" not in caught.value.message
    again = HttpServer(Starlette(), host="127.0.0.1", port=failed.port, setting="api_port")
    await again.start()
    await again.stop()


async def test_the_life_of_the_application(http_server):
    """The application starts up before it is asked and shuts down after; its state reaches requests."""
    story = []

    @asynccontextmanager
    async def lifespan(_app):
        story.append("up")
        yield {"who": "state"}
        story.append("down")

    async def endpoint(request: Request) -> Response:
        story.append("asked")
        return PlainTextResponse(request.state.who)

    served = http_server(Starlette(routes=[Route("/", endpoint)], lifespan=lifespan))
    await served.start()
    async with httpx.AsyncClient() as http:
        assert (await http.get(served.url)).text == "state"
    await served.stop()
    assert story == ["up", "asked", "down"]


async def test_an_application_without_a_life(http_server):
    """A bare application that knows only HTTP is served too."""

    async def app(scope, receive, send):
        assert scope["type"] == "http"
        await answer(send, b"bare")

    served = http_server(app)
    await served.start()
    async with httpx.AsyncClient() as http:
        assert (await http.get(served.url)).text == "bare"
    await served.stop()


async def test_signals_are_left_alone(http_server, probe):
    """Serving installs no signal handlers: they are the process's own."""
    before = signal.getsignal(signal.SIGTERM)
    served = http_server(probe)
    await served.start()
    assert signal.getsignal(signal.SIGTERM) is before
    await served.stop()


async def test_addresses_in_the_scope(http_server, probe):
    """The addresses of both sides are a host and the number of a port, as the specification says."""
    served = http_server(probe)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        await http.get("/")
    await served.stop()
    (scope,) = probe.scopes
    assert tuple(scope["server"]) == ("127.0.0.1", served.port)
    assert scope["client"][0] == "127.0.0.1"
    assert isinstance(scope["client"][1], int)


async def test_a_body_nobody_reads(http_server):
    """A body that is refused unread does not keep the call, or the connection, for ever."""
    ended = asyncio.Event()

    async def app(scope, receive, send):
        await asyncio.sleep(0.1)
        await answer(send, b"too large", 413)
        ended.set()

    served = http_server(app)
    await served.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(b"POST / HTTP/1.1\r\nhost: here\r\ncontent-length: 30000000\r\n\r\n" + b"x" * 3_000_000)
    assert b" 413 " in await asyncio.wait_for(reader.readline(), 20)
    await asyncio.wait_for(ended.wait(), 20)
    writer.close()
    await asyncio.wait_for(served.stop(grace=20), 10)


async def test_a_head_that_is_too_large(http_server, probe):
    """A request whose headers are larger than the limit is refused and its connection closed, in pieces too."""
    served = http_server(probe, limits=HttpLimits(head_bytes=16_384))
    await served.start()
    head = b"GET / HTTP/1.1\r\nhost: here\r\nx-large: " + b"x" * 20_000
    for parts in [(head + b"\r\n\r\n",), (head,), (head[:9_000], head[9_000:])]:
        answered = await ask_raw(served.port, *parts)
        assert answered.split(b" ")[1] in {b"431", b"400"}, answered[:100]
    assert probe.scopes == []
    await served.stop()


async def test_a_head_that_does_not_come(http_server, kind, probe):
    """A connection over which no request arrives in time, or only a part of one, is closed.

    granian waits for ever where nothing at all was sent.
    """
    served = http_server(probe, limits=HttpLimits(keep_alive_seconds=0.3, head_seconds=0.3))
    await served.start()
    hello = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"
    silent = [] if kind == "granian" else [()]
    for parts in [*silent, (b"GET / HT",), (hello,), (hello, b"GET / HTTP/1.1\r\nhos"), (hello, b"\r\n")]:
        answered = await ask_raw(served.port, *parts)
        assert answered.count(b"hello") == parts.count(hello)
    await served.stop()


async def test_requests_one_after_another(http_server, probe):
    """A connection serves many requests, sent ahead of their answers too, and small heads do not add up."""
    served = http_server(probe, limits=HttpLimits(head_bytes=8_192))
    await served.start()
    request = b"GET / HTTP/1.1\r\nhost: here\r\nx-filler: " + b"x" * 5_000 + b"\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"
    assert (await ask_raw(served.port, request, request, request, last)).count(b"hello") == 4
    await served.stop()


async def test_a_websocket(http_server, probe):
    """A WebSocket is served; a message larger than the limit closes it with 1009."""
    served = http_server(probe, limits=HttpLimits(websocket_bytes=10_000))
    await served.start()
    async with websockets.connect(served.url.replace("http", "ws")) as socket:
        await socket.send("hello")
        assert await socket.recv() == "hello"
        await socket.send("x" * 20_000)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()
        assert socket.close_code == 1009
    await until(lambda: probe.story[-1].startswith("left"))
    await served.stop()


async def test_a_websocket_nobody_answers(http_server):
    """What the application raises before it accepts a WebSocket is answered with 500, after that with 1011."""
    accepts = False

    async def app(scope, receive, send):
        if accepts:
            await send({"type": "websocket.accept"})
        raise ValueError("no")

    served = http_server(app)
    await served.start()
    url = served.url.replace("http", "ws")
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(url)
    assert caught.value.response.status_code == 500
    accepts = True
    socket = await websockets.connect(url)
    with pytest.raises(websockets.ConnectionClosed):
        await socket.recv()
    assert socket.close_code == 1011
    await served.stop()


async def test_a_refused_websocket_is_no_error_of_ours(http_server, logged):
    """A stranger whose handshake is refused with an answer gets it, and nothing is logged as an error."""

    async def app(scope, receive, send):
        await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"unknown")]})
        await send({"type": "websocket.http.response.body", "body": b"who?"})

    served = http_server(app)
    await served.start()
    with pytest.raises(websockets.InvalidStatus) as caught:
        await websockets.connect(served.url.replace("http", "ws"))
    assert (caught.value.response.status_code, caught.value.response.headers["x-why"]) == (401, "unknown")
    await served.stop()
    assert [line for line in logged() if line["level"] in {"error", "warning"}] == []


async def test_a_life_that_ends_early(http_server):
    """A lifespan that breaks while the application is served is what waiting for the server raises."""
    broken = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await broken.wait()
        raise RuntimeError("the pool is gone")

    served = http_server(app)
    await served.start()
    waiting = asyncio.create_task(served.wait())
    broken.set()
    with pytest.raises(Unavailable, match="the pool is gone"):
        await asyncio.wait_for(waiting, 10)
    await served.stop()


async def test_an_unknown_server(probe):
    """A server there is none of is refused with the names of those there are."""
    with pytest.raises(InvalidArgument) as caught:
        await HttpServer(probe, host="127.0.0.1", port=0, setting="api_port", server="nginx").start()
    assert caught.value.code == "unknown_server"
    assert "granian" in caught.value.hint


async def test_a_server_that_is_not_installed(probe, monkeypatch):
    """A server whose package is missing is a fault that names the extra to install."""
    import sys

    monkeypatch.setitem(sys.modules, "hypercorn", None)
    monkeypatch.delitem(sys.modules, "headgate.kit.serve.engines.hypercorn", raising=False)
    for module in [name for name in sys.modules if name.startswith("hypercorn.")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(FailedPrecondition) as caught:
        await HttpServer(probe, host="127.0.0.1", port=0, setting="api_port", server="hypercorn").start()
    assert (caught.value.code, caught.value.hint) == ("extra_missing", "pip install 'headgate[hypercorn]'")


async def _refusing(scope, receive, send) -> None:
    """Answers a POST after the first piece of its body, whatever more comes."""
    if scope["type"] == "lifespan":
        return
    if scope["method"] == "POST":
        await receive()
    await answer(send, b"enough")


async def _pieces(count: int, size: int):
    for _ in range(count):
        yield b"x" * size
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(("count", "size"), [(20, 1), (200, 20_000)])
async def test_an_early_answer_reaches_who_still_sends(http_server, count, size):
    """Over HTTP/1.1 a client that is answered before it has sent all gets the answer, and not a reset connection."""
    served = http_server(_refusing)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        answered = await http.post("/", content=_pieces(count, size))
        again = await http.get("/")
    await served.stop()
    assert (answered.status_code, answered.text, again.text) == (200, "enough", "enough")


async def test_an_early_answer_costs_no_other_stream(http_server, kind):
    """Over HTTP/2 what is still sent of a request that was answered leaves the connection's other streams alone."""
    if kind == "uvicorn":
        pytest.skip("uvicorn does not speak HTTP/2")
    served = http_server(_refusing)
    await served.start()
    async with httpx.AsyncClient(base_url=served.url, http1=False, http2=True) as http:
        # Less than a window in all: httpcore's streams that wait for a larger one may miss that it came.
        answers = await asyncio.gather(*(http.post("/", content=_pieces(20, 500)) for _ in range(5)), http.get("/"))
    await served.stop()
    assert [(each.http_version, each.text) for each in answers] == [("HTTP/2", "enough")] * 6
