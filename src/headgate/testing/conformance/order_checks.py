"""What the order service promises over REST, server-sent events and WebSocket."""

import asyncio
import json
import time

import httpx

from headgate.testing.conformance import orders
from headgate.testing.conformance.suite import Target, check
from headgate.testing.conformance.wire import ask, client, expect, expect_dressed, expect_problem, final, head, raw

REQUESTS: tuple[tuple[str, str, bytes | None], ...] = (
    ("POST", "/orders", b'{"name":"tea","quantity":2}'),
    ("POST", "/orders", b'{"name":"tea"}'),
    ("POST", "/orders", b'{"name":"' + b"t" * 30 + b'"}'),
    ("POST", "/orders", b'{"name":"tea","quantity":0}'),
    ("POST", "/orders", b'{"quantity":"x"}'),
    ("POST", "/orders", b'{"name":"tea","colour":"green"}'),
    ("POST", "/orders", b'{"name":'),
    ("POST", "/orders", b"[1]"),
    ("POST", "/orders", b"\xff\xfe"),
    ("POST", "/orders", b""),
    ("GET", "/orders/1", None),
    ("GET", "/orders/2", None),
    ("GET", "/boom", None),
    ("GET", "/fault", None),
    ("GET", "/nowhere", None),
    ("DELETE", "/orders/1", None),
    ("GET", "/docs", None),
)
"""Requests that every framework answers alike: compare `answers` of two targets."""


async def answers(target: Target) -> dict[str, tuple[int, str, object]]:
    """Status, content type and body (without the request id) of each of `REQUESTS`."""
    found = {}
    async with client(target) as http:
        for method, path, body in REQUESTS:
            headers = {"content-type": "application/json"} if body is not None else {}
            response = await http.request(method, path, content=body, headers=headers)
            document = response.json()
            document.pop("request_id", None)
            kind = response.headers["content-type"].partition(";")[0]
            found[f"{method} {path} {body!r}"] = (response.status_code, kind, document)
    return found


@check("rest")
async def check_created(target: Target) -> None:
    """A good order is answered with 200 and the order, defaults filled in."""
    response = await ask(target, "POST", "/orders", json={"name": "tea"})
    expect((response.status_code, response.json()) == (200, {"name": "tea", "quantity": 1}), response.text)
    expect_dressed(response)


@check("rest")
async def check_validation(target: Target) -> None:
    """Each thing wrong with the input is located by a JSON pointer."""
    document = expect_problem(
        await ask(target, "POST", "/orders", json={"name": "t" * 30, "quantity": 0}), 400, "invalid_argument"
    )
    expect({each["pointer"] for each in document["errors"]} == {"/name", "/quantity"}, str(document["errors"]))


@check("rest")
async def check_malformed_json(target: Target) -> None:
    """A body that is not JSON is a 400, never defaults or a defect."""
    response = await ask(target, "POST", "/orders", content=b'{"name":', headers={"content-type": "application/json"})
    expect_problem(response, 400, "invalid_argument")


@check("rest")
async def check_method(target: Target) -> None:
    """A method that is not possible is a 405 that names those which are."""
    response = await ask(target, "DELETE", "/orders/1")
    expect_problem(response, 405, "method_not_allowed")
    expect("GET" in response.headers.get("allow", ""), f"Allow: {response.headers.get('allow')}")


@check("rest")
async def check_fault(target: Target) -> None:
    """A fault keeps its code, hint and time to retry."""
    response = await ask(target, "GET", "/fault")
    document = expect_problem(response, 503, "warehouse_closed")
    expect(document["hint"] == "try again", str(document))
    expect(response.headers.get("retry-after") == "7", f"Retry-After: {response.headers.get('retry-after')}")


@check("rest")
async def check_defect(target: Target) -> None:
    """An exception nobody foresaw is a 500 that tells nothing of it."""
    response = await ask(target, "GET", "/boom")
    expect_problem(response, 500, "internal")
    expect(orders.SECRET not in response.text, "the exception's text leaks")


