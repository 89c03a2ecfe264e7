"""The middleware every request passes through."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from headgate.kit.asgi import problems
from headgate.kit.asgi.requests import RequestMiddleware, request_id_from
from headgate.kit.observe.logs import current_request_id
from headgate.kit.serve.http import HttpServer


async def echo(request: Request) -> Response:
    """Sends the body back."""
    return PlainTextResponse(await request.body(), headers={"server": "secret/1.0"})


async def whoami(_request: Request) -> Response:
    """Sends the id of the request."""
    return PlainTextResponse(current_request_id())


async def forever(_request: Request) -> Response:
    """Never answers."""
    await asyncio.Event().wait()
    raise AssertionError


async def endless(_request: Request) -> Response:
    """Begins an answer that never ends."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.Event().wait()

    return StreamingResponse(parts())


async def swallow(request: Request) -> Response:
    """Answers whatever happens to the body, as frameworks do."""
    try:
        await request.body()
    except Exception:  # noqa: BLE001
        return PlainTextResponse("swallowed", status_code=400)
    return PlainTextResponse("fine")


async def broken_midway(_request: Request) -> Response:
    """Breaks after its answer has begun."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError

    return StreamingResponse(parts())


@pytest.fixture
def app() -> Starlette:
    """An application with all of these."""
    handlers = (echo, whoami, forever, endless, swallow, broken_midway)
    made = Starlette(
        routes=[
            *(Route(f"/{handler.__name__}", handler, methods=["GET", "POST"]) for handler in handlers),
            Route("/shelves/{shelf}", whoami),
            Route("/health", whoami),
        ]
    )
    problems.install(made)
    return made


async def test_an_id_for_everybody(client, app):
    """A request without an id gets one, on the response and inside the application."""
    async with client(app) as http:
        first, second = await http.get("/whoami"), await http.get("/whoami")
    assert first.headers["x-request-id"] == first.text
    assert first.text != second.text


async def test_a_good_id_is_kept(client, app):
    """A well-formed id of the caller is used."""
    async with client(app) as http:
        answer = await http.get("/whoami", headers={"X-Request-ID": "abc-1.2_Z"})
    assert (answer.text, answer.headers["x-request-id"]) == ("abc-1.2_Z", "abc-1.2_Z")


@given(st.text() | st.from_regex(r"[A-Za-z0-9._-]{1,130}", fullmatch=True))
def test_only_good_ids_are_kept(presented):
    """An id is kept exactly when it is 1 to 128 letters, digits, dots, dashes and underscores."""
    good = 0 < len(presented) <= 128 and all(c.isascii() and (c.isalnum() or c in "._-") for c in presented)
    assert (request_id_from([presented]) == presented) == good


def test_two_ids_are_none():
    """Two headers with an id leave open which it is, so that a new one is made."""
    assert request_id_from(["a", "b"]) not in {"a", "b"}


async def test_headers_of_every_response(client, app):
    """Responses are not to be sniffed and do not tell which server made them; problems included."""
    async with client(app) as http:
        for path in ("/echo", "/nowhere"):
            answer = await http.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
            assert answer.headers["x-request-id"]


async def test_an_announced_body_that_is_too_large(client, app):
    """A body announced to be too large is refused before it is read."""
    async with client(app, max_body_bytes=10) as http:
        answer = await http.post("/echo", content=b"x" * 11)
        assert (await http.post("/echo", content=b"x" * 10)).status_code == 200
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/echo", "/swallow"])
async def test_a_body_that_grows_too_large(client, app, path):
    """Bytes are counted as they arrive, and the refusal is sent even if the application made another answer of it."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x"

    async with client(app, max_body_bytes=10) as http:
        answer = await http.post(path, content=parts())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("announced", [True, False])
async def test_the_refusal_is_read_by_a_client_that_is_still_sending(app, metrics, announced):
    """A client that sends all of its body first still gets the answer, and not a reset connection."""
    size = 3 * 1024 * 1024

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(size // 65536):
            yield b"x" * 65536

    wrapped = RequestMiddleware(app, metrics=metrics, max_body_bytes=size - 1)
    served = HttpServer(wrapped, host="127.0.0.1", port=0, setting="api_port")
    await served.start()
    async with httpx.AsyncClient(base_url=served.url) as http:
        answer = await http.post("/echo", content=b"x" * size if announced else parts())
    await served.stop()
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 5000])
async def test_a_content_length_that_is_none(client, app, length):
    """A Content-Length that is no number, or an absurd one, is refused without being believed."""
    async with client(app) as http:
        headers = [(b"content-length", length.encode())]
        answer = await http.send(httpx.Request("POST", "http://test/echo", headers=headers, content=b""))
    assert answer.status_code in {400, 413}
    assert answer.json()["code"] in {"malformed_request", "body_too_large"}


