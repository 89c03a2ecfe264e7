"""An id for every call, and its place in a distributed trace.

The caller's `X-Request-ID` is kept when it is well formed, else a new one is made: nothing unchecked is
echoed or logged. `traceparent` and `tracestate` are read as W3C Trace Context Level 1 asks: a malformed one
counts as absent. https://www.w3.org/TR/trace-context/
"""

from collections.abc import Callable
from typing import ClassVar, Final

from headgate.kit.controls.call import Call, Control, MutableHeaders, TraceContext

REQUEST_ID: Final = b"x-request-id"
LONGEST_ID: Final = 128
LONGEST_STATE: Final = 512

_ID_BYTES: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
_HEX: Final = b"0123456789abcdef"
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_FIRST_VERSION: Final = 55
_VERSION, _TRACE, _SPAN, _FLAGS = slice(0, 2), slice(3, 35), slice(36, 52), slice(53, 55)


def well_formed(request_id: bytes) -> bool:
    """Whether this may serve as a request id: 1 to 128 letters, digits, `.`, `_` and `-`."""
    return 0 < len(request_id) <= LONGEST_ID and not request_id.translate(None, _ID_BYTES)


def parse_traceparent(value: bytes, state: bytes = b"") -> TraceContext | None:
    """The context a `traceparent` tells of; None when it is malformed."""
    if len(value) < _FIRST_VERSION or value[2:3] + value[35:36] + value[52:53] != b"---":
        return None
    version, trace, span, flags = value[_VERSION], value[_TRACE], value[_SPAN], value[_FLAGS]
    if (version + trace + span + flags).translate(None, _HEX) or version == b"ff":
        return None
    # A later version may append fields, version 00 has none.
    if len(value) > _FIRST_VERSION and (version == b"00" or value[55:56] != b"-"):
        return None
    if not trace.strip(b"0") or not span.strip(b"0"):
        return None
    if len(state) > LONGEST_STATE or state.translate(None, _PRINTABLE):
        state = b""
    return TraceContext(trace.decode(), span.decode(), bool(int(flags, 16) & 1), state.decode())


class RequestIds(Control):
    """Gives each call its id; `new_id` makes one of 32 hex digits."""

    name: ClassVar[str] = "request_ids"

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def identify(self, call: Call) -> None:
        """Take over or make the request id; read the trace context."""
        headers = call.headers
        presented = headers.get(REQUEST_ID)
        if presented is not None and well_formed(presented) and len(call.values(REQUEST_ID)) == 1:
            call.request_id = presented.decode()
        else:
            call.request_id = self._new_id()
        parent = headers.get(b"traceparent")
        if parent is not None and len(call.values(b"traceparent")) == 1:
            call.trace = parse_traceparent(parent, b",".join(call.values(b"tracestate")))

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        """Tell the caller the id. Over native gRPC success tells only who sent one; refusals tell all."""
        if call.protocol == "grpc" and call.code == "OK" and REQUEST_ID not in call.headers:
            return
        for position, (name, _) in enumerate(headers):
            if name == REQUEST_ID:
                headers[position] = (REQUEST_ID, call.request_id.encode())
                return
        headers.append((REQUEST_ID, call.request_id.encode()))
