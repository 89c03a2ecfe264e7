"""One line per call, refusals included: who asked for what, what came of it, and how long it took.

    {"time": ..., "level": "info", "logger": "headgate.access", "event": "request", "request_id": "7f...",
     "protocol": "http", "method": "GET", "path": "/orders/7", "route": "/orders/{id}", "status": 200,
     "code": "OK", "complete": true, "milliseconds": 1.42, "bytes_in": 0, "bytes_out": 512, "client": "10.0.0.7",
     "principal": "shop"}

The path is without its query. What a caller can choose is masked like the values of any other line.
Answered probes are told at level debug.
"""

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Final, Protocol

from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.redaction import redact_text, remembering

QUIET: Final = frozenset(
    (
        *("/health", "/healthz", "/ready", "/readyz", "/metrics"),
        *(f"/grpc.health.v1.Health/{method}" for method in ("Check", "List", "Watch")),
    )
)
CLIENT_WENT_AWAY: Final = 499

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_HARMLESS: Final = "0123456789abcdef-"
_NOT_READY: Final = 503


class Lines(Protocol):
    """Where the lines go: `headgate.kit.observe.logs.AccessLines`."""

    def wants(self, *, quiet: bool) -> bool:
        """Whether a line would be written at all."""

    def write(self, fields: dict[str, Any], *, quiet: bool) -> None:
        """Write one."""


class AccessLog(Control):
    """Logs each call when it is over. `quiet` are paths whose answers are of interest to nobody but debuggers."""

    name: ClassVar[str] = "access_log"

    def __init__(
        self, lines: Lines, *, quiet: Collection[str] = QUIET, mask: Callable[[str], str] = redact_text
    ) -> None:
        self._lines = lines
        self._quiet = frozenset(quiet)
        self._mask = mask
        self._shown = remembering(mask)

    def settle(self, call: Call) -> None:
        """Write the line."""
        quiet = call.path in self._quiet and (call.status < 400 or call.status == _NOT_READY)
        if not self._lines.wants(quiet=quiet):
            return
        # A generated id, and a UUID, hold no secret.
        request_id = call.request_id
        fields: dict[str, Any] = {
            "request_id": self._mask(request_id) if request_id.strip(_HARMLESS) else request_id,
            "protocol": call.protocol,
            "method": call.method if call.method in _METHODS else self._shown(call.method),
            "path": self._shown(call.path),
            "route": call.route,
            "status": call.status or CLIENT_WENT_AWAY,
            "code": call.code,
            "complete": call.complete,
            "milliseconds": round((call.ended - call.started) * 1000, 2),
            "bytes_in": call.bytes_in,
            "bytes_out": call.bytes_out,
            "client": self._shown(call.client),
        }
        if call.first_byte is not None and call.messages_out > 1:
            fields["first_byte_ms"] = round((call.first_byte - call.started) * 1000, 2)
        if call.principal.id:
            fields["principal"] = self._shown(call.principal.id)
        if call.trace is not None:
            fields["trace_id"], fields["span_id"] = call.trace.trace_id, call.trace.span_id
        if call.fault is not None:
            fields["fault"] = call.fault.code
        if call.refused_by:
            fields["refused_by" if call.fault is not None or call.status >= 400 else "answered_by"] = call.refused_by
        self._lines.write(fields, quiet=quiet)