async def test_time_runs_out(client, app):
    """A request that takes too long is answered with 504."""
    async with client(app, timeout_ms=20) as http:
        answer = await http.get("/forever")
    assert (answer.status_code, answer.json()["code"]) == (504, "request_timeout")


async def test_streams_have_no_limit(client, app):
    """Under a path without a limit only the caller ends a request."""
    async with client(app, timeout_ms=1, untimed=["/forever"]) as http:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.get("/forever"), 0.1)


@pytest.mark.parametrize("path", ["/endless", "/broken_midway"])
async def test_a_response_that_has_begun_is_cut_off(app, metrics, path, logged):
    """When time runs out, or something breaks, after the response began, it stays incomplete."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        await asyncio.Event().wait()

    scope = {
        "type": "http", "asgi": {"spec_version": "2.4"}, "method": "GET", "path": path, "raw_path": path.encode(),
        "headers": [], "query_string": b"", "client": ("127.0.0.1", 1),
    }  # fmt: skip
    await RequestMiddleware(app, metrics=metrics, timeout_ms=50)(scope, receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[1]["more_body"]
    (line,) = [line for line in logged() if line["event"] == "request"]
    assert (line["status"], line["complete"]) == (200, False)


async def test_one_line_per_request(client, app, logged):
    """A request is logged once: what was asked, what came of it, how long it took; never the query."""
    async with client(app) as http:
        await http.post("/shelves/7?token=sesame", headers={"x-request-id": "r-1"})
        await http.post("/echo?q=1", content=b"hello")
    lines = [line for line in logged() if line["logger"] == "headgate.access"]
    assert lines[0]["request_id"] == "r-1"
    assert (lines[0]["path"], lines[0]["route"], lines[0]["status"]) == ("/shelves/7", "/shelves/{shelf}", 405)
    assert (lines[1]["bytes_in"], lines[1]["bytes_out"], lines[1]["complete"]) == (5, 5, True)
    assert lines[1]["peer"] == "127.0.0.1"
    assert "sesame" not in json.dumps(lines)


async def test_probes_are_logged_quietly(client, app, logged):
    """Probes, which come every few seconds, are logged at debug."""
    async with client(app) as http:
        await http.get("/health")
        await http.get("/whoami")
    assert [line["level"] for line in logged() if line["event"] == "request"] == ["debug", "info"]


async def test_requests_are_counted(client, app, metrics):
    """A request is counted under its template; an unknown path under none."""
    async with client(app) as http:
        await http.get("/shelves/7")
        await http.get("/shelves/8")
        await http.get("/nowhere")
    text = metrics.render().decode()
    assert 'headgate_http_requests_total{method="GET",route="/shelves/{shelf}",status="2xx"} 2.0' in text
    assert 'headgate_http_requests_total{method="GET",route="(unmatched)",status="4xx"} 1.0' in text
    assert "headgate_http_requests_in_flight 0.0" in text


class TestBehindFastApi:
    """The same, with FastAPI, which hides the body's errors and the routers' prefixes."""

    @pytest.fixture
    def app(self):
        """FastAPI's application of the other tests."""
        from fastapi import APIRouter, FastAPI

        made = FastAPI()
        problems.install(made)
        inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer/{team}")

        @inner.post("/{name}")
        async def post(team: str, name: str, body: dict[str, int]) -> int:
            return len(body)

        outer.include_router(inner)
        made.include_router(outer)
        return made

    async def test_the_whole_template(self, client, app, metrics):
        """The template has the prefixes of the routers a route was included through."""
        async with client(app) as http:
            assert (await http.post("/outer/a/inner/b", json={})).status_code == 200
        assert 'route="/outer/{team}/inner/{name}",status="2xx"' in metrics.render().decode()

    async def test_a_body_that_grows_too_large(self, client, app):
        """The refusal is a 413 though FastAPI makes a 400 of any trouble with the body."""

        async def parts() -> AsyncIterator[bytes]:
            yield b'{"a": 1'
            yield b"1" * 20

        async with client(app, max_body_bytes=10) as http:
            answer = await http.post("/outer/a/inner/b", content=parts(), headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_other_protocols_pass(metrics):
    """What is not HTTP is handed on untouched."""
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    scope = {"type": "lifespan"}
    await RequestMiddleware(app, metrics=metrics)(scope, print, print)
    assert seen == [(scope, print, print)]


async def test_a_cancelled_request_is_still_logged(client, app, logged):
    """A request whose caller goes away is logged as such."""
    async with client(app, untimed=["/forever"]) as http:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(http.get("/forever"), 0.1)
    assert [line["status"] for line in logged() if line["event"] == "request"] == [499]
