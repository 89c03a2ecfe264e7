"""The audit log's line for each call: who asked for what from where, what was decided, and by which rule.

    {"@timestamp": ..., "event.kind": "event", "event.category": ["api"], "event.type": ["access", "denied"],
     "event.action": "DELETE /orders/{id}", "event.outcome": "failure", "event.reason": "forbidden",
     "event.duration": 1420000, "source.ip": "10.0.0.7", "user.id": "shop", "http.request.method": "DELETE",
     "url.path": "/orders/7", "http.response.status_code": 403, "http.request.id": "7f...", "rule.name": "access"}

Field names are those of the Elastic Common Schema. There are no bodies, no query strings, no headers and no
credentials. https://www.elastic.co/docs/reference/ecs
"""

from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Any, ClassVar, Final, Literal, Protocol

from headgate.kit.controls.access_log import QUIET
from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.faults import Unavailable
from headgate.kit.controls.redaction import redact_text, remembering

ECS_VERSION: Final = "8.17.0"

_READS: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_ADDRESSES: Final = 4_096
_MOST_ROLES: Final = 32
_NANOSECONDS: Final = 1_000_000_000
_CLIENT_WENT_AWAY: Final = 499
_RETRY_SECONDS: Final = 5.0


class Trail(Protocol):
    """Where records go: `headgate.kit.observe.audit.AuditLog`."""

    def write(self, document: dict[str, Any]) -> None:
        """Take a record, of JSON's types and masked. Must return at once and not raise."""

    def ready(self) -> bool:
        """Whether records are being written."""


class Audit(Control):
    """Writes a record of each call when it is over.

    `calls` are `all`, or the `notable` ones: refused, failed, or of a method that changes things (every RPC).
    Answered probes (`quiet`) are left out. With `required`, calls are refused while records cannot be written:
    raises Unavailable (`audit_unavailable`).
    """

    name: ClassVar[str] = "audit"

    def __init__(
        self,
        trail: Trail,
        *,
        calls: Literal["all", "notable"] = "all",
        required: bool = False,
        quiet: Collection[str] = QUIET,
        mask: Callable[[str], str] = redact_text,
    ) -> None:
        self._trail = trail
        self._all = calls == "all"
        self._required = required
        self._quiet = frozenset(quiet)
        self._shown = remembering(mask)

    def admit(self, call: Call) -> None:
        """Refuse what could not be recorded, when that is required."""
        if self._required and not self._trail.ready() and call.path not in self._quiet:
            raise Unavailable(
                "calls are not served while they cannot be recorded",
                code="audit_unavailable",
                hint="try again later",
                retry_after=_RETRY_SECONDS,
            )

    def settle(self, call: Call) -> None:
        """Write the record."""
        status = call.status or _CLIENT_WENT_AWAY
        if status < 400 and call.complete:
            if call.path in self._quiet or not (self._all or call.method not in _READS):
                return
        elif call.path in self._quiet and call.refused_by == "probes" and status == 503:
            return
        document = self._document(call, status)
        if call.client:
            document["source.ip" if is_address(call.client) else "source.address"] = call.client
        if call.principal.id:
            self._add_user(call, document)
        if call.trace is not None:
            document["trace.id"], document["span.id"] = call.trace.trace_id, call.trace.span_id
        if call.fault is not None:
            document["event.reason"] = call.fault.code
        if call.refused_by:
            document["rule.name"] = call.refused_by
        self._trail.write(document)

    def _document(self, call: Call, status: int) -> dict[str, Any]:
        method = self._shown(call.method)
        route = call.route
        action = (route or "rpc") if call.protocol not in _BY_METHOD else f"{method} {route}" if route else method
        denied = call.refused_by and status >= 400
        return {
            "event.kind": "event",
            "event.category": ["api"],
            "event.type": ["access", "denied"] if denied else ["access", "allowed"],
            "event.action": action,
            "event.outcome": _outcome(status, complete=call.complete),
            "event.code": call.code,
            "event.duration": int((call.ended - call.started) * _NANOSECONDS),
            "network.protocol": call.protocol,
            "http.request.method": method,
            "http.request.id": self._shown(call.request_id),
            "http.request.body.bytes": call.bytes_in,
            "http.response.status_code": status,
            "http.response.body.bytes": call.bytes_out,
            "url.path": self._shown(call.path),
        }

    def _add_user(self, call: Call, document: dict[str, Any]) -> None:
        principal, certificate = call.principal, call.certificate
        document["user.id"] = self._shown(principal.id)
        document["headgate.principal.kind"] = principal.kind
        if principal.scopes:
            document["user.roles"] = sorted(principal.scopes)[:_MOST_ROLES]
        if principal.tenant:
            document["organization.id"] = principal.tenant
        if certificate is not None:
            document["tls.client.subject"] = certificate.subject
            document["tls.client.hash.sha256"] = certificate.fingerprint


_BY_METHOD: Final = frozenset(("http", "websocket"))


def _outcome(status: int, *, complete: bool) -> str:
    if status >= 400:
        return "unknown" if status == _CLIENT_WENT_AWAY else "failure"
    return "success" if complete else "unknown"


@lru_cache(_ADDRESSES)
def is_address(text: str) -> bool:
    """Whether `text` is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
