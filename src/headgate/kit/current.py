"""The call being served, for whoever needs it without being handed it: logs, clients, handlers.

call = current_call()        # None outside of one
"""

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
