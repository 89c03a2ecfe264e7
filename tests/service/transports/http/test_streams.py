"""Streams out, in and both ways, over the wire and over real servers."""

import asyncio
import json
from collections.abc import AsyncIterator

import h2.config
import h2.connection
import h2.events
import httpx
import msgspec
import pytest

from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.serve.http import HttpServer
from headgate.service.codecs import END, ERROR, EVENTS, FRAMES, LINES, NEXT, STREAMS, Stream
from headgate.service.host import host
from headgate.service.transports.http import HttpWire
from headgate.service.transports.http.outlet import Outlet
from tests.kit.asgi.wire import http as request
from tests.kit.asgi.wire import serve
from tests.service.transports.http.library import Library

TOTAL, FIRST, ECHO = (f"/library.Library/{name}" for name in ("Total", "First", "Echo"))
FORMS = pytest.mark.parametrize("form", STREAMS, ids=lambda each: each.media_type)
SENT = pytest.mark.parametrize("form", STREAMS[1:], ids=lambda each: each.media_type)


def frames(form: Stream, body: bytes) -> list[tuple[int, object]]:
    """What a body says."""
    reader = form.reader(100_000)
    found = [*reader.feed(body), *reader.finish()]
    return [(kind, form.codec.decode(payload) if payload else None) for kind, payload in found]


def stream(form: Stream, *pages: int, end: bool = True) -> bytes:
    """A stream of books with so many pages."""
    listed = [form.frame(NEXT, form.codec.encode({"title": "b", "pages": each})) for each in pages]
    return b"".join((*listed, form.frame(END, b"") if end else b""))


@FORMS
async def test_out(http, form):
    """A stream is given in the form that is accepted, and its end is marked."""
    answer = await http.get("/count/2", headers={"accept": form.media_type})
    assert answer.headers["content-type"].startswith(form.media_type)
    assert "no-transform" in answer.headers["cache-control"]
    *books, (kind, _) = frames(form, answer.content)
    assert books == [(NEXT, {"title": "b", "pages": each}) for each in (1, 2)]
    assert kind == END


@FORMS
async def test_fault_in_midst(http, form):
    """A fault after the first message is the last frame, with the same document as elsewhere."""
    answer = await http.get("/count/3?fail=2", headers={"accept": form.media_type})
    (first, _), (kind, document) = frames(form, answer.content)
    assert (answer.status_code, first, kind) == (200, NEXT, ERROR)
    assert (document["kind"], document["retry_after"], document["status"]) == ("UNAVAILABLE", 1.0, 503)
    assert document["request_id"]


@FORMS
async def test_fault_before(http, form):
    """A fault before the first message has a status."""
    answer = await http.get("/count/3?fail=1", headers={"accept": form.media_type})
    assert answer.status_code == 503
    assert form.codec.decode(answer.content)["code"] == "unavailable"


async def test_usual_form(http):
    """Who accepts anything gets events; who accepts no stream gets 406."""
    assert (await http.get("/count/1")).headers["content-type"] == "text/event-stream; charset=utf-8"
    assert (await http.get("/count/1", headers={"accept": "application/json"})).status_code == 406
    assert (await http.head("/count/1")).content == b""


@SENT
async def test_in(http, form):
    """A stream that comes in is read to its end, marked or not, and is answered with one message."""
    for end in (True, False):
        body = stream(form, 3, 4, end=end)
        answer = await http.post(TOTAL, content=body, headers={"content-type": form.media_type})
        assert form.codec.decode(answer.content) == 7


@SENT
async def test_wrong_message(http, form):
    """A message that is wrong is refused with its number."""
    body = stream(form, 3, 0)
    headers = {"content-type": form.media_type, "accept": "application/json"}
    answer = await http.post(TOTAL, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["pointer"] == "/1/pages"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (LINES, b"{\n", "malformed_stream"),
        (LINES, b"{}\n", "malformed_stream"),
        (LINES, b'{"next":', "malformed_stream"),
        (LINES, b'{"next":"' + b"x" * 300, "message_too_large"),
        (LINES, b'{"error":{}}\n', "stream_broken_off"),
        (FRAMES, b"\x07\x00\x00\x00\x00", "malformed_stream"),
        (FRAMES, b"\x00\x00\x00\x00\x07abc", "malformed_stream"),
        (FRAMES, b"\x00\xff\xff\xff\xff", "message_too_large"),
        (EVENTS, b"", "unsupported_media_type"),
    ],
)
async def test_broken_streams(http, kind, body, code):
    """What is no stream, or too much of one, is refused before it is kept."""
    headers = {"content-type": kind.media_type, "accept": "application/json"}
    assert (await http.post(TOTAL, content=body, headers=headers)).json()["code"] == code


async def test_backpressure_in(wire, seen):
    """Messages are read when the handler asks for them, and not before."""
    caller = request(FIRST, method="POST", headers=[(b"content-type", LINES.media_type.encode())], body=None)
    for _ in range(3):
        caller.say(type="http.request", body=stream(LINES, 1, end=False), more_body=True)
    await serve(wire, caller)
    assert (caller.status, caller.problem["pages"]) == (200, 1)


