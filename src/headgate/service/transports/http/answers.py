"""Whole answers: faults as problem documents, redirects, what a validator makes unnecessary.

made = fault_answer(NotFound("no such order"), call, problem_form(accept, JSON))
await send_whole(send, made.status, made.headers, made.body, head=False)
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from starlette.types import Send

from headgate.kit.asgi.problems import encoded, rendered
from headgate.kit.controls.call import Call, MutableHeaders
from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.service.codecs import JSON, Codec
from headgate.service.faults import document_of
from headgate.service.transports.http.alone import new_id
from headgate.service.transports.http.negotiation import Form
from headgate.service.types import plain

_EXTRA: Final = frozenset((b"retry-after", b"www-authenticate"))
_UNAUTHORIZED: Final = 401
_DIGEST_BYTES: Final = 16


class Whole(NamedTuple):
    """An answer ready to be sent."""

    status: int
    headers: MutableHeaders
    body: bytes


async def send_whole(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes, *, head: bool
) -> None:
    """Send an answer; to HEAD its headers alone."""
    listed = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": b"" if head else body})


async def send_empty(send: Send, status: int, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Send an answer without a body."""
    listed = list(headers)
    if status not in {204, 304}:
        listed.append((b"content-length", b"0"))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": b""})


def fault_answer(fault: Fault, call: Call, form: Form) -> Whole:
    """The answer that a fault becomes."""
    document = fault_document(fault, call)
    status: int = document["status"]
    headers = list(form.headers)
    if fault.retry_after is not None or status == _UNAUTHORIZED:
        headers += [each for each in rendered(fault, "", "").headers if each[0] in _EXTRA]
    try:
        return Whole(status, headers, encoded_document(document, form.codec))
    except UnicodeEncodeError:  # half a character, which JSON alone can write
        headers[0] = (b"content-type", JSON.problem_type.encode())
        return Whole(status, headers, encoded_document(document, JSON))


def fault_document(fault: Fault, call: Call) -> dict[str, Any]:
    """The document of a fault, with the status it has on this wire, and an id under which to ask about it."""
    call.request_id = call.request_id or new_id()
    return document_of(fault, call.path, call.request_id)


def encoded_document(document: Mapping[str, Any], codec: Codec) -> bytes:
    """A fault's document as bytes."""
    made = plain(document)
    return encoded(made) if codec is JSON else codec.encode(made)


def etag_of(body: bytes) -> bytes:
    """A weak validator of a body: compressed or not, it says the same."""
    return b'W/"%b"' % hashlib.blake2b(body, digest_size=_DIGEST_BYTES).hexdigest().encode()


def is_fresh(known: bytes | None, etag: bytes) -> bool:
    """Whether `If-None-Match` names this validator, compared weakly (RFC 9110, section 13.1.2)."""
    if known is None:
        return False
    opaque = etag.removeprefix(b"W/")
    return known.strip() == b"*" or any(each.strip().removeprefix(b"W/") == opaque for each in known.split(b","))


def unsupported(shown: bytes, accepted: Iterable[str]) -> InvalidArgument:
    """The fault for a body of a type that is not read here."""
    named = shown.partition(b";")[0].strip()[:64].decode("latin-1") or "of no type"
    return InvalidArgument(
        f"the body is {named if shown else 'of no type'}, which this method does not read",
        code="unsupported_media_type",
        hint=f"send Content-Type: {', or '.join(accepted)}",
    )
