"""Messages in the body of an HTTP request or response: five bytes ahead of each, and gzip inside.

The first byte holds flags, the other four the length. gRPC-Web and Connect share this form; gRPC-Web also has
a text form, base64 throughout. Sources: PROTOCOL-WEB of gRPC; connectrpc.com/docs/protocol.
"""

import base64
import binascii
import gzip
import zlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from headgate.kit.controls.faults import Cancelled, Fault, InvalidArgument, Unimplemented
from headgate.kit.grpc.context import too_large

COMPRESSED: Final = 0x01
HEADER: Final = 5

_GZIP_WINDOW: Final = 31
_LEVEL: Final = 5

Receive = Callable[[], Awaitable[Any]]


def frame(flags: int, payload: bytes) -> bytes:
    """One enveloped message."""
    return flags.to_bytes(1, "big") + len(payload).to_bytes(4, "big") + payload


def compress(payload: bytes) -> bytes:
    """`payload` in gzip, the same bytes for the same payload."""
    return gzip.compress(payload, _LEVEL, mtime=0)


def decompress(payload: bytes, limit: int) -> bytes:
    """What was compressed, at most `limit` bytes (0 is without). Raises ResourceExhausted and InvalidArgument."""
    if not payload:
        return b""
    unpack = zlib.decompressobj(_GZIP_WINDOW)
    try:
        found = unpack.decompress(payload, limit + 1 if limit else 0)
    except zlib.error as error:
        raise _malformed("a message is not gzip, although it says so") from error
    if limit and len(found) > limit:
        raise too_large(limit)
    if not unpack.eof:
        raise _malformed("a compressed message ends early")
    return found


def encoding_of(value: bytes | None) -> bool:
    """Whether messages are compressed, as this header says. Raises Unimplemented (`unknown_encoding`)."""
    if value in {None, b"", b"identity"}:
        return False
    if value == b"gzip":
        return True
    raise Unimplemented(
        f"the compression {(value or b'').decode('latin-1')[:32]} is not known here",
        code="unknown_encoding",
        hint="send gzip or identity",
    )


def takes_gzip(value: bytes | None) -> bool:
    """Whether an `Accept-Encoding` of this form lists gzip, and not with quality 0."""
    for part in (value or b"").lower().split(b","):
        name, _, quality = part.strip().partition(b";")
        if name.strip() == b"gzip" and quality.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}:
            return True
    return False


class Body:
    """The body of a request, in parts as they come; `text` is for base64."""

    def __init__(self, receive: Receive, *, text: bool = False) -> None:
        self._receive = receive
        self._text = text
        self._half = b""
        self._ended = False

    async def part(self) -> bytes | None:
        """The next bytes; None at the end. Raises Cancelled when the caller left, InvalidArgument for bad base64."""
        if self._ended:
            return None
        message = await self._receive()
        if message["type"] != "http.request":
            self._ended = True
            raise Cancelled("the caller went away")
        self._ended = not message.get("more_body", False)
        part: bytes = message.get("body", b"")
        return self._decoded(part) if self._text else part

    async def whole(self, limit: int) -> bytes:
        """All of it. Raises ResourceExhausted beyond `limit` bytes, 0 is without."""
        parts, size = [], 0
        while (part := await self.part()) is not None:
            size += len(part)
            if limit and size > limit:
                raise too_large(limit)
            parts.append(part)
        return b"".join(parts)

    def _decoded(self, part: bytes) -> bytes:
        """The bytes in base64 so far. Each flush of the sender may have ended with padding of its own."""
        pending = self._half + part
        whole = len(pending) - len(pending) % 4
        self._half = pending[whole:]
        if self._half and self._ended:
            raise _malformed("the body is not base64")
        decoded, start = [], 0
        try:
            while start < whole:
                padding = pending.find(b"=", start, whole)
                end = whole if padding < 0 else padding - padding % 4 + 4
                decoded.append(base64.b64decode(pending[start:end], validate=True))
                start = end
        except binascii.Error as error:
            raise _malformed("the body is not base64") from error
        return b"".join(decoded)


class Frames:
    """The messages of a body. `limit` is of one message in bytes, as it comes; 0 is without."""

    def __init__(self, body: Body, limit: int) -> None:
        self._body = body
        self._limit = limit
        self._pending = bytearray()

    async def next(self) -> tuple[int, bytes] | None:
        """Flags and payload of the next message; None at the end.

        Raises ResourceExhausted (`body_too_large`) before it holds too much, InvalidArgument (`malformed_body`).
        """
        header = await self._take(HEADER, may_end=True)
        if header is None:
            return None
        size = int.from_bytes(header[1:], "big")
        if self._limit and size > self._limit:
            raise too_large(self._limit)
        payload = await self._take(size, may_end=False)
        return header[0], payload or b""

    async def _take(self, size: int, *, may_end: bool) -> bytes | None:
        pending = self._pending
        while len(pending) < size:
            part = await self._body.part()
            if part is None:
                if may_end and not pending:
                    return None
                raise _malformed("the body ends within a message")
            pending += part
        taken = bytes(pending[:size])
        del pending[:size]
        return taken


def _malformed(reason: str) -> Fault:
    return InvalidArgument(reason, code="malformed_body")


def encoded_metadata(metadata: Iterable[tuple[str, str | bytes]], prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Metadata as HTTP headers: bytes become base64 without padding. What HTTP could not carry is left out."""
    found = []
    for name, value in metadata:
        if name.endswith("-bin"):
            raw = value if isinstance(value, bytes) else value.encode()
            found.append((prefix + name.encode(), base64.b64encode(raw).rstrip(b"=")))
        elif isinstance(value, str) and value.isascii() and value.isprintable():
            found.append((prefix + name.encode(), value.encode()))
    return found


def decoded_metadata(headers: Iterable[tuple[bytes, bytes]], without: frozenset[bytes]) -> Any:
    """HTTP headers as metadata, `without` those that speak of HTTP itself."""
    found: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name in without or not name.isascii():
            continue
        if not name.endswith(b"-bin"):
            found.append((name.decode(), value.decode("latin-1")))
            continue
        for each in value.split(b","):
            stripped = each.strip().rstrip(b"=")
            try:
                found.append((name.decode(), base64.b64decode(stripped + b"=" * (-len(stripped) % 4), validate=True)))
            except binascii.Error:
                continue
    return tuple(found)
