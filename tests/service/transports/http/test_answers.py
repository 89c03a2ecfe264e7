"""Negotiation, problems, validators."""

import asyncio
import json

import httpx
import msgspec
import pytest

from headgate.kit.controls.principal import Principal
from headgate.kit.current import CURRENT
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.service.transports.http.alone import own_call
from tests.kit.asgi.wire import http as request
from tests.kit.asgi.wire import serve
from tests.service.transports.http.library import Library

NEW = "/books/new"
BOOK = {"title": "t", "pages": 2}
PACKED = msgspec.msgpack.encode(BOOK)


@pytest.mark.parametrize("kind", ["application/msgpack", "application/x-msgpack", "application/vnd.msgpack"])
async def test_msgpack(http, kind):
    """MessagePack is read and written under each of its names."""
    answer = await http.post(NEW, content=PACKED, headers={"content-type": kind, "accept": kind})
    assert (answer.status_code, answer.headers["content-type"]) == (200, kind)
    assert msgspec.msgpack.decode(answer.content) == BOOK


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", 'Application/JSON;Charset="UTF-8"', "application/vnd.shop+json"]
)
async def test_json_types(http, kind):
    """JSON is known by its essence, whatever the parameters and the case."""
    assert (await http.post(NEW, content=json.dumps(BOOK), headers={"content-type": kind})).json() == BOOK


@pytest.mark.parametrize(
    ("kind", "coding"),
    [("text/plain", None), ("application/json; charset=latin-1", None), ("", None), ("application/json", "gzip")],
)
async def test_415(http, kind, coding):
    """A body of another type, charset or encoding, or of no type, is 415."""
    headers = {"content-type": kind} if kind else {}
    if coding:
        headers["content-encoding"] = coding
    answer = await http.post(NEW, content=json.dumps(BOOK).encode(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/msgpack;q=0.5, application/json", "application/json"),
        ("application/json;q=0.5, application/msgpack", "application/msgpack"),
        ("application/*;q=0.1, application/json;q=0", "application/msgpack"),
        ("application/msgpack, */*", "application/msgpack"),
        ("text/html, */*;q=0.1", "application/json"),
        ("nonsense", "application/json"),
        ("", "application/json"),
    ],
)
async def test_accept(http, accept, kind):
    """The form with the highest weight is given, then the one named more exactly, then the request's."""
    answer = await http.post(NEW, json=BOOK, headers={"accept": accept})
    assert (answer.headers["content-type"], answer.headers["vary"]) == (kind, "Accept")


async def test_usual_form(http):
    """Who accepts anything is answered in the form of the request."""
    answer = await http.post(NEW, content=PACKED, headers={"content-type": "application/msgpack"})
    assert answer.headers["content-type"] == "application/msgpack"


async def test_406(http, seen):
    """None of the accepted types being possible is 406, and the method is not called."""
    answer = await http.post(NEW, json=BOOK, headers={"accept": "text/html"})
    assert (answer.status_code, answer.json()["code"], answer.json()["status"]) == (406, "not_acceptable", 406)
    assert seen.calls == []


async def test_several_accepts(wire):
    """Several Accept headers count as one."""
    headers = [(b"accept", b"application/msgpack"), (b"accept", b"text/html")]
    found = await serve(wire, request("/kept", headers=headers))
    assert found.headers["content-type"] == "application/msgpack"


async def test_problems(http):
    """Faults are problems in the form that is accepted, with kind and time to wait."""
    answer = await http.post("/library.Library/Busy")
    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
    assert (answer.headers["retry-after"], answer.json()["retry_after"]) == ("3", 2.5)
    for accept in ("application/msgpack", "application/problem+msgpack, application/msgpack;q=0.1"):
        answer = await http.post("/library.Library/Busy", headers={"accept": accept})
        assert answer.headers["content-type"] == "application/problem+msgpack"
        assert msgspec.msgpack.decode(answer.content)["kind"] == "RESOURCE_EXHAUSTED"
    answer = await http.post("/nowhere", headers={"accept": "application/msgpack"})
    assert msgspec.msgpack.decode(answer.content)["code"] == "path_not_found"


async def test_defects(http, logged):
    """An exception that is no fault is told to the log alone, under the id that the caller is told."""
    answer = await http.post("/library.Library/Broken")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "hunter2" not in answer.text
    assert answer.json()["request_id"]
    assert any("hunter2" in json.dumps(line) for line in logged())


@pytest.mark.parametrize("body", [b"{", b'{"title":"\xff"}', b"[" * 1_500, b'{"title":"t"} x'])
async def test_broken_json(http, body):
    """What is not JSON is refused, whatever is wrong with it."""
    answer = await http.post(NEW, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert "not JSON" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b"\xc1", b"\x82\xa5title", b"\x91" * 1_900])
