"""Responses that are judged as they run: text, JSON lines and events, cut anywhere."""

import asyncio
import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.safety import Gate
from headgate.kit.safety.asgi import ContentSafety
from tests.kit.safety.conftest import Broken, Stuck, Words

CALM = "Allt är väl här. "
TEXT, LINES, EVENTS = b"text/plain", b"application/x-ndjson", b"text/event-stream"


async def answer(gate, kind, *chunks, headers=(), buffer=1024):
    """What goes out of an application that sends these chunks, and the fault it ends with."""

    async def inside(scope, receive, send):
        start = [(b"content-type", kind), *headers] if kind else list(headers)
        await send({"type": "http.response.start", "status": 200, "headers": start})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    sent, code = [], ""

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    try:
        await ContentSafety(inside, output_gate=gate, buffer=buffer)(scope, None, send)
    except PermissionDenied as fault:
        code = fault.code
    return sent, b"".join(message.get("body", b"") for message in sent), code


def cut(body, places):
    """The body, cut at these places."""
    at = sorted({0, len(body), *(place % (len(body) + 1) for place in places)})
    return [body[start:end] for start, end in itertools.pairwise(at)]


def whole(kind, *texts):
    """A body of this kind with the texts."""
    if kind == TEXT:
        return "".join(texts).encode()
    documents = [json.dumps({"chunk": text}, ensure_ascii=False) for text in texts]
    return "".join(f"{each}\n" if kind == LINES else f"data: {each}\n\n" for each in documents).encode()


@pytest.mark.parametrize("kind", [TEXT, LINES, EVENTS])
@given(places=st.lists(st.integers(0, 500), max_size=12))
def test_harmless_streams_arrive_to_the_byte(kind, places):
    """Cut within characters, lines and events, a harmless stream arrives as it was sent."""
    body = whole(kind, CALM, CALM * 8, "ö")
    gate = Gate([Words("badger")], hold_back=40)
    assert asyncio.run(answer(gate, kind, *cut(body, places)))[1:] == (body, "")


@pytest.mark.parametrize("kind", [TEXT, LINES, EVENTS])
@given(places=st.lists(st.integers(0, 1000), max_size=12))
def test_unwanted_streams_end(kind, places):
    """However it is cut, nothing of what is not allowed goes out, and the stream ends with a fault."""
    body = whole(kind, *[CALM] * 10, "a bad", "gér")
    gate = Gate([Words("badgér")], hold_back=40)
    _, out, code = asyncio.run(answer(gate, kind, *cut(body, places)))
    assert code == "content_blocked"
    assert body.startswith(out)
    assert b"bad" not in out


@pytest.mark.parametrize("kind", [TEXT, LINES, EVENTS])
async def test_a_redacted_stream_has_no_length(kind):
    """A length that was promised for a stream is not, once its text may change."""
    body = whole(kind, CALM, "Ett badger. ", CALM)
    gate = Gate([Words("badger")], action="redact", hold_back=40)
    length = () if kind == TEXT else ((b"Content-Length", str(len(body)).encode()),)
    sent, out, _ = await answer(gate, kind, body, headers=length)
    assert b"[removed]" in out
    assert b"badger" not in out
    assert [name for name, _ in sent[0]["headers"]] == [b"content-type"]


async def test_text_goes_out_while_it_runs():
    """Of a text without a length, what was judged is out before the rest has come."""
    first, more = asyncio.Event(), asyncio.Event()

    async def inside(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/markdown")]})
        await send({"type": "http.response.body", "body": (CALM * 8).encode(), "more_body": True})
        await more.wait()
        await send({"type": "http.response.body", "body": b"end"})

    async def send(message):
        if message["type"] == "http.response.body":
            first.set()

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    app = ContentSafety(inside, output_gate=Gate([Words("badger")], hold_back=40))
    task = asyncio.create_task(app(scope, None, send))
    await asyncio.wait_for(first.wait(), 10)
    more.set()
    await task


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (b"text/html", b"<p>a badger</p>"),
        (b"", b"a badger"),
        (b"application/atom+xml", b"<a>badger</a>"),
        (b"text/plain; charset=utf-16-le", "a badger".encode("utf-16-le")),
        (b"TEXT/Event-Stream; charset=utf-8", b'data: "bad"\n\ndata: "ger"\n\n'),
        (b"text/event-stream", b'data:  {"chunk": "b\\u0061dger"}\n\n'),
    ],
)
async def test_texts_of_every_kind_are_judged(kind, body):
    """Text is judged whatever it is called, and in the encoding it is in."""
    assert (await answer(Gate([Words("badger")]), kind, body))[1:] == (b"", "content_blocked")


async def test_bytes_that_are_no_text_stay():
    """Bytes of a text that are not in its encoding go out as they came; other kinds are not judged."""
    assert (await answer(Gate([Words("badger")]), TEXT, b"a\xff", b"\xc3"))[1] == b"a\xff\xc3"
    assert (await answer(Gate([Words("badger")]), b"image/png", b"badger"))[1] == b"badger"


async def test_blank_lines_pass():
    """Blank lines, which keep a connection open, are not held, and a line without an end is one."""
    body = b'\n{"chunk": "all"}\r\n\n plain\n{"chunk": " well"}'
    assert (await answer(Gate([Words("badger")]), LINES, body))[
        1
    ] == b'\n\n{"chunk": "all"}\r\n plain\n{"chunk": " well"}'


async def test_lines_are_redacted_in_place():
    """A line with another text keeps its other members and its end; one that is no JSON is text."""
    gate = Gate([Words("badger")], action="redact", hold_back=40)
    body = b'{"n": 1, "text": "Fine. badger! "}\r\nEnd of badger.\n'
    assert (await answer(gate, LINES, body))[1] == b'{"n":1,"text":"Fine. [removed] "}\r\n[removed]\n'


async def test_a_stream_nobody_can_judge_fails_as_the_gate_does():
    """Closed, nothing of a stream goes out that no scorer judged; open, all of it does."""
    with pytest.raises(Exception, match="could not be judged"):
        await answer(Gate([Broken()]), TEXT, b"a" * 1000)
    assert (await answer(Gate([Broken()], on_error="open"), TEXT, b"a" * 1000))[1] == b"a" * 1000
    with pytest.raises(Exception, match="could not be judged"):
        await answer(Gate([Stuck()], timeout=0.01), EVENTS, whole(EVENTS, CALM * 30))
    with pytest.raises(Exception, match="could not be judged"):
        await answer(Gate([Words("badger")]), LINES, b'{"chunk": "' + b"x" * 2000)
