"""Which answers may be compressed, and what caches must be told of it.

The work is done by Starlette's `GZipMiddleware`; here is what it leaves open: `gzip;q=0` is a refusal, and an
answer that is compressed for some must say `Vary: Accept-Encoding` to all (RFC 9110, sections 12.5.3 and 12.5.5).
"""

from functools import lru_cache
from typing import Final

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.controls.call import MutableHeaders

_LEVEL: Final = 6
_EXCLUDED: Final = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/zip", "application/zstd", "font/woff2")
_VARY: Final = (b"vary", b"Accept-Encoding")


def compressing(app: ASGIApp, minimum: int) -> ASGIApp:
    """`app`, its answers of `minimum` bytes and more compressed when the caller accepts gzip."""
    whole = _Whole(app, minimum)
    return GZipMiddleware(whole, minimum_size=minimum, compresslevel=_LEVEL, exclude_content_types=_EXCLUDED)


class _Whole:
    """Sends a body announced as smaller than `minimum` in one part: of several, the middleware sees no size."""

    def __init__(self, app: ASGIApp, minimum: int) -> None:
        self._app = app
        self._minimum = minimum

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[bytes] | None = None

        async def joined(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                held = [] if self._is_small(message) else None
            elif held is not None and message["type"] == "http.response.body":
                held.append(message.get("body", b""))
                if message.get("more_body", False):
                    return
                message = {"type": "http.response.body", "body": b"".join(held)}
            await send(message)

        await self._app(scope, receive, joined)

    def _is_small(self, start: Message) -> bool:
        length: bytes = dict(start.get("headers", ())).get(b"content-length", b"")
        return length.isdigit() and int(length) < self._minimum


@lru_cache(maxsize=256)
def accepts_gzip(accepted: bytes) -> bool:
    """Whether an `Accept-Encoding` names gzip with a weight above zero."""
    for part in accepted.lower().split(b","):
        name, *parameters = (each.strip() for each in part.split(b";"))
        if name == b"gzip":
            weight = next((each[2:] for each in parameters if each.startswith(b"q=")), b"1")
            return bool(weight.strip(b"0."))
    return False


@lru_cache(maxsize=256)
def compressible(content_type: bytes) -> bool:
    """Whether bodies of this media type are compressed."""
    essence = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    return essence not in _EXCLUDED and f"{essence.partition('/')[0]}/*" not in _EXCLUDED


def vary(headers: MutableHeaders, minimum: int) -> None:
    """Add `Vary` to an answer that is compressed for those who accept it, unless it is there."""
    kind, varies = b"", b""
    for name, value in headers:
        if name == b"content-length":
            if value.isdigit() and int(value) < minimum:
                return
        elif name == b"content-type":
            kind = value
        elif name == b"vary":
            varies = value.lower()
        elif name == b"content-encoding":
            return
    if b"accept-encoding" not in varies and b"*" not in varies and compressible(kind):
        headers.append(_VARY)
