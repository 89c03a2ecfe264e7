"""Cursors: where the next page starts, opaque to whoever carries it."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any, Final

import orjson

from headgate.kit.controls.faults import InvalidArgument, Violation

MOST: Final = 10_000


def make_cursor(*parts: str | int) -> str:
    """A cursor that carries these parts."""
    return urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def read_cursor(cursor: str, *kinds: type) -> list[Any]:
    """The parts of a cursor, of these kinds; [] for "". Raises InvalidArgument (`invalid_cursor`)."""
    if not cursor:
        return []
    try:
        parts = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != list(kinds):
        raise InvalidArgument(
            "The cursor is not one of this list.",
            code="invalid_cursor",
            hint="Take next_cursor of the previous page as it is, or leave it out to start anew.",
            violations=[Violation("/cursor", "is not a cursor of this list")],
        )
    return parts


def check_limit(limit: int) -> int:
    """The limit, when it is one. Raises InvalidArgument (`invalid_limit`)."""
    if not 1 <= limit <= MOST:
        raise InvalidArgument(
            f"limit must be from 1 to {MOST}.",
            code="invalid_limit",
            violations=[Violation("/limit", f"must be from 1 to {MOST}")],
        )
    return limit
