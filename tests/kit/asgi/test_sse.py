"""Event streams: encoding, heartbeats, errors, closing, resuming."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from headgate.kit.asgi.shell import Shell
from headgate.kit.asgi.sse import HEADERS, HEARTBEAT, Event, Replay, encode, event_stream
from headgate.kit.controls.faults import ResourceExhausted
from tests.kit.asgi.wire import Witness, http, pipeline, serve, until


class Point(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("event", "wire"),
    [
        (Event("hi"), "data: hi\n\n"),
        (Event(""), "data: \n\n"),
        (Event("a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n"),
        (Event({"a": [1]}), 'data: {"a":[1]}\n\n'),
        (Event(Point(x=1)), 'data: {"x":1}\n\n'),
        (Event(b"raw"), "data: raw\n\n"),
        (Event("x", name="chunk", id="7"), "event: chunk\nid: 7\ndata: x\n\n"),
        (Event("x", name="a\nretry: 1", id="1\r\n\0data: y"), "event: aretry: 1\nid: 1data: y\ndata: x\n\n"),
    ],
)
def test_encoding(event, wire):
    """An event is encoded as the standard says; what is in it cannot begin a field of its own."""
    assert encode(event) == wire.encode()


def parse(stream: bytes) -> list[dict[str, str]]:
    """What a browser makes of a stream, by the standard's rules."""
    events, fields = [], {}
    for line in stream.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        name, _, value = line.partition(":")
        if line == "":
            if "data" in fields:
                events.append(fields)
            fields = {}
        elif name:
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value
    return events


@given(st.text(st.characters(codec="utf-8")), st.text(max_size=8), st.text(max_size=8))
def test_what_is_sent_is_what_is_read(data, name, event_id):
    """Any text arrives as one event with the same data, its line breaks made uniform."""
    (read,) = parse(encode(Event(data, name, event_id)))
    assert read["data"] == data.replace("\r\n", "\n").replace("\r", "\n").encode("utf-8", "replace").decode()
    assert set(read) <= {"data", "event", "id"}


async def items(*values) -> AsyncIterator:
    """Yields, raises what is an exception, waits for ever at None."""
    for value in values:
        if value is None:
            await asyncio.Event().wait()
        if isinstance(value, Exception):
            raise value
        yield value


async def collected(stream, most=100) -> list[bytes]:
    """What a stream gives, or the first of it."""
    found = []
    async with aclosing(stream):
        async for each in stream:
            found.append(each)
            if len(found) == most:
                break
    return found


async def test_a_whole_stream():
    """Items are sent as they come, and the stream ends with its source."""
    sent = await collected(event_stream(items("a", {"b": 1}, Event("c", id="3")), retry_ms=500))
    assert sent == [b"retry: 500\n\n", b"data: a\n\n", b'data: {"b":1}\n\n', b"id: 3\ndata: c\n\n"]


async def test_heartbeats_while_idle():
    """A comment is sent whenever nothing else is, and no event is lost or late for it."""
    gate = asyncio.Event()

    async def source():
        yield "a"
        await gate.wait()
        yield "b"

    sent = []
    stream = event_stream(source(), heartbeat=0.01)
    async for each in stream:
        sent.append(each)
        if sent.count(HEARTBEAT) == 2:
            gate.set()
    assert (sent[0], sent[-1]) == (b"data: a\n\n", b"data: b\n\n")
    assert sent[1:3] == [HEARTBEAT, HEARTBEAT]


async def test_no_heartbeat():
    """A heartbeat of 0 is none."""
    sent = asyncio.create_task(collected(event_stream(items("a", None), heartbeat=0), 2))
    await asyncio.sleep(0.03)
    assert not sent.done()
    sent.cancel()


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("sda9"), "internal"), (ResourceExhausted("no more", code="quota"), "quota")]
)
async def test_a_source_that_fails(error, code, logged):
    """The last event tells of the failure, and of an unknown exception nothing but that there was one."""
    first, last = await collected(event_stream(items("a", error)))
    (event,) = parse(last)
    assert (first, event["event"], json.loads(event["data"])["code"]) == (b"data: a\n\n", "error", code)
    assert b"sda9" not in last


async def test_data_that_has_no_json(logged):
    """An item that cannot be encoded ends the stream as a failure does, and closes the source."""
    sent = await collected(event_stream(items({1, 2}, "b")))
    assert len(sent) == 1
    assert b"event: error" in sent[0]


async def test_a_source_that_is_cancelled(logged):
    """A source that was cancelled behind our back does not leave the caller waiting."""

    async def source():
        yield "a"
        raise asyncio.CancelledError

    assert b"event: error" in (await collected(event_stream(source())))[-1]


class Watched:
    """A source that knows whether it was closed."""

    def __init__(self):
        self.closed = 0

    async def __call__(self):
        try:
            for number in range(1_000):
                yield number
                await asyncio.sleep(0 if number < 3 else 60)
        finally:
            self.closed += 1


@pytest.mark.parametrize("reads", [0, 1, 4])
async def test_a_caller_who_leaves_closes_the_source(reads):
    """Whoever stops reading closes the source, in the middle of an item too; no task is left."""
    before = asyncio.all_tasks()
    watched = Watched()
    stream = event_stream(watched(), heartbeat=0)
    for _ in range(reads):
        await anext(stream)
    await stream.aclose()
    assert watched.closed == (1 if reads else 0)
    assert asyncio.all_tasks() == before


