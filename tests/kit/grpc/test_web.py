"""gRPC-Web on the port of HTTP, with no proxy."""

import asyncio
import base64

import httpx
import pytest
from google.rpc.status_pb2 import Status

from headgate.kit.controls.call import Control
from headgate.kit.controls.deadlines import Deadlines
from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.grpc.frames import frame
from headgate.kit.grpc.status import fault_of
from tests.kit.grpc.echo import KINDS, SECRET, Ask, path
from tests.kit.grpc.web import PROTO, TEXT, read_web, web


@pytest.mark.parametrize("kind", ["application/grpc-web", PROTO, TEXT, "application/grpc-web-text"])
@pytest.mark.parametrize("method", KINDS)
async def test_calls_of_every_kind_and_form(over_http, method, kind):
    """Replies arrive as frames and the status as trailers, binary or as text, with the requests ahead of them."""
    served = await over_http()
    response, replies, trailers = await web(served.client, path(method), Ask(text="hello", count=2), kind=kind)
    assert [reply.text for reply in replies] == ["hello"] * (2 if method in {"ServerStream", "Bidi"} else 1)
    assert trailers["grpc-status"] == "0"
    assert response.headers["content-type"] == kind
    assert response.headers["x-recorded"] == "yes"
    [call] = await served.recorder.settled()
    assert (call.protocol, call.route, call.code, call.status) == ("grpc-web", path(method), "OK", 200)
    assert call.complete


@pytest.mark.parametrize(
    ("kind", "accept", "answered"),
    [
        (PROTO, TEXT, TEXT),
        (TEXT, PROTO, PROTO),
        (TEXT, "*/*", TEXT),
        (PROTO, "text/html, application/grpc-web-text;q=0.5", "application/grpc-web-text"),
        (PROTO, f"{TEXT}, {PROTO}", PROTO),
    ],
)
async def test_the_form_of_the_answer(over_http, kind, accept, answered):
    """The answer has the form that the caller accepts, and that of the request when they do not say."""
    served = await over_http()
    response, [reply], trailers = await web(
        served.client, path("Unary"), Ask(text="a"), kind=kind, headers={"accept": accept}
    )
    assert (response.headers["content-type"], reply.text, trailers["grpc-status"]) == (answered, "a", "0")


async def test_requests_and_responses_are_compressed_on_demand(over_http):
    """Messages in gzip are understood, and sent to those who take them once they are worth it."""
    served = await over_http(compress_from=100)
    long, short = "hello " * 100, "hello"
    for text, headers, packed in ((long, "gzip", True), (short, "gzip", False), (long, "identity", False)):
        response, replies, _ = await web(
            served.client,
            path("Unary"),
            Ask(text=text),
            headers={"grpc-encoding": "gzip", "grpc-accept-encoding": headers},
            packed=True,
        )
        assert replies[0].text == text
        assert bool(response.content[0] & 1) is packed


@pytest.mark.parametrize("method", KINDS)
@pytest.mark.parametrize(
    ("how", "status", "message"),
    [
        ("fault", "9", "the shop is closed — for now"),
        ("exception", "13", "something went wrong here"),
        ("abort", "11", "past the end"),
        ("code", "15", "gone"),
        ("validate", "3", "/count must be a whole number, and 1 more"),
        ("cancelled", "13", "something went wrong here"),
    ],
)
async def test_errors_are_those_of_grpc(over_http, method, how, status, message):
    """What goes wrong has the code, the text and the details it has over native gRPC, and leaks as little."""
    served = await over_http()
    response, replies, trailers = await web(served.client, path(method), Ask(how=how, count=1))
    assert (trailers["grpc-status"], trailers["grpc-message"]) == (status, message)
    assert len(replies) == (method in {"ServerStream", "Bidi"})
    assert SECRET.encode() not in response.content
    if how == "fault":
        raw = trailers["grpc-status-details-bin"]
        details = Status.FromString(base64.b64decode(raw + "=" * (-len(raw) % 4)))
        assert fault_of("FAILED_PRECONDITION", message, details.details).hint == "come back tomorrow"
    if how == "abort":
        assert trailers["x-app"] == "1"
    [call] = await served.recorder.settled()
    assert (call.status, call.code == "OK", call.complete) == (200, False, True)


async def test_metadata_of_the_handler(over_http):
    """Initial metadata are headers, trailing metadata trailers, and bytes are base64."""
    served = await over_http()
    response, _, trailers = await web(
        served.client, path("Unary"), Ask(how="metadata"), headers={"x-app": "1", "x-raw-bin": "AP8"}
    )
    assert (response.headers["x-first"], response.headers["x-raw-bin"], trailers["x-last"]) == ("1", "AP8", "2")
    [context] = served.echo.contexts
    metadata = dict(context.invocation_metadata())
    assert (metadata["x-app"], metadata["x-raw-bin"]) == ("1", b"\x00\xff")
    assert not {"host", "content-type", "content-length"} & metadata.keys()
    assert context.peer().startswith("ipv4:127.0.0.1:")
    assert (context.auth_context(), context.peer_identities()) == ({}, None)
    assert context.done()


