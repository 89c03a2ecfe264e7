"""Conditional requests (RFC 9110, section 13): an ETag is the revision that last changed the resource, quoted.

A failed precondition is 412. 409 is kept for what the caller cannot see coming by reading first: a name
that is taken, a resource in use, a reference to nothing.
"""

import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Header

from headgate.kit.controls.faults import InvalidArgument, Violation

_ETAG = re.compile(r'\*|(W/)?"[\x21\x23-\x7e\x80-\xff]*"')


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold before a write. `if_match` is ETags or "*"; `absent` says the resource must not exist."""

    if_match: str | None = None
    absent: bool = False


def must_match(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="The ETag the resource must have, or `*`: it must exist; else 412."),
    ] = None,
) -> Precondition:
    """Read the precondition of a PATCH or DELETE."""
    return Precondition(if_match=_etags("If-Match", if_match))


def must_match_or_be_absent(
    if_match: Annotated[
        str | None,
        Header(alias="If-Match", description="The ETag the resource must have, or `*`: it must exist; else 412."),
    ] = None,
    if_none_match: Annotated[
        str | None, Header(alias="If-None-Match", description="`*`: the resource must not exist yet. Else 412.")
    ] = None,
) -> Precondition:
    """Read the precondition of a PUT."""
    if if_none_match is None:
        return must_match(if_match)
    if if_none_match.strip() != "*":
        raise _bad_header(
            "If-None-Match", "on a PUT it takes '*' only", "send If-None-Match: *, or If-Match with the ETag"
        )
    if if_match is not None:
        raise _bad_header("If-None-Match", "contradicts If-Match", "send one of the two")
    return Precondition(absent=True)


def not_modified(if_none_match: str | None, etag: str) -> bool:
    """Whether a reader already holds this ETag (weak comparison, as a GET asks for)."""
    if if_none_match is None:
        return False
    held = [item.strip().removeprefix("W/") for item in if_none_match.split(",")]
    return etag in held or held == ["*"]


def _etags(header: str, value: str | None) -> str | None:
    if value is None:
        return None
    for item in value.split(","):
        etag = item.strip()
        if re.fullmatch(r"\w+", etag):
            raise _bad_header(header, "an ETag stands in double quotes", f'send {header}: "{etag}"')
        if not _ETAG.fullmatch(etag):
            raise _bad_header(header, "must be ETags in double quotes, or *", f'send {header}: "12"')
    return value.strip()


def _bad_header(header: str, message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(
        f"header {header}: {message}",
        code="invalid_header",
        hint=hint,
        violations=[Violation("", f"{header}: {message}", hint)],
    )
