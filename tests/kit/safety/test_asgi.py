"""The gate around ASGI applications."""

import asyncio
import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from headgate.kit.asgi.problems import install
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Pipeline
from headgate.kit.safety import Gate
from headgate.kit.safety.asgi import ContentSafety
from tests.kit.safety.conftest import Broken, Told, Words

CALM = "All is well here. "


async def echo(request: Request) -> Response:
    """Answer with the body."""
    body = await request.body()
    return Response(
        body, media_type="application/octet-stream", headers={"x-length": request.headers["content-length"]}
    )


async def say(request: Request) -> Response:
    """Answer with the document of the body."""
    return JSONResponse(await request.json())


async def plain(request: Request) -> Response:
    """Answer with the text of the body."""
    return PlainTextResponse((await request.body()).decode())


async def tell(request: Request) -> Response:
    """A stream of the events in the body."""
    events = await request.json()

    async def source():
        try:
            for event in events:
                yield event
        finally:
            request.app.state.closed = True

    return StreamingResponse(source(), media_type="text/event-stream")


async def fail(_request: Request) -> Response:
    """A stream that breaks off."""

    async def source():
        yield "data: a\n\n"
        raise RuntimeError("broken off")

    return StreamingResponse(source(), media_type="text/event-stream")


def application():
    """An application that answers faults with problems."""
    app = Starlette(
        routes=[Route(f"/{each.__name__}", each, methods=["POST", "GET"]) for each in (echo, say, plain, tell, fail)]
    )
    install(app)
    app.state.closed = False
    return app


def client(inside=None, **options):
    """A client of an application inside the gates."""
    shell = Shell(ContentSafety(inside or application(), **options), Pipeline(()))
    return httpx.AsyncClient(transport=httpx.ASGITransport(shell), base_url="http://test")


def block(**options):
    """A gate that blocks one word."""
    return Gate([Words("badger")], **options)


def events(*chunks, **last):
    """Events with these chunks, and one that ends them."""
    made = [f"data: {json.dumps({'chunk': chunk})}\n\n" for chunk in chunks]
    return [*made, f"data: {json.dumps({'done': True, **last})}\n\n"]


def chunks_of(answer):
    """The documents of the events in an answer."""
    return [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"a": ["x", {"b": "a badger"}]}', "application/json"),
        (b'{"b": "a badger"}', "text/plain"),
        (b"a badger", "text/plain"),
        (b"x=1&y=a+b%61dger", "application/x-www-form-urlencoded"),
    ],
)
async def test_unwanted_input_never_reaches_the_application(content, kind):
    """A body with a text that is not allowed is answered with 403 and a problem that names the category."""
    async with client(input_gate=block()) as http:
        answer = await http.post("/echo", content=content, headers={"content-type": kind})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "content_blocked"
    assert "badger" in problem["detail"]
    assert "a badger" not in answer.text


async def test_a_refusal_points_at_the_text():
    """The problem has the JSON pointer of each text to blame."""
    async with client(input_gate=block()) as http:
        answer = await http.post("/say", json={"a": "x", "b": ["y", "badger"]})
    assert [each["pointer"] for each in answer.json()["errors"]] == ["/b/1"]


async def test_harmless_input_arrives_to_the_byte():
    """What passes is replayed to the application as it came."""
    body = b'{ "a" :  "x" }'
    async with client(input_gate=block()) as http:
        answer = await http.post("/echo", content=body)
    assert (answer.content, answer.headers["x-length"]) == (body, str(len(body)))


async def test_input_in_pieces_is_judged_whole():
    """A text that comes in several messages is judged as one."""

    async def pieces():
        for piece in (b'{"a": "a bad', b'ger"', b"}"):
            yield piece

    async with client(input_gate=block()) as http:
        assert (await http.post("/say", content=pieces())).status_code == 403