async def test_backpressure_out(wire, seen):
    """A caller who takes nothing stops the handler."""
    caller = request("/count/1000")
    taken, blocked = asyncio.Event(), asyncio.Event()

    async def on_send(message):
        if message["type"] == "http.response.body":
            blocked.set()
            await taken.wait()

    caller.on_send = on_send
    task = asyncio.create_task(serve(wire, caller))
    await blocked.wait()
    assert seen.given == 1
    taken.set()
    await task
    assert seen.given == 1_000


async def test_caller_leaves(wire, seen):
    """The handler of a stream is cancelled when its caller leaves."""
    caller = request("/forever")
    task = asyncio.create_task(serve(wire, caller))
    await caller.until(lambda each: b"next" in each.body)
    caller.leave()
    await task
    assert seen.cancelled.is_set()
    assert not caller.ended


async def test_heartbeat(seen):
    """While nothing comes the answer begins, and comments are sent in an event stream."""
    wire = HttpWire(host([Library(seen=seen)]), opening=0.0, heartbeat=0.01)
    caller = request("/silent")
    task = asyncio.create_task(serve(wire, caller))
    await caller.until(lambda each: each.body.count(EVENTS.idle) >= 3)
    assert caller.status == 200
    caller.leave()
    await task


async def test_deadline(http):
    """The time that is up ends a stream with a fault of its own form."""
    headers = {"accept": LINES.media_type, "x-request-timeout-ms": "80"}
    answer = await http.get("/forever", headers=headers)
    assert [kind for kind, _ in frames(LINES, answer.content)] == [NEXT, ERROR]
    assert json.loads(answer.content.splitlines()[1])["error"]["code"] == "request_timeout"


@FORMS
async def test_what_the_kit_ends_is_told_in_the_form_of_the_stream(wire, form):
    """A stream that says nothing for too long ends with a fault of its own form, though it is the kit that ends it."""
    shell = Kit(HardeningSettings(idle_timeout=0.1)).harden(wire)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shell), base_url="http://t") as http:
        answer = await http.get("/forever", headers={"accept": form.media_type})
    (_, book), (kind, document) = frames(form, answer.content)
    assert book == 1
    assert (kind, document["code"]) == (ERROR, "request_timeout")


@pytest.fixture(params=["uvicorn", "granian", "hypercorn"])
async def served(request, wire) -> AsyncIterator[HttpServer]:
    """The library behind the kit, on a real server."""
    server = HttpServer(Kit().harden(wire), host="127.0.0.1", port=0, setting="port", server=request.param)
    await server.start()
    yield server
    await server.stop(0.5)


async def test_over_servers(served, seen):
    """Every server carries calls, streams both ways, and tells the handler that its caller left."""
    async with httpx.AsyncClient(base_url=served.url, timeout=20) as http:
        assert (await http.get("/books/7?lang=de")).json()["lang"] == "de"
        assert (await http.patch("/books/a%2Fb")).json()[0] == "a/b"
        headers = {"content-type": FRAMES.media_type}
        answer = await http.post(ECHO, content=stream(FRAMES, 1, 2), headers=headers)
        assert [kind for kind, _ in frames(FRAMES, answer.content)] == [NEXT, NEXT, END]
        async with http.stream("GET", "/forever") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data"):
                    break
        async with asyncio.timeout(20):
            await seen.cancelled.wait()


async def test_full_duplex_over_http2(wire):
    """Over HTTP/2 each message is answered before the next is sent."""
    server = HttpServer(Kit().harden(wire), host="127.0.0.1", port=0, setting="port", server="hypercorn")
    await server.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    connection.initiate_connection()
    connection.send_headers(
        1,
        [
            (":method", "POST"),
            (":path", ECHO),
            (":scheme", "http"),
            (":authority", "localhost"),
            ("content-type", LINES.media_type),
        ],
    )
    come, status = b"", ""

    async def until(lines: int) -> None:
        nonlocal come, status
        writer.write(connection.data_to_send())
        while come.count(b"\n") < lines:
            for event in connection.receive_data(await asyncio.wait_for(reader.read(65_536), 20)):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    come += event.data
            writer.write(connection.data_to_send())

    try:
        for number in range(1, 4):
            connection.send_data(1, stream(LINES, number, end=False))
            await until(number)
        connection.send_data(1, b"", end_stream=True)
        await until(4)
    finally:
        writer.close()
        await server.stop(0.5)
    assert status == "200"
    assert [msgspec.json.decode(line) for line in come.splitlines()][-1] == {"end": True}


async def test_a_stream_nobody_takes_lets_others_run():
    """A server that takes all at once, as servers do once a caller left, does not keep others from their turn."""

    async def send(message):
        """Take it without waiting."""

    outlet = Outlet(send, 200, [], idle=b"", opening=1.0, heartbeat=0.0)

    async def put() -> None:
        while True:
            await outlet.put(b"x")

    putting = asyncio.create_task(put())
    asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, putting.cancel)
    await asyncio.wait([putting])
    outlet.close()
    assert putting.cancelled()
