"""The Connect protocol: RPCs that any HTTP client can make.

    POST /package.Service/Method    application/json or application/proto: one request, one response
    GET  /package.Service/Method?connect=v1&encoding=json&message=...       the same, for what has no side effects
    POST /package.Service/Method    application/connect+json or application/connect+proto: streams, each message
                                    enveloped; over HTTP/1.1 the requests come before the responses

Source: connectrpc.com/docs/protocol.
"""

import base64
import binascii
import json
from typing import Any, Final

from headgate.kit.asgi.problems import STATUS_OF_CODE
from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.kit.grpc.context import too_large
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
from headgate.kit.grpc.status import details_of, text

UNARY: Final = {b"application/json": "json", b"application/proto": "proto"}
STREAM: Final = {b"application/connect+json": "json", b"application/connect+proto": "proto"}
STREAM_PREFIX: Final = b"application/connect+"
END: Final = 0x02
VERSION: Final = b"connect-protocol-version"

STATUS: Final = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""HTTP status of each code, as Connect has it."""

_NAMES: Final = {"CANCELLED": "canceled"}
_JSON: Final = b"application/json"


def error_document(kind: str, message: str, fault: Fault | None, request_id: str) -> dict[str, Any]:
    """Connect's JSON of an error."""
    document: dict[str, Any] = {"code": _NAMES.get(kind, kind.lower())}
    if message:
        document["message"] = text(message)
    if fault is not None:
        document["details"] = [
            {
                "type": detail.DESCRIPTOR.full_name,
                "value": base64.b64encode(detail.SerializeToString()).rstrip(b"=").decode(),
            }
            for detail in details_of(fault, request_id)
        ]
    return document


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


class ConnectContext(HttpContext):
    """What both forms share."""

    def check_version(self) -> None:
        """Raises InvalidArgument for a version that is not 1."""
        if self.call.headers.get(VERSION, b"1") != b"1":
            raise InvalidArgument(
                "this is not version 1 of Connect", code="unknown_version", hint=f"send {VERSION!r}: 1"
            )

    def error(self) -> dict[str, Any]:
        """The outcome, when it is one."""
        return error_document(self.kind, self.message, self.call.fault, self.call.request_id)


class UnaryContext(ConnectContext):
    """One request and one response."""

    _leading: Metadata = ()

    async def _receive(self) -> bytes | None:
        if self.query is not None:
            return self.codec.decode(self._from_query(self.query))
        self.check_version()
        compressed = encoding_of(self.call.headers.get(b"content-encoding"))
        data = await self.body.whole(self._most_in)
        return self.codec.decode(decompress(data, self._most_in) if compressed else data)

    def _from_query(self, query: dict[bytes, bytes]) -> bytes:
        data = query.get(b"message", b"")
        if query.get(b"base64") == b"1":
            stripped = data.rstrip(b"=")
            try:
                data = base64.b64decode(stripped + b"=" * (-len(stripped) % 4), altchars=b"-_", validate=True)
            except binascii.Error as error:
                raise InvalidArgument("the message is not base64", code="malformed_body") from error
        if encoding_of(query.get(b"compression")):
            data = decompress(data, self._most_in)
        if 0 < self._most_in < len(data):
            raise too_large(self._most_in)
        return data

    async def _begin(self, metadata: Metadata) -> None:
        # The status is not known yet: the headers wait for it.
        self._leading = metadata

    async def finish(self, response: bytes | None) -> None:
        """Send the response or the error."""
        headers = encoded_metadata(self._leading) + encoded_metadata(self.trailing, b"trailer-")
        if self.kind == "OK" and response is not None:
            status, kind, body = 200, f"application/{self.codec.name}".encode(), self.codec.encode(response)
        else:
            status, kind, body = self._status(), _JSON, _encoded(self.error())
        if 0 < self.compress_from <= len(body) and takes_gzip(self.call.headers.get(b"accept-encoding")):
            body = compress(body)
            headers += [(b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
        headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await self.start(status, headers)
        await self.part(body, more=False)

    def _status(self) -> int:
        fault = self.call.fault
        return (STATUS_OF_CODE.get(fault.code) if fault is not None else None) or STATUS[self.kind]


class StreamContext(ConnectContext):
    """Enveloped messages both ways; the last one says how it went."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._frames = Frames(self.body, self._most_in)
        self._gzip = bool(self.compress_from) and takes_gzip(self.call.headers.get(b"connect-accept-encoding"))
        self._started = False
        self._ended_requests = False

    async def _receive(self) -> bytes | None:
        self.check_version()
        found = None if self._ended_requests else await self._frames.next()
        if found is None or found[0] & END:
            self._ended_requests = True
            return None
        flags, payload = found
        if flags & COMPRESSED and encoding_of(self.call.headers.get(b"connect-content-encoding")):
            payload = decompress(payload, self._most_in)
        return self.codec.decode(payload)

    async def _begin(self, metadata: Metadata) -> None:
        headers = [(b"content-type", STREAM_PREFIX + self.codec.name.encode())]
        if self._gzip:
            headers.append((b"connect-content-encoding", b"gzip"))
        self._started = True
        await self.start(200, headers + encoded_metadata(metadata))

    async def _send(self, raw: bytes) -> None:
        await self.part(self._message(raw), more=True)

    async def finish(self, response: bytes | None) -> None:
        """Send the response of a method that has one, then how it went."""
        if not self._started:
            await self._begin(())
        message = self._message(response) if response is not None and self.kind == "OK" else b""
        end: dict[str, Any] = {}
        if self.kind != "OK":
            end["error"] = self.error()
        for name, value in encoded_metadata(self.trailing):
            end.setdefault("metadata", {}).setdefault(name.decode(), []).append(value.decode())
        await self.part(message + frame(END, _encoded(end)), more=False)

    def _message(self, raw: bytes) -> bytes:
        data = self.codec.encode(raw)
        if self._gzip and len(data) >= self.compress_from:
            return frame(COMPRESSED, compress(data))
        return frame(0, data)
