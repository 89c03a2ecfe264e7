"""Which answers are compressed, and what caches must be told of it.

The work is done by the responder of Starlette's `GZipMiddleware`. It is made only for an answer that it will
compress, as far as the headers tell; all others go past it. Here, too, is what it leaves open: `gzip;q=0` is a
refusal, and an answer that is compressed for some says `Vary: Accept-Encoding` to all (RFC 9110, sections
12.5.3 and 12.5.5). `Cache-Control: no-transform` is obeyed (RFC 9111, section 5.2.2.6).
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipResponder
from starlette.types import ASGIApp, Scope, Send

from headgate.kit.controls.call import MutableHeaders

_LEVEL: Final = 6
_EXCLUDED: Final = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/zip", "application/zstd", "font/woff2")
_VARY: Final = (b"vary", b"Accept-Encoding")
_ZERO_COPY: Final = "http.response.zerocopysend"


def responder(app: ASGIApp, minimum: int, send: Send) -> GZipResponder:
    """What compresses one answer: give its messages to `send_with_compression`, they come out at `send`."""
    made = GZipResponder(app, minimum, compresslevel=_LEVEL, exclude_content_types=_EXCLUDED)
    made.send = send
    return made


def worth(headers: Mapping[bytes, bytes], minimum: int) -> bool:
    """Whether an answer with these headers is one to compress: large enough, of a suitable type, free to be changed."""
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) < minimum:
        return False
    if b"content-encoding" in headers or b"no-transform" in headers.get(b"cache-control", b"").lower():
        return False
    return compressible(headers.get(b"content-type", b""))


def wanted(accepted: bytes | None, scope: Scope) -> bool:
    """Whether the caller, who sent this `Accept-Encoding`, gets it compressed."""
    # Starlette's responder loses the messages of that extension.
    return accepted is not None and accepts_gzip(accepted) and _ZERO_COPY not in (scope.get("extensions") or ())


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


def vary(headers: MutableHeaders) -> None:
    """Say that the answer depends on `Accept-Encoding`, unless it does already."""
    for name, value in headers:
        if name == b"vary" and (b"accept-encoding" in value.lower() or b"*" in value):
            return
    headers.append(_VARY)


def foretell(headers: MutableHeaders) -> None:
    """Say of the answer to HEAD what can be said of that to GET before it is compressed: not its length."""
    vary(headers)
    for position, (name, _) in enumerate(headers):
        if name == b"content-length":
            headers[position] = (b"content-encoding", b"gzip")