async def test_a_method_that_is_not_there(over_http):
    """An unknown method is UNIMPLEMENTED and counted without its name."""
    served = await over_http()
    _, _, trailers = await web(served.client, "/made.Up/Method", Ask())
    assert trailers["grpc-status"] == "12"
    assert (await served.recorder.settled())[0].route == ""


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"\x00\x00\x00\x00\x02\xff\xff", {}, "3"),
        (b"\x00\x00", {}, "3"),
        (b"", {}, "3"),
        (frame(1, b"not gzip"), {"grpc-encoding": "gzip"}, "3"),
        (frame(1, b"x"), {"grpc-encoding": "br"}, "12"),
        (frame(0, bytes(2_000)), {}, "8"),
    ],
)
async def test_bodies_that_cannot_be(over_http, content, headers, status):
    """A body that is broken, empty, strangely packed or too large is the caller's mistake, with its code."""
    served = await over_http(max_receive=1_000)
    response = await served.client.post(path("Unary"), content=content, headers={"content-type": PROTO, **headers})
    assert read_web(response.content)[1]["grpc-status"] == status
    assert not served.echo.seen


async def test_json_over_grpc_web(over_http):
    """Other codecs than protobuf are refused, saying what is understood."""
    served = await over_http()
    response = await served.client.post(
        path("Unary"), content=frame(0, b"{}"), headers={"content-type": "application/grpc-web+json"}
    )
    assert read_web(response.content)[1]["grpc-status"] == "3"


async def test_a_refusal_by_a_control(over_http):
    """A caller who is refused by the shell reads a status of gRPC, not an HTML page or a problem."""
    served = await over_http()

    def refuse(_call):
        raise PermissionDenied("not you")

    served.recorder.refuse = refuse
    response, _, trailers = await web(served.client, path("Unary"), Ask())
    assert (response.status_code, trailers["grpc-status"], trailers["grpc-message"]) == (200, "7", "not you")


async def test_replies_come_as_they_are_made(over_http):
    """A stream is not held back until its end, and a reader who leaves ends it."""
    served = await over_http()
    request = served.client.build_request(
        "POST",
        path("ServerStream"),
        content=frame(0, Ask(text="a", count=1, how="wait").SerializeToString()),
        headers={"content-type": PROTO},
    )
    response = await served.client.send(request, stream=True)
    first = await anext(response.aiter_raw())
    assert first[:1] == b"\x00"
    assert not served.echo.stopped.is_set()
    await response.aclose()
    await asyncio.wait_for(served.echo.stopped.wait(), 10)
    [call] = await served.recorder.settled()
    assert (call.code, call.complete) == ("CANCELLED", False)
    [context] = served.echo.contexts
    assert (context.done(), context.cancelled()) == (True, True), "who asks the context must learn that it is over"


@pytest.mark.parametrize("method", ["Unary", "ServerStream"])
async def test_the_callers_deadline(over_http, method):
    """`grpc-timeout` ends the handler; the caller reads DEADLINE_EXCEEDED before and after the first reply."""
    served = await over_http(Deadlines(first_byte=20, idle=20, total=20))
    _, _, trailers = await web(served.client, path(method), Ask(how="wait", count=1), headers={"grpc-timeout": "300m"})
    assert trailers["grpc-status"] == "4"
    await asyncio.wait_for(served.echo.stopped.wait(), 10)
    assert served.echo.contexts[0].time_remaining() == 0


async def test_what_is_no_rpc_goes_on(over_http):
    """All other requests reach the application as before."""
    served = await over_http()
    for verb, where in (("GET", "/"), ("POST", "/a/b"), ("GET", "/a/b"), ("POST", "/x")):
        response = await served.client.request(verb, where, json={} if verb == "POST" else None)
        assert response.text == f"plain {where}"


async def test_a_shell_is_not_needed(over_http):
    """Mounted by itself it answers just the same."""
    from headgate.kit.current import current_call
    from headgate.kit.grpc.dispatch import RpcOverHttp

    served = await over_http()
    transport = httpx.ASGITransport(RpcOverHttp(served.registry, served.client))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        _, [reply], trailers = await web(client, path("Unary"), Ask(text="a"))
    assert (reply.text, trailers["grpc-status"]) == ("a", "0")
    assert current_call() is None


class _Untouched(Control):
    name = "untouched"


def test_controls_are_asked_by_protocol():
    """A control without protocols of its own is asked for RPCs over HTTP, too."""
    assert {"grpc-web", "connect"} <= _Untouched.protocols