async def test_redacted_input_has_its_new_length():
    """A redacted body reaches the application with the length it now has."""
    async with client(input_gate=block(action="redact")) as http:
        answer = await http.post("/echo", json={"a": "a badger", "b": "fine"})
        form = await http.post("/echo", data={"a": "a badger", "b": "fine"})
        text = await http.post("/echo", content=b"Well. A badger.")
    assert answer.json() == {"a": "[removed]", "b": "fine"}
    assert answer.headers["x-length"] == str(len(answer.content))
    assert form.text == "a=%5Bremoved%5D&b=fine"
    assert text.text == "Well. [removed]"


async def test_only_chosen_pointers_are_judged():
    """With pointers, other texts of a body are left alone."""
    async with client(input_gate=block(), pointers=["/prompt"]) as http:
        assert (await http.post("/say", json={"name": "badger"})).status_code == 200
        assert (await http.post("/say", json={"prompt": "badger"})).status_code == 403


async def test_other_routes_are_left_alone():
    """Only the chosen methods and paths are judged; a prefix ends where a segment does."""
    async with client(input_gate=block(), output_gate=block(), paths=["/sa", "/plain/"]) as http:
        assert (await http.post("/say", json="badger")).status_code == 200
        assert (await http.post("/plain", content=b"badger")).status_code == 403
        assert (await http.request("GET", "/plain", content=b"badger")).status_code == 200


@pytest.mark.parametrize("on_error", ["closed", "open"])
async def test_a_body_too_large_to_judge(on_error):
    """More than is buffered is refused by a gate that fails closed, and arrives whole through one that fails open."""
    body = b'{"a": "' + b"x" * 300 + b'"}'

    async def pieces():
        for at in range(0, len(body), 50):
            yield body[at : at + 50]

    async with client(input_gate=block(on_error=on_error), buffer=100) as http:
        answer = await http.post("/plain", content=pieces())
    if on_error == "closed":
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    else:
        assert answer.content == body


@pytest.mark.parametrize(("on_error", "status"), [("closed", 415), ("open", 200)])
async def test_a_compressed_body_cannot_be_judged(on_error, status):
    """A compressed body is refused by a gate that fails closed."""
    async with client(input_gate=block(on_error=on_error)) as http:
        answer = await http.post("/echo", content=b"\x1f\x8b\x00", headers={"content-encoding": "gzip"})
    assert answer.status_code == status


async def test_bytes_that_are_no_text_pass():
    """A body that is neither JSON nor UTF-8 holds no text, and an empty one nothing."""
    async with client(input_gate=block()) as http:
        assert (await http.post("/echo", content=b"\xff\xfebadger")).content == b"\xff\xfebadger"
        assert (await http.post("/echo", content=b"")).content == b""


@pytest.mark.parametrize("route", ["/say", "/plain"])
async def test_unwanted_output_is_refused_before_it_starts(route):
    """A response with a text that is not allowed becomes a fault, also when the application answers faults itself."""
    async with client(output_gate=block()) as http:
        answer = await http.post(route, content=b'{"a": "a badger"}')
    assert (answer.status_code, answer.json()["code"]) == (403, "content_blocked")
    assert "a badger" not in answer.text


async def test_redacted_output_has_its_new_length():
    """A redacted response is sent with the length it now has, others to the byte."""
    async with client(output_gate=block(action="redact")) as http:
        answer = await http.post("/say", json={"a": "Well. A badger.", "b": 1})
        same = await http.post("/say", json={"a": "Well."})
    assert answer.json() == {"a": "Well. [removed]", "b": 1}
    assert answer.headers["content-length"] == str(len(answer.content))
    assert same.content == b'{"a":"Well."}'


@pytest.mark.parametrize(("on_error", "status"), [("closed", 503), ("open", 200)])
async def test_a_response_too_large_to_judge(on_error, status):
    """A response larger than what is buffered is refused, or passed on whole, as the gate fails."""
    async with client(output_gate=block(on_error=on_error), buffer=100) as http:
        answer = await http.post("/say", json="x" * 300)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == "x" * 300


