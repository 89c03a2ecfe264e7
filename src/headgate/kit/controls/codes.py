"""The sixteen canonical codes in numbers, and the code an HTTP status stands for.

A fault carries the code's name as its `kind`; gRPC sends the number.

    CODES["NOT_FOUND"]       # 5
    code_of_status(404)      # "NOT_FOUND"

Source: google.rpc.Code. The way back from HTTP is our own: it is the inverse of how faults are answered, for
answers that an application made without one.
"""

from collections.abc import Mapping
from typing import Final

CODES: Final[Mapping[str, int]] = {
    "OK": 0,
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}

_OF_STATUS: Final[Mapping[int, str]] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    410: "NOT_FOUND",
    412: "FAILED_PRECONDITION",
    413: "RESOURCE_EXHAUSTED",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def code_of_status(status: int) -> str:
    """The name of the code nearest to an HTTP status; other statuses from 400 are the caller's or our own defect."""
    if status < 400:
        return "OK"
    return _OF_STATUS.get(status) or ("INVALID_ARGUMENT" if status < 500 else "INTERNAL")
