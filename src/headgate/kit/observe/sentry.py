"""Sentry, for those who have it: errors and, if wanted, the performance of a share of calls.

    setup_sentry(dsn="https://KEY@o1.ingest.sentry.io/2", environment="production")

The extra `sentry` is imported here and nowhere else. Everything that is sent is masked as the log is
(`headgate.kit.controls.redaction`), without bodies, cookies, headers that hold secrets and local variables; faults,
which are answers and not errors, are not sent. Each event carries the request id and the trace of its call.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog

from headgate.kit.controls.faults import Fault, Internal, Unknown
from headgate.kit.controls.redaction import redact
from headgate.kit.current import CURRENT
from headgate.kit.observe.logs import watch_errors

_BODY: Final = ("data", "cookies", "env")
_PERSONAL: Final = frozenset(("send_default_pii", "data_collection"))
"""Options that would send personal data. Without any of them Sentry collects none."""
_log = structlog.get_logger("headgate.sentry")


def setup_sentry(
    *,
    dsn: str,
    environment: str = "",
    release: str = "",
    traces_sample_rate: float = 0.1,
    mask: Callable[[Any], Any] = redact,
    **options: Any,
) -> bool:
    """Send errors to the project of `dsn`. False, and nothing done, without a DSN or without the extra.

    `options` are those of `sentry_sdk.init`; what they say of personal data, bodies and local variables is not
    heeded.
    """
    if not dsn:
        return False
    try:
        import sentry_sdk
    except ImportError:
        _log.warning("sentry-sdk is not installed, errors are not sent", hint='pip install "headgate[sentry]"')
        return False

    def scrub(event: Any, hint: Any) -> Any:
        return _scrub(event, hint, mask)

    def crumb(breadcrumb: Any, _hint: Any) -> Any:
        return breadcrumb | {name: mask(breadcrumb[name]) for name in ("message", "data") if name in breadcrumb}

    chosen: dict[str, Any] = {
        "dsn": dsn,
        "environment": environment or None,
        "release": release or None,
        "traces_sample_rate": traces_sample_rate,
        "enable_logs": False,
        "max_request_body_size": "never",
        "include_local_variables": False,
        "before_send": scrub,
        "before_send_transaction": scrub,
        "before_breadcrumb": crumb,
    }
    kept = {name: value for name, value in options.items() if name not in _PERSONAL}
    sentry_sdk.init(**(kept | chosen))
    # Errors that are logged with their traceback never pass the standard library, where Sentry listens.
    watch_errors(sentry_sdk.capture_exception)
    return True


def _scrub(event: dict[str, Any], hint: dict[str, Any], mask: Callable[[Any], Any]) -> dict[str, Any] | None:
    error = (hint.get("exc_info") or (None, None, None))[1]
    if isinstance(error, Fault) and not isinstance(error, Internal | Unknown):
        return None
    request = event.get("request")
    if isinstance(request, dict):
        for name in _BODY:
            request.pop(name, None)
        request["query_string"] = ""
        if "url" in request:
            request["url"] = str(request["url"]).partition("?")[0]
    call = CURRENT.get()
    if call is not None:
        event["tags"] = {**(event.get("tags") or {}), "request_id": call.request_id}
        if call.trace is not None:
            event["tags"]["trace_id"] = call.trace.trace_id
        if call.principal.id:
            event["user"] = {"id": call.principal.id}
    masked: dict[str, Any] = mask(event)
    return masked
