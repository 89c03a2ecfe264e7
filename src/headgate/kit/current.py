"""The call being served, for whoever needs it without being handed it: logs, clients, handlers.

call = current_call()        # None outside of one
"""

import time
from contextvars import ContextVar
from typing import Final

from headgate.kit.controls.call import Call

CURRENT: Final[ContextVar[Call | None]] = ContextVar("headgate_call", default=None)
"""Set by the shells, and by nothing else."""


def current_call() -> Call | None:
    """The call this task serves, None outside of one."""
    return CURRENT.get()


def current_request_id() -> str:
    """Its request id; "" outside of one."""
    call = CURRENT.get()
    return call.request_id if call is not None else ""


def outgoing_headers() -> dict[str, str]:
    """What a call to others passes on of the call being served: its id and its trace."""
    call = current_call()
    if call is None:
        return {}
    headers = {"x-request-id": call.request_id}
    if call.trace is not None:
        headers["traceparent"] = call.trace.traceparent
        if call.trace.state:
            headers["tracestate"] = call.trace.state
    return headers


def remaining_time() -> float | None:
    """Seconds left of the call being served; None without a deadline."""
    call = current_call()
    return None if call is None or call.deadline is None else call.deadline - time.monotonic()
