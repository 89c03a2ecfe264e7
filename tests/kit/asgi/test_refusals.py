"""Faults in the protocol of their call, and ways of saying so that end what has begun."""

import base64
import json

import pytest

from headgate.kit.asgi.refusals import last_words
from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Budget, Call
from headgate.kit.controls.codes import CODES, code_of_status
from headgate.kit.controls.faults import Cancelled, FailedPrecondition, Fault, NotFound, ResourceExhausted
from tests.kit.asgi.test_shell import Refuses
from tests.kit.asgi.test_shell_endings import Stream, Times
from tests.kit.asgi.wire import Witness, http, pipeline, serve

LIMIT = ResourceExhausted("slow dówn 100%\n", code="rate_limited", retry_after=1.5)
KINDS = Fault.__subclasses__()


def rpc(kind: bytes, *headers: tuple[bytes, bytes]):
    """A request of an RPC protocol."""
    return http("/pkg.S/M", method="POST", headers=[(b"content-type", kind), *headers])


async def refused(request, fault: Fault = LIMIT):
    """The answer to a request that is refused."""
    witness = Witness()
    caller = await serve(Shell(Stream(), pipeline(witness, Refuses(fault))), request)
    return caller, witness.call


@pytest.mark.parametrize("kind", [b"application/grpc-web", b"application/grpc-web+proto", b"application/grpc-web-text"])
async def test_grpc_web(kind):
    """gRPC-Web is refused with 200 and the status in the headers, its message percent-encoded, with no body."""
    caller, call = await refused(rpc(kind))
    assert (call.protocol, call.code, caller.status, caller.body) == ("grpc-web", "RESOURCE_EXHAUSTED", 200, b"")
    assert caller.headers == {
        "content-type": kind.decode(),
        "grpc-status": "8",
        "grpc-message": "slow d%C3%B3wn 100%25%0A",
        "grpc-retry-pushback-ms": "1500",
        "content-length": "0",
        "x-request-id": "r-1",
    }


@pytest.mark.parametrize(("kind", "status"), [(LIMIT, 429), (FailedPrecondition("no"), 400), (Cancelled("x"), 499)])
async def test_connect_unary(kind, status):
    """A unary Connect call is refused with the protocol's status and its error in JSON."""
    request = rpc(b"application/json", (b"connect-protocol-version", b"1"))
    caller, call = await refused(request, kind)
    assert (call.protocol, caller.status, caller.headers["content-type"]) == ("connect", status, "application/json")
    code = "canceled" if kind.kind == "CANCELLED" else kind.kind.lower()
    assert json.loads(caller.body) == {"code": code, "message": kind.message}
    assert ("retry-after" in caller.headers) == (kind is LIMIT)


async def test_connect_streaming():
    """A streaming Connect call is refused with 200 and the message that ends a stream."""
    caller, _ = await refused(rpc(b"application/connect+proto"))
    assert (caller.status, caller.headers["content-type"]) == (200, "application/connect+proto")
    flag, size, payload = caller.body[0], int.from_bytes(caller.body[1:5], "big"), caller.body[5:]
    assert (flag, size, json.loads(payload)["error"]["code"]) == (2, len(payload), "resource_exhausted")


async def test_other_posts_are_http():
    """A POST of another type is plain HTTP, and refused with a problem."""
    caller, call = await refused(rpc(b"application/json"))
    assert (call.protocol, caller.headers["content-type"]) == ("http", "application/problem+json")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (b"application/grpc-web+proto", b"\x80\x00\x00\x00"),
        (b"application/grpc-web-text+proto", None),
        (b"application/connect+json", b"\x02\x00\x00\x00"),
    ],
)
async def test_streams_of_rpcs_end_with_their_status(kind, words):
    """A begun stream that breaks ends with the protocol's own last message, and properly."""
    app = Stream("start", b"\x00\x00\x00\x00\x01x", None, header=(b"content-type", kind))
    caller = await serve(Shell(app, pipeline(Witness(), Times(Budget(idle=0.02)))), rpc(kind))
    last = caller.sent[-1]["body"]
    if words is None:
        last, words = base64.b64decode(last), b"\x80"
    assert caller.ended
    assert last.startswith(words)
    assert int.from_bytes(last[1:5], "big") == len(last) - 5


@pytest.mark.parametrize(
    ("headers", "last"),
    [
        ([(b"content-type", b"text/event-stream"), (b"content-length", b"99")], b""),
        ([(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")], b""),
        ([(b"content-type", b"text/event-stream")], b"data: x\n"),
        ([(b"content-type", b"text/html")], b""),
        ([], b""),
    ],
)
def test_when_there_is_nothing_to_say(headers, last):
    """What has a length or an encoding, stands in the middle of an event, or is no stream, can only be cut off."""
    assert last_words(Call("http", "GET", "/", [], "", 0.0), NotFound("x"), headers, last) is None


def test_the_codes_are_the_canonical_ones():
    """Each kind of fault has its number, from 0 for OK to 16."""
    assert sorted(CODES.values()) == list(range(17))
    assert set(CODES) == {"OK", *(kind.kind for kind in KINDS)}


@pytest.mark.parametrize("status", [200, 204, 302, 400, 401, 404, 418, 429, 499, 500, 503, 599])
def test_the_code_of_a_status(status):
    """Every status has a code: OK below 400, the caller's fault below 500, ours above."""
    code = code_of_status(status)
    assert code in CODES
    assert (code == "OK") == (status < 400)
    assert (code in {"INTERNAL", "UNAVAILABLE"}) == (status >= 500)