async def test_what_compresses_inside_is_not_asked_to():
    """The application is asked for what can be judged, so that compression inside hides nothing."""
    async with client(GZipMiddleware(application(), minimum_size=1), output_gate=block()) as http:
        answer = await http.post("/say", json={"a": "a badger"}, headers={"accept-encoding": "gzip"})
        assert answer.status_code == 403
        assert "content-encoding" not in (await http.post("/say", json={"a": "x"})).headers


async def test_a_compressed_response_cannot_be_judged():
    """A response that is compressed nevertheless is refused by a gate that fails closed."""

    async def inside(scope, receive, send):
        response = Response(b"\x1f\x8b", media_type="application/json", headers={"content-encoding": "gzip"})
        await response(scope, receive, send)

    async with client(inside, output_gate=block()) as http:
        assert (await http.post("/")).json()["code"] == "content_unjudged"


async def test_a_stream_passes_event_by_event():
    """A harmless stream arrives to the byte, with its comments, names and ids."""
    sent = [": hi\n\n", 'id: 1\nevent: part\ndata: {"chunk":  "All is"}\n\n', *events(" well. ", CALM * 40, text=CALM)]
    async with client(output_gate=block()) as http:
        answer = await http.post("/tell", json=sent)
    assert answer.text == "".join(sent)


async def test_an_unwanted_stream_ends_with_an_error():
    """A stream that runs ends with an error event that holds the problem; nothing blocked is in it, and it stops."""
    app = application()
    sent = events(*[CALM] * 40, "here is a bad", "ger for you", *[CALM] * 40)
    async with client(app, output_gate=block()) as http:
        answer = await http.post("/tell", json=sent)
    assert answer.status_code == 200
    last = answer.text.strip().split("\n\n")[-1]
    name, data = last.split("\n")
    problem = json.loads(data.removeprefix("data: "))
    assert (name, problem["code"], problem["status"]) == ("event: error", "content_blocked", 403)
    assert "bad" not in answer.text.replace("badger", "")
    assert "done" not in answer.text
    assert answer.text.startswith(sent[0])
    async with asyncio.timeout(10):
        while not app.state.closed:
            await asyncio.sleep(0)


async def test_a_stream_that_begins_unwanted_does_not_start():
    """When nothing is out yet, a stream is refused as any response: with 403."""
    async with client(output_gate=block()) as http:
        answer = await http.post("/tell", json=events("a bad", "ger"))
    assert (answer.status_code, answer.json()["code"]) == (403, "content_blocked")


async def test_a_redacted_stream_keeps_its_events():
    """Redacted, the events of a stream stay, with the marker in the first that held what was taken out."""
    sent = events("Well. ", "A bad", "ger. ", "Fine. " + CALM * 30, text="Well. A badger. Fine.")
    async with client(output_gate=block(action="redact")) as http:
        answer = await http.post("/tell", json=sent)
    got = chunks_of(answer)
    assert [each["chunk"] for each in got[:3]] == ["Well. ", "[removed] ", ""]
    assert got[3]["chunk"] == "Fine. " + CALM * 30
    assert got[4] == {"done": True, "text": "Well. [removed] Fine."} or got[4]["text"] == "Well. [removed] Fine."


async def test_the_whole_text_in_the_last_event_is_judged():
    """A last event that repeats the text in another member lets nothing through that the chunks did not."""
    async with client(output_gate=block()) as http:
        answer = await http.post("/tell", json=events(CALM, joke="a badger"))
    assert answer.status_code == 403


async def test_members_beside_the_text_are_judged_once():
    """What is the same in every event, such as an id, is asked about once."""
    scorer = Words("badger")
    sent = [f"data: {json.dumps({'chunk': 'x ', 'model': 'tiny'})}\n\n" for _ in range(50)]
    async with client(output_gate=Gate([scorer])) as http:
        await http.post("/tell", json=sent)
    assert scorer.asked.count("tiny") == 1


