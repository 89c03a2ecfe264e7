"""The gate around WebSockets."""

import asyncio
import json

import pytest

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Pipeline
from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.safety import Gate
from headgate.kit.safety.asgi import ContentSafety
from tests.kit.safety.conftest import Broken, Words


def block(**options):
    """A gate that blocks one word."""
    return Gate([Words("badger")], **options)


def frame(content):
    """A message from the caller."""
    return {"type": "websocket.receive", **({"bytes": content} if isinstance(content, bytes) else {"text": content})}


async def echo(scope, receive, send):
    """Answer every message with itself, as frameworks do it: a caller who is gone is an error."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        scope["heard"].append(message)
        await send({"type": "websocket.send", **{name: message[name] for name in ("text", "bytes") if name in message}})


async def talk(*frames, app=echo, hardened=False, path="/chat", **gates):
    """What the application heard, what the caller did, and the fault the socket ended with."""
    waiting = [{"type": "websocket.connect"}, *map(frame, frames), {"type": "websocket.disconnect", "code": 1000}]
    heard, sent, fault = [], [], None

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    made = ContentSafety(app, paths=["/chat"], **gates)
    if hardened:
        made = Shell(made, Pipeline(()))
    try:
        scope = {"type": "websocket", "path": path, "headers": [], "heard": heard, "client": None}
        await made(scope, receive, send)
    except PermissionDenied as denied:
        fault = denied
    contents = [message.get("text", message.get("bytes")) for message in sent if message["type"] == "websocket.send"]
    return [message.get("text", message.get("bytes")) for message in heard], contents, fault, sent


async def test_harmless_frames_pass_as_they_are():
    """Text, JSON and binary frames without anything to blame arrive unchanged, both ways."""
    frames = ["hello", '{"text":  "hi"}', b"\xff\x00", b"plain", "", "3", "{broken"]
    heard, sent, fault, _ = await talk(*frames, input_gate=block(), output_gate=block())
    assert (heard, sent, fault) == (frames, frames, None)


@pytest.mark.parametrize("bad", ["a badger", '{"a": ["b\\u0061dger"]}', b"a badger", '{"text": "x", "by": "badger"}'])
async def test_an_unwanted_frame_ends_the_socket(bad):
    """A frame that is not allowed never arrives: the application hears that the caller left."""
    heard, sent, fault, _ = await talk("hello", bad, "more", input_gate=block())
    assert (heard, sent, fault.code) == (["hello"], ["hello"], "content_blocked")


@pytest.mark.parametrize("bad", ["a badger", '{"chunk": "badger"}', b"a badger"])
async def test_an_unwanted_answer_ends_the_socket(bad):
    """An answer that is not allowed is not sent, nor anything after it."""
    heard, sent, fault, _ = await talk("hello", bad, "more", output_gate=block())
    assert (heard, sent, fault.code) == (["hello", bad], ["hello"], "content_blocked")


@pytest.mark.parametrize(
    "frames", [["a bad", "ger"], ['{"id": "1", "delta": "bad"}', '{"id": "2", "delta": "ger"}'], ['"bad"', '"ger"']]
)
async def test_a_word_split_over_frames_is_caught(frames):
    """The running text of the frames is judged as one: a frame that completes what is not allowed is refused."""
    for gates in ({"input_gate": block()}, {"output_gate": block()}):
        _, sent, fault, _ = await talk(*frames, **gates)
        assert (sent, fault.code) == (frames[:1], "content_blocked")


async def test_frames_are_redacted_in_place():
    """Redacted, a frame stays what it is: JSON, text or binary."""
    frames = ['{"n": 1, "text": "Fine. A badger."}', "Fine. A badger.", b"A badger.", '{"n":  2}']
    heard, _, fault, _ = await talk(*frames, input_gate=block(action="redact"))
    assert fault is None
    assert json.loads(heard[0]) == {"n": 1, "text": "Fine. [removed]"}
    assert heard[1:] == ["Fine. [removed]", b"[removed]", '{"n":  2}']


async def test_the_caller_is_told():
    """Inside the shell a refused socket gets the problem in a last frame, and a close code that blames the caller."""
    _, contents, _, sent = await talk("a badger", hardened=True, input_gate=block())
    assert json.loads(contents[-1])["error"]["code"] == "content_blocked"
    assert "a badger" not in contents[-1]
    assert (sent[-1]["type"], sent[-1]["code"]) == ("websocket.close", 1008)


async def test_a_socket_nobody_can_judge_is_refused():
    """With no scorer that answers, a gate that fails closed ends the socket, and one that fails open does not."""
    _, contents, _, sent = await talk("hello", hardened=True, input_gate=Gate([Broken()]))
    assert json.loads(contents[-1])["error"]["code"] == "content_unjudged"
    assert sent[-1]["code"] == 1013
    assert (await talk("hello", input_gate=Gate([Broken()], on_error="open")))[1] == ["hello"]


async def test_an_application_that_fails_fails():
    """An error of the application is its own unless its socket was refused."""

    async def inside(scope, receive, send):
        for _ in range(3):
            message = await receive()
        raise RuntimeError(message["type"])

    with pytest.raises(RuntimeError, match=r"websocket\.receive"):
        await talk("hello", "you", app=inside, input_gate=block())
    assert (await talk("hello", "badger", app=inside, input_gate=block()))[2].code == "content_blocked"


async def test_a_caller_who_is_refused_stays_gone():
    """While one task of the application waits for the caller, another is refused: the first hears of no more."""
    waiting, later = asyncio.Event(), asyncio.Event()
    heard = []

    async def inside(scope, receive, send):
        async def listen():
            heard.append((await receive())["type"])

        async def say():
            await waiting.wait()
            with pytest.raises(OSError, match="refused"):
                await send({"type": "websocket.send", "text": "badger"})
            later.set()

        await asyncio.gather(listen(), say())

    async def receive():
        waiting.set()
        await later.wait()
        return frame("hello")

    scope = {"type": "websocket", "path": "/", "headers": []}
    with pytest.raises(PermissionDenied):
        await ContentSafety(inside, output_gate=block())(scope, receive, None)
    assert heard == ["websocket.disconnect"]


async def test_other_sockets_are_left_alone():
    """Sockets on other paths are not judged."""
    assert (await talk("badger", path="/chatty", input_gate=block(), output_gate=block()))[1] == ["badger"]
