"""Asking a registry's HTTP API: what it answers becomes JSON or a fault, whatever it is.

Fault
├── InvalidArgument      registry_refused (other 4xx)
├── NotFound             registry_not_found (404)
├── Unauthenticated      registry_unauthenticated (401)
├── PermissionDenied     registry_forbidden (403)
├── OutOfRange           registry_gone (410): start over
├── ResourceExhausted    registry_busy (429), `retry_after` in seconds
└── Unavailable          registry_unavailable (5xx, no connection, no JSON, too slow)
"""

import json
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import (
    Fault,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from headgate.service.registry.base import missing

if TYPE_CHECKING:
    import httpx

LARGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes."""

_FAULTS: Final[dict[int, tuple[type[Fault], str]]] = {
    401: (Unauthenticated, "registry_unauthenticated"),
    403: (PermissionDenied, "registry_forbidden"),
    404: (NotFound, "registry_not_found"),
    410: (OutOfRange, "registry_gone"),
    429: (ResourceExhausted, "registry_busy"),
}


def fault_of(status: int, text: str, retry_after: str = "", *, who: str, hint: str = "") -> Fault:
    """The fault that an answer tells of. `text` is what it says, `who` what answers."""
    kind, code = _FAULTS.get(
        status, (Unavailable, "registry_unavailable") if status >= 500 else (InvalidArgument, "registry_refused")
    )
    said = " ".join(text.split())[:300]
    after = float(retry_after) if retry_after.strip().isdigit() else None
    return kind(f"{who} answered {status}" + (f": {said}" if said else ""), code=code, hint=hint, retry_after=after)


def unreachable(error: Exception, who: str) -> Unavailable:
    """The fault of a connection that cannot be made, broke, or is too slow."""
    said = str(error) or type(error).__name__
    return Unavailable(f"{who} cannot be reached: {said[:300]}", code="registry_unavailable")


def decoded(content: bytes, who: str) -> Any:
    """What an answer says in JSON. Raises Unavailable."""
    try:
        return json.loads(content)
    except ValueError as error:
        raise Unavailable(f"{who} answered with no JSON", code="registry_unavailable", internal=str(error)) from error


async def body(response: "httpx.Response", who: str) -> bytes:
    """The whole body of a stream. Raises Unavailable when it is larger than any true one."""
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > LARGEST_ANSWER:
            raise Unavailable(f"{who} answered with over {LARGEST_ANSWER} bytes", code="registry_unavailable")
    return bytes(content)


def library(extra: str) -> Any:
    """The HTTP client. Raises FailedPrecondition (`missing_extra`)."""
    try:
        import httpx
    except ImportError as error:
        raise missing("httpx", extra) from error
    return httpx