async def test_a_heartbeat_is_not_held():
    """A comment goes out while text before it waits to be judged."""
    more = asyncio.Event()
    first: asyncio.Queue = asyncio.Queue()

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: wait\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b": beat\n\n", "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b""})

    sent = []

    async def send(message):
        sent.append(message)
        first.put_nowait(message)

    async def receive():
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    task = asyncio.create_task(ContentSafety(inside, output_gate=block())(scope, receive, send))
    assert (await asyncio.wait_for(first.get(), 10))["type"] == "http.response.start"
    assert (await asyncio.wait_for(first.get(), 10))["body"] == b": beat\n\n"
    more.set()
    await task
    assert b"".join(message.get("body", b"") for message in sent) == b": beat\n\ndata: wait\n\n"


async def test_what_waits_is_bounded():
    """Events without text that wait behind one with text are held up to the buffer, and no further."""
    sent = ["data: wait\n\n", *[f"data: {json.dumps({'n': 1})}\n\n"] * 200]
    async with client(output_gate=block(), buffer=500) as http:
        assert (await http.post("/tell", json=sent)).json()["code"] == "content_unjudged"
        answer = await http.post("/tell", json=["data: " + "x" * 2000])
        assert answer.json()["code"] == "content_unjudged"


async def test_an_application_that_fails_fails():
    """An error of the application is its own: it is not swallowed, and what was held is not sent."""
    async with client(output_gate=block()) as http:
        answer = await http.post("/fail")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "data" not in answer.text


async def test_an_application_that_catches_everything_is_stopped():
    """Once a response is refused, whatever the application still sends is dropped."""

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        for body in (b'"badger"', b'"more"'):
            try:
                await send({"type": "http.response.body", "body": body})
            except asyncio.CancelledError:
                continue

    async with client(inside, output_gate=block()) as http:
        answer = await http.post("/")
    assert answer.json()["code"] == "content_blocked"


async def test_a_refused_response_is_no_defect(logged):
    """An application whose response is refused, whole or in its midst, is not logged as one that failed."""
    async with client(output_gate=block()) as http:
        await http.post("/say", json="badger")
        await http.post("/tell", json=events(*[CALM] * 40, "badger"))
    assert not [line for line in logged() if line["level"] in {"error", "warning"}]


async def test_a_cancelled_caller_stays_cancelled():
    """A cancellation from outside is not taken for the end of a refused response."""
    waiting = asyncio.Event()

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        waiting.set()
        await asyncio.Event().wait()

    async def send(message):
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    task = asyncio.create_task(ContentSafety(inside, output_gate=block())(scope, None, send))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_scorer_that_fails_is_told_as_such():
    """Content that cannot be judged is answered with 503 and when to come back."""
    async with client(input_gate=Gate([Broken()])) as http:
        answer = await http.post("/say", json="x")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_sides_are_told_apart():
    """The observer learns which side a finding is of."""
    told = Told()
    gate = Gate([Words("badger")], action="flag", observer=told)
    async with client(input_gate=gate, output_gate=gate) as http:
        assert (await http.post("/say", json="badger")).status_code == 200
    assert [side for side, judgement in told.judgements if judgement.categories] == ["input", "output"]


async def test_a_caller_who_leaves_is_passed_on():
    """A disconnect instead of a body reaches the application."""
    got = []

    async def inside(scope, receive, send):
        got.append(await receive())

    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    await ContentSafety(inside, input_gate=block())(scope, receive, None)
    assert got == [{"type": "http.disconnect"}]


async def test_lifespan_passes():
    """The lifespan of the application is none of the gate's business."""
    seen = []

    async def inside(scope, receive, send):
        seen.append(scope["type"])

    await ContentSafety(inside, input_gate=block())({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


async def test_what_a_framework_leaves_in_the_scope_is_seen_outside():
    """The route that a framework notes in the scope is there for the shell outside, which counts and logs by it."""
    inside = application()
    seen = []

    async def outside(scope, receive, send):
        await ContentSafety(inside, input_gate=block(), output_gate=block())(scope, receive, send)
        seen.append(scope["endpoint"])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(outside), base_url="http://test") as http:
        await http.post("/say", content=iter_of(b'"hello"'), headers={"accept-encoding": "gzip"})
    assert seen == [say]


async def iter_of(*chunks):
    """A body without a length."""
    for chunk in chunks:
        yield chunk
