"""An error as bytes, for those in other processes who waited for the same call.

fault = decode_error(encode_error(error))

A fault keeps what its caller may see. Of any other error nothing but the fact is told: its text may hold
secrets, and a store is no place for them.
"""

import json

from headgate.kit.controls.faults import KINDS, Fault, Internal, Violation


def encode_error(error: Exception) -> bytes:
    """The bytes that tell of an error."""
    fault = error if isinstance(error, Fault) else _unknown(type(error).__name__)
    told = {
        "kind": fault.kind,
        "code": fault.code,
        "message": fault.message,
        "hint": fault.hint,
        "retry_after": fault.retry_after,
        "details": fault.details,
        "violations": [[each.pointer, each.message, each.hint] for each in fault.violations],
        "type": type(error).__name__,
    }
    return json.dumps(told, separators=(",", ":"), default=str).encode("ascii")


def decode_error(data: bytes) -> Fault:
    """The fault those bytes tell of; Internal when they tell nothing."""
    try:
        told = json.loads(data)
        return KINDS.get(told["kind"], Internal)(
            told["message"],
            code=told["code"],
            hint=told["hint"],
            retry_after=told["retry_after"],
            details=told.get("details"),
            violations=[Violation(*each) for each in told["violations"]],
            internal=f"{told['type']}, of a call that others shared",
        )
    except (ValueError, KeyError, TypeError):
        return _unknown("unreadable")


def _unknown(name: str) -> Fault:
    return Internal(
        "something went wrong here",
        code="shared_call_failed",
        hint="the request id finds the reason in the server's log",
        internal=f"{name}, of a call that others shared",
    )