async def test_cancellation_closes_the_source():
    """Cancelled while it waits for an item, the stream closes its source and is cancelled."""
    watched = Watched()
    task = asyncio.create_task(collected(event_stream(watched())))
    await until(lambda: not task.done() and watched.closed == 0)
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert watched.closed == 1


async def test_a_slow_caller_slows_the_source():
    """The source is read at most two items ahead of the caller."""
    made = []

    async def source():
        for number in range(100):
            made.append(number)
            yield number

    stream = event_stream(source())
    await anext(stream)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(made) <= 3
    await stream.aclose()


class TestReplay:
    """Coming back."""

    async def test_the_missed_events_come_first(self):
        """A caller who comes back gets what was sent since, then what is new."""
        replay = Replay()
        await collected(event_stream(items("a", "b", "c"), replay=replay))
        sent = await collected(event_stream(items("d"), replay=replay, last_event_id="1"))
        assert [(each["id"], each["data"]) for each in parse(b"".join(sent))] == [("2", "b"), ("3", "c"), ("4", "d")]

    async def test_a_source_that_starts_again(self):
        """Events that a source with ids of its own tells again are not sent again."""

        def source():
            return items(*(Event(text, id=text) for text in "abcd"))

        replay = Replay()
        await collected(event_stream(source(), replay=replay), 2)
        sent = await collected(event_stream(source(), replay=replay, last_event_id="a"))
        assert [each["data"] for each in parse(b"".join(sent))] == ["b", "c", "d"]

    async def test_a_gap_is_told(self):
        """Who comes back too late is told to start anew, and gets all that is kept."""
        replay = Replay(most=2)
        await collected(event_stream(items("a", "b", "c"), replay=replay))
        sent = await collected(event_stream(items(), replay=replay, last_event_id="nonsense"))
        assert sent == [b"event: reset\ndata: {}\n\n", b"id: 2\ndata: b\n\n", b"id: 3\ndata: c\n\n"]

    @given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=30)), max_size=40), st.integers(1, 10))
    def test_it_is_bounded(self, events, most):
        """However many events come, no more than so many, and so many bytes, are kept."""
        replay = Replay(most, most_bytes=200)
        for event_id, data in events:
            replay.add(Event(data, id=event_id))
        kept = list(replay.after("\x00"))[1:]
        assert len(replay) == len(kept) <= most
        assert sum(map(len, kept)) <= 200
        assert len(replay.ids()) == len(kept)


def on_starlette(source):
    """A stream of a new source for each request, on Starlette."""
    from starlette.applications import Starlette
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    async def stream(_request):
        return StreamingResponse(event_stream(source()), headers=HEADERS)

    return Starlette(routes=[Route("/s", stream)])


def on_fastapi(source):
    """A stream of a new source for each request, on FastAPI."""
    from fastapi import FastAPI
    from starlette.responses import StreamingResponse

    app = FastAPI()

    @app.get("/s")
    async def stream():
        return StreamingResponse(event_stream(source()), headers=HEADERS)

    return app


def on_litestar(source):
    """A stream of a new source for each request, on Litestar."""
    from litestar import Litestar, get
    from litestar.response import Stream

    @get("/s")
    async def stream() -> Stream:
        return Stream(event_stream(source()), headers=dict(HEADERS))

    return Litestar([stream], openapi_config=None)


def on_quart(source):
    """A stream of a new source for each request, on Quart."""
    from quart import Quart, Response

    app = Quart("streams")

    @app.get("/s")
    async def stream():
        return Response(event_stream(source()), headers=dict(HEADERS))

    return app


FRAMEWORKS = {"starlette": on_starlette, "fastapi": on_fastapi, "litestar": on_litestar, "quart": on_quart}


@pytest.mark.parametrize("framework", FRAMEWORKS)
class TestInFrameworks:
    """As the body of a response of each framework."""

    async def test_a_failing_stream(self, framework, logged):
        """It is an event stream by its headers, and its failure is its last event."""
        witness, caller = Witness(), http("/s")
        await serve(Shell(FRAMEWORKS[framework](lambda: items("a", KeyError("x"))), pipeline(witness)), caller)
        assert caller.headers["content-type"].startswith("text/event-stream")
        assert [each.get("event") for each in parse(caller.body)] == [None, "error"]
        assert (caller.ended, witness.call.code, witness.call.route) == (True, "INTERNAL", "/s")

    async def test_a_caller_who_leaves(self, framework):
        """Its source is closed when the caller leaves, and nothing is left running."""
        before = asyncio.all_tasks()
        watched, witness, caller = Watched(), Witness(), http("/s")
        shell = Shell(FRAMEWORKS[framework](watched), pipeline(witness), watch_after=0.005)
        task = asyncio.create_task(serve(shell, caller))
        await caller.until(lambda caller: b"data: 3" in caller.body)
        caller.leave()
        await task
        await until(lambda: watched.closed == 1 and asyncio.all_tasks() == before)
        assert (witness.call.code, witness.call.complete) == ("CANCELLED", False)