@check("rest")
async def check_chunked_body(target: Target) -> None:
    """Bytes are counted as they arrive: a chunked body beyond the limit is refused."""
    chunk = b"x" * 65_536
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for _ in range(target.max_body_size // len(chunk) + 2))
    request = head(target, "POST", "/orders", "Content-Type: application/json", "Transfer-Encoding: chunked")
    answer = final(await raw(target, request + body + b"0\r\n\r\n"))
    expect(b" 413 " in answer.split(b"\r\n")[0], f"{answer[:60]!r}")
    expect(b"body_too_large" in answer, "the problem has another code")
    expect(b"content-security-policy" in answer.lower(), "the refusal lacks security headers")


@check("rest")
async def check_asked_deadline(target: Target) -> None:
    """A caller who asks for less time gets a 504 in that time."""
    began = time.monotonic()
    response = await ask(target, "GET", "/slow", headers={"x-request-timeout-ms": "200"})
    expect_problem(response, 504, "request_timeout")
    expect(time.monotonic() - began < 10, "it took far longer")


@check("rest")
async def check_compressed(target: Target) -> None:
    """A small answer is not compressed, whoever accepts it."""
    response = await ask(target, "GET", "/orders/1", headers={"accept-encoding": "gzip"})
    expect("content-encoding" not in response.headers, "a few bytes were compressed")


@check("sse")
async def check_events(target: Target) -> None:
    """An event stream arrives whole, with the headers of every answer."""
    response = await ask(target, "GET", "/events", params={"count": 3})
    expect(response.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n", repr(response.text))
    expect(response.headers["content-type"].startswith("text/event-stream"), response.headers["content-type"])
    expect_dressed(response)


@check("sse")
async def check_events_fail(target: Target) -> None:
    """A stream that fails ends with an error event that tells nothing of the exception, and ends properly."""
    response = await ask(target, "GET", "/events", params={"fail": 1})
    first, _, rest = response.text.partition("\n\n")
    expect((response.status_code, first) == (200, "data: 0"), response.text)
    expect(rest.startswith("event: error\n"), f"after the first event: {rest!r}")
    document = json.loads(rest.partition("data: ")[2])
    expect(document["code"] == "internal", str(document))
    expect(orders.SECRET not in response.text, "the exception's text leaks")


@check("sse")
async def check_events_deadline(target: Target) -> None:
    """A stream beyond its deadline ends with an error event, not with a second response."""
    response = await ask(target, "GET", "/events", params={"stall": 1}, headers={"x-request-timeout-ms": "300"})
    expect(response.status_code == 200, f"status {response.status_code}")
    expect('"code":"request_timeout"' in response.text, response.text)


@check("sse")
async def check_prompt_events(target: Target) -> None:
    """The first event is there before the stream goes on."""
    async with client(target) as http, http.stream("GET", "/events", params={"stall": 1}) as response:
        async with asyncio.timeout(5):
            first = await anext(response.aiter_text())
    expect(first == "data: 0\n\n", repr(first))


@check("sse")
async def check_caller_leaves(target: Target) -> None:
    """A caller who hangs up does not leave the service as slow as the answer: the next is served at once."""
    async with client(target, timeout=0.3) as http:
        for _ in range(3):
            try:
                await http.get("/slow")
            except httpx.TimeoutException:
                continue
            raise AssertionError("the slow answer was not slow")
    expect((await ask(target, "GET", "/orders/1")).status_code == 200, "the service no longer answers")


@check("websocket")
async def check_echo(target: Target) -> None:
    """A socket opens with a request id, and says what it hears."""
    from websockets.asyncio.client import connect

    async with connect(_socket(target), additional_headers=dict(target.headers)) as socket:
        for text in ("one", "zwei", "三"):
            await socket.send(text)
            expect(await socket.recv() == text, "it said something else")
        given = socket.response.headers if socket.response else {}
        expect(given.get("x-request-id"), "the handshake has no X-Request-ID")


@check("websocket")
async def check_socket_defect(target: Target) -> None:
    """A socket whose handler fails is closed with 1011, and told nothing of the exception."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed

    async with connect(_socket(target), additional_headers=dict(target.headers)) as socket:
        await socket.send("boom")
        try:
            while True:
                expect(orders.SECRET not in str(await socket.recv()), "the exception's text leaks")
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 0
            expect(code == 1011, f"closed with {code}")
            expect(orders.SECRET not in str(closed), "the exception's text leaks")


@check("websocket")
async def check_socket_origin(target: Target) -> None:
    """A page of another site cannot open a socket."""
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidStatus

    try:
        async with connect(
            _socket(target),
            additional_headers=dict(target.headers),
            origin="https://evil.example",  # type: ignore[arg-type]
        ):
            pass
    except InvalidStatus as refused:
        expect(refused.response.status_code == 403, f"refused with {refused.response.status_code}")
    else:
        raise AssertionError("it opened")


def _socket(target: Target) -> str:
    return target.url.replace("http", "ws", 1) + "/echo"
