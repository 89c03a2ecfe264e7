"""One server span for each call, from its arrival until the last byte of its answer.

    Trace(traces)       # headgate.kit.observe.traces.Traces

The call's trace context becomes that of the span, so that logs, clients and exemplars name it. Without traces
the caller's context is passed on as it came. Names are OpenTelemetry's semantic conventions for HTTP (stable) and
RPC. https://opentelemetry.io/docs/specs/semconv/
"""

from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.redaction import redact_text, remembering

Value = str | int | bool

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))
_SYSTEMS: Final = {
    "grpc": "grpc",
    "grpc-web": "grpc",
    "connect": "connectrpc",
    "socket": "headgate",
    "nats": "headgate",
    "local": "headgate",
}
_CARRIED_BY: Final = {"socket": "websocket", "nats": "nats"}
_SERVER_ERRORS: Final = frozenset(
    ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
)
_LONGEST_AGENT: Final = 256


class Spans(Protocol):
    """Who makes spans."""

    def begin(self, call: Call) -> object:
        """Begin the span of a call, a child of `call.trace`, and set `call.trace` to its context."""

    def end(self, call: Call, span: object) -> None:
        """End it: `call` tells how it went."""


class Trace(Control):
    """Begins the span of a call after its trace context was read, and ends it when the call is over."""

    name: ClassVar[str] = "trace"

    def __init__(self, spans: Spans) -> None:
        self._spans = spans

    def identify(self, call: Call) -> None:
        """Begin the span."""
        call.keep("trace", self._spans.begin(call))

    def settle(self, call: Call) -> None:
        """End the span."""
        span = call.kept("trace")
        if span is not None:
            self._spans.end(call, span)


def span_name(call: Call) -> str:
    """`GET /orders/{id}`, or the method alone; `shop.v1.Orders/Get` for an RPC. Never what a caller chose."""
    if call.protocol in _SYSTEMS:
        return call.route.removeprefix("/") or "_OTHER"
    method = call.method if call.method in _METHODS else "HTTP"
    return f"{method} {call.route}" if call.route else method


def is_error(call: Call) -> bool:
    """Whether the service failed: a caller's mistake, and a caller that left, are no errors of a server span."""
    if call.protocol in _SYSTEMS:
        return call.code in _SERVER_ERRORS
    return call.status >= 500 or (call.fault is not None and call.code in _SERVER_ERRORS)


_shown: Final[Callable[[str], str]] = remembering(redact_text)


def attributes(call: Call) -> dict[str, Value]:
    """What the span of a call that has ended tells of it. What a caller can choose is masked."""
    found: dict[str, Value] = {"url.scheme": call.scheme, "headgate.request_id": _shown(call.request_id)}
    if call.protocol in _SYSTEMS:
        found["rpc.system.name"] = _SYSTEMS[call.protocol]
        found["rpc.method"] = call.route.removeprefix("/") or "_OTHER"
        found["rpc.response.status_code"] = call.code.lower() if call.protocol == "connect" else call.code
        if call.protocol in _CARRIED_BY:
            found["network.protocol.name"] = _CARRIED_BY[call.protocol]
    else:
        _add_http(call, found)
    if call.peer:
        found["network.peer.address"] = call.peer
        found["client.address"] = _shown(call.client)
    if call.principal.id:
        found["user.id"] = _shown(call.principal.id)
    if call.refused_by:
        found["headgate.refused_by"] = call.refused_by
    if is_error(call):
        found["error.type"] = (
            call.fault.code if call.fault is not None else call.code if call.status < 500 else str(call.status)
        )
    return found


def _add_http(call: Call, found: dict[str, Value]) -> None:
    known = call.method in _METHODS
    found["http.request.method"] = call.method if known else "_OTHER"
    if not known:
        found["http.request.method_original"] = _shown(call.method)
    found["url.path"] = _shown(call.path)
    if call.route:
        found["http.route"] = call.route
    if call.status:
        found["http.response.status_code"] = call.status
    if call.protocol == "websocket":
        found["network.protocol.name"] = "websocket"
    if call.bytes_in:
        found["http.request.body.size"] = call.bytes_in
    if call.bytes_out:
        found["http.response.body.size"] = call.bytes_out
    agent = call.headers.get(b"user-agent")
    if agent is not None:
        found["user_agent.original"] = _shown(agent[:_LONGEST_AGENT].decode("latin-1"))
