"""How a fault is said in the protocol of the call it ends, before its answer began and after.

| protocol | before | after |
| --- | --- | --- |
| http | RFC 9457 problem | `event: error` in an event stream, `LAST_WORDS` in others, else the connection is cut |
| grpc-web | HTTP 200, `grpc-status` in the headers, no body ("trailers-only") | a frame of trailers |
| connect, unary | HTTP status and Connect's error JSON | nothing |
| connect, streaming | HTTP 200 and the end-of-stream message | the end-of-stream message |

Sources: gRPC-Web (github.com/grpc/grpc, doc/PROTOCOL-WEB.md), connectrpc.com/docs/protocol.
"""

import base64
import json
import math
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from headgate.kit.asgi.problems import Rendered, encoded, fault_document, rendered, status_of
from headgate.kit.controls.call import Call, Headers, Protocol
from headgate.kit.controls.codes import CODES
from headgate.kit.controls.faults import Fault

EVENT_STREAM: Final = b"text/event-stream"
_TRAILERS: Final = b"\x80"
_END_STREAM: Final = b"\x02"
_CONNECT_STREAM: Final = b"application/connect+"
_UNESCAPED: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
_CONNECT_CODES: Final = {"CANCELLED": "canceled"}
_CONNECT_STATUS: Final = {"FAILED_PRECONDITION": 400, "RESOURCE_EXHAUSTED": 429}
_FIXED: Final = frozenset((b"content-length", b"content-encoding"))
_EVENT_ENDS: Final = (b"\n\n", b"\r\r", b"\r\n\r\n")


def refusal(call: Call, fault: Fault) -> Rendered:
    """The whole answer to a call that is refused with this fault."""
    return _REFUSALS.get(call.protocol, _problem)(call, fault)


LAST_WORDS: Final = "last_words"
"""Under this name a call keeps how its application ends a stream of a form of its own."""

LastWords = Callable[[Fault], bytes]
"""The bytes that end a stream with a fault, wherever it is broken off between two parts of the body."""


def last_words(call: Call, fault: Fault, headers: Headers, last: bytes) -> bytes | None:
    """What ends a begun answer with these headers, whose latest part was `last`; None when it must be cut off."""
    if any(name in _FIXED for name, _ in headers):
        return None
    own: LastWords | None = call.kept(LAST_WORDS)
    if own is not None:
        return own(fault)
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    if call.protocol == "grpc-web":
        frame = _frame(_TRAILERS, b"".join(b"%b: %b\r\n" % pair for pair in _grpc_trailers(fault)))
        return base64.b64encode(frame) if b"grpc-web-text" in kind else frame
    if call.protocol == "connect":
        return _end_of_stream(fault) if kind.startswith(_CONNECT_STREAM) else None
    # Half an event would become a whole one, and wrong.
    if kind.partition(b";")[0].strip().lower() == EVENT_STREAM and (not last or last.endswith(_EVENT_ENDS)):
        return error_event(fault, call.path, call.request_id)
    return None


def error_event(fault: Fault, path: str, request_id: str) -> bytes:
    """A server-sent event with the problem that a fault becomes."""
    return b"event: error\ndata: %b\n\n" % encoded(fault_document(fault, path, request_id))


def _problem(call: Call, fault: Fault) -> Rendered:
    return rendered(fault, call.path, call.request_id)


def _grpc_web(call: Call, fault: Fault) -> Rendered:
    headers = [(b"content-type", call.headers.get(b"content-type", b"application/grpc-web+proto"))]
    return Rendered(200, headers + _grpc_trailers(fault), b"")


def _grpc_trailers(fault: Fault) -> list[tuple[bytes, bytes]]:
    trailers = [
        (b"grpc-status", str(CODES[fault.kind]).encode()),
        (b"grpc-message", quote(fault.message, safe=_UNESCAPED, errors="replace").encode("ascii")),
    ]
    if fault.retry_after is not None:
        trailers.append((b"grpc-retry-pushback-ms", str(math.ceil(max(0.0, fault.retry_after) * 1_000)).encode()))
    return trailers


def _connect(call: Call, fault: Fault) -> Rendered:
    kind = call.headers.get(b"content-type", b"")
    if kind.startswith(_CONNECT_STREAM):
        return Rendered(200, [(b"content-type", kind)], _end_of_stream(fault))
    problem = rendered(fault, call.path, call.request_id)
    headers = [(b"content-type", b"application/json")] + [
        each for each in problem.headers if each[0] != b"content-type"
    ]
    status = _CONNECT_STATUS.get(fault.kind) or status_of(fault)
    return Rendered(status, headers, encoded(_connect_error(fault)))


def _connect_error(fault: Fault) -> Mapping[str, str]:
    return {"code": _CONNECT_CODES.get(fault.kind, fault.kind.lower()), "message": fault.message}


def _end_of_stream(fault: Fault) -> bytes:
    return _frame(_END_STREAM, json.dumps({"error": _connect_error(fault)}).encode("ascii"))


def _frame(flag: bytes, payload: bytes) -> bytes:
    return flag + len(payload).to_bytes(4, "big") + payload


_REFUSALS: Final[Mapping[Protocol, Callable[[Call, Fault], Rendered]]] = {
    "grpc-web": _grpc_web,
    "connect": _connect,
}