async def test_broken_msgpack(http, body):
    """What is not MessagePack is refused, whatever is wrong with it."""
    headers = {"content-type": "application/msgpack", "accept": "application/json"}
    answer = await http.post(NEW, content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["errors"]


async def test_a_method_that_a_service_does_not_have(http):
    """Below the path of a service it is said that the method is missing, elsewhere that there is nothing."""
    path = f"/{Library.contract().full_name}"
    for where, code in ((f"{path}/Nope", "unknown_method"), ("/nope", "path_not_found"), (path, "path_not_found")):
        answer = await http.post(where, json={})
        assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_too_large(wire):
    """A body over the limit is 413, announced or found."""
    announced = request(
        NEW, method="POST", headers=[(b"content-length", b"2001"), (b"content-type", b"application/json")], body=None
    )
    assert (await serve(wire, announced)).status == 413
    found = request(NEW, method="POST", headers=[(b"content-type", b"application/json")], body=[b"x" * 1_500] * 2)
    assert (await serve(wire, found)).problem["code"] == "body_too_large"


async def test_etag(http):
    """What is kept has a validator: who has it already is told so, and no more."""
    answer = await http.get("/kept")
    assert (answer.headers["cache-control"], answer.headers["etag"][:3]) == ("public, max-age=60", 'W/"')
    for known in (answer.headers["etag"], f'"other", {answer.headers["etag"][2:]}', "*"):
        again = await http.get("/kept", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == answer.headers["etag"]
    assert (await http.get("/kept", headers={"if-none-match": '"other"'})).status_code == 200
    packed = await http.get("/kept", headers={"accept": "application/msgpack"})
    assert packed.headers["etag"] != answer.headers["etag"]
    assert "etag" not in (await http.get("/books/7")).headers


async def test_own_call(http, seen):
    """Without the kit a call has its caller's id and trace, and ends when its time is up."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await http.post(NEW, json=BOOK, headers={"x-request-id": "r-1", "traceparent": trace})
    (call,) = seen.calls
    assert (call.request_id, call.trace.trace_id, call.route) == ("r-1", trace[3:35], NEW)
    answer = await http.post("/library.Library/Slow", headers={"x-request-timeout-ms": "30"})
    assert (answer.status_code, answer.json()["code"]) == (504, "request_timeout")
    answer = await http.post("/library.Library/Ping", headers={"x-request-timeout-ms": "soon"})
    assert answer.json()["code"] == "malformed_timeout"


async def test_hardened(wire, seen):
    """Inside the kit the call is the kit's: its principal passes the guard, its route is a template in the metrics."""
    kit = Kit(HardeningSettings(api_key="ann=a-key-of-thirty-two-characters-x", log_format="json"))
    headers = {"x-api-key": "a-key-of-thirty-two-characters-x", "x-request-id": "r-2"}
    transport = httpx.ASGITransport(kit.harden(wire))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as http:
        assert (await http.get("/mine")).headers["cache-control"] == "private, max-age=30"
        answer = await http.post(NEW, json=BOOK)
        assert (answer.json(), answer.headers["x-request-id"]) == (BOOK, "r-2")
        await http.get("/books/7")
        assert (await http.get("/nowhere")).json()["request_id"] == "r-2"
    assert seen.calls[0].principal.id == "ann"
    assert 'route="/books/{key}"' in kit.metrics.render().decode()


async def test_another_call(wire, seen):
    """A request made while another call is served is a call of its own: it has nothing of the other's identity."""
    outer = own_call({"path": NEW, "method": "POST", "headers": [(b"x-request-id", b"outer")]})
    outer.principal = Principal("root")
    token = CURRENT.set(outer)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(wire), base_url="http://test") as http:
            assert (await http.post(NEW, json=BOOK)).status_code == 200
    finally:
        CURRENT.reset(token)
    assert seen.calls[0].principal.id == ""


async def test_guard(http):
    """Who is unknown is told how to be known, and may not keep what is another's."""
    answer = await http.get("/mine")
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


async def test_lifespan_and_sockets(wire):
    """Lifespan is answered, a socket that nobody serves is refused."""
    said: asyncio.Queue = asyncio.Queue()
    for kind in ("lifespan.startup", "lifespan.shutdown", "websocket.connect"):
        said.put_nowait({"type": kind})
    sent: list[str] = []

    async def send(message):
        sent.append(message["type"])

    await wire({"type": "lifespan"}, said.get, send)
    await wire({"type": "websocket", "path": "/x", "headers": []}, said.get, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]
