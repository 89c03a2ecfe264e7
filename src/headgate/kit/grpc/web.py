"""gRPC-Web: gRPC for browsers, over HTTP/1.1 as well.

    POST /package.Service/Method     application/grpc-web[+proto] or application/grpc-web-text[+proto] (base64)

Trailers are the last message of the body, marked by a flag. A refusal, too, comes there: browsers show pages
neither headers nor HTTP trailers that CORS does not name. The answer has the form of the request, unless `Accept`
names another of these only. Source: doc/PROTOCOL-WEB.md of gRPC.
"""

import base64
from typing import Any, Final
from urllib.parse import quote

from headgate.kit.controls.codes import CODES
from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.grpc.frames import (
    COMPRESSED,
    Frames,
    compress,
    decompress,
    encoded_metadata,
    encoding_of,
    frame,
    takes_gzip,
)
from headgate.kit.grpc.http import HttpContext
from headgate.kit.grpc.metadata import Metadata
from headgate.kit.grpc.status import DETAILS, rich_status, text

PREFIX: Final = b"application/grpc-web"
TEXT: Final = b"application/grpc-web-text"
TRAILERS: Final = 0x80

_TYPES: Final = frozenset((PREFIX, PREFIX + b"+proto", TEXT, TEXT + b"+proto"))
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")


def media_type(value: bytes | None) -> bytes:
    """A `Content-Type` without parameters, in lower case."""
    return (value or b"").partition(b";")[0].strip().lower()


def is_grpc_web(content_type: bytes) -> bool:
    """Whether a request of this media type is gRPC-Web."""
    return content_type.startswith(PREFIX)


def answered(kind: bytes, accept: bytes) -> bytes:
    """The media type of the answer to a request of this one, and with this `Accept`."""
    wanted = [found for part in accept.split(b",") if (found := media_type(part)) in _TYPES]
    if kind in wanted or not wanted:
        return kind if kind in _TYPES else PREFIX + b"+proto"
    return wanted[0]


class GrpcWebContext(HttpContext):
    """One RPC over gRPC-Web."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        headers = self.call.headers
        self._type = media_type(headers.get(b"content-type"))
        self._answered = answered(self._type, headers.get(b"accept", b""))
        self._answers_text = self._answered.startswith(TEXT)
        self._frames = Frames(self.body, self._most_in)
        self._gzip = bool(self.compress_from) and takes_gzip(headers.get(b"grpc-accept-encoding"))
        self._started = False

    def is_text(self) -> bool:
        """Whether the body of the request is base64."""
        return media_type(self.call.headers.get(b"content-type")).startswith(TEXT)

    async def _receive(self) -> bytes | None:
        if self._type not in _TYPES:
            raise InvalidArgument(
                "only protobuf is understood here",
                code="unsupported_media_type",
                hint="send application/grpc-web+proto",
            )
        found = await self._frames.next()
        if found is None or found[0] & TRAILERS:
            return None
        flags, payload = found
        if flags & COMPRESSED and encoding_of(self.call.headers.get(b"grpc-encoding")):
            return decompress(payload, self._most_in)
        return payload

    async def _begin(self, metadata: Metadata) -> None:
        headers = [(b"content-type", self._answered)]
        if self._gzip:
            headers.append((b"grpc-encoding", b"gzip"))
        self._started = True
        await self.start(200, headers + encoded_metadata(metadata))

    async def _send(self, raw: bytes) -> None:
        await self.part(self._wired(self._message(raw)), more=True)

    async def finish(self, response: bytes | None) -> None:
        """Send the response of a method that has one, then the trailers."""
        if not self._started:
            await self._begin(())
        message = self._message(response) if response is not None and self.kind == "OK" else b""
        await self.part(self._wired(message + self._trailers()), more=False)

    def _message(self, raw: bytes) -> bytes:
        if self._gzip and len(raw) >= self.compress_from:
            return frame(COMPRESSED, compress(raw))
        return frame(0, raw)

    def _wired(self, data: bytes) -> bytes:
        return base64.b64encode(data) if self._answers_text else data

    def _trailers(self) -> bytes:
        lines = [(b"grpc-status", str(CODES[self.kind]).encode())]
        if self.kind != "OK":
            lines.append((b"grpc-message", quote(text(self.message), safe=_PRINTABLE).encode()))
        trailing = self.trailing
        if self.call.fault is not None:
            details = rich_status(self.call.fault, self.call.request_id).SerializeToString()
            trailing = (*trailing, (DETAILS, details))
        lines += encoded_metadata(trailing)
        return frame(TRAILERS, b"".join(b"%b: %b\r\n" % line for line in lines))
