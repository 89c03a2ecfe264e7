"""What callers send: a whole body, or messages one by one as the handler asks for them.

body = await body_of(receive, call.headers, most=4_194_304)
async for order in Incoming(receive, LINES, operation, most=4_194_304): ...

ResourceExhausted
├── body_too_large          announced or found
└── message_too_large       one of a stream
InvalidArgument
├── unsupported_media_type  also a body that is compressed
└── malformed_stream
Cancelled                   the caller left, or broke its stream off
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive

from headgate.kit.controls.faults import Cancelled, InvalidArgument, ResourceExhausted
from headgate.service.codecs import ERROR, NEXT, STREAMS, UNDECODABLE, Codec, Frame, Stream, codec_of, stream_of
from headgate.service.codecs import refused as not_decoded
from headgate.service.transports.http.answers import unsupported
from headgate.service.transports.http.operation import Operation

_READ = ("application/json", "application/msgpack")
_STREAMED = tuple(stream.media_type for stream in STREAMS[1:])


async def body_of(receive: Receive, headers: Mapping[bytes, bytes], most: int) -> bytes:
    """The whole body. Raises ResourceExhausted, and Cancelled when the caller leaves in its midst."""
    announced = headers.get(b"content-length")
    if announced is not None and announced.isdigit() and (len(announced) > 18 or int(announced) > most):
        raise _too_large(most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts, size = [body], len(body)
        while message.get("more_body", False) and size <= most:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        body = b"".join(parts)
    if message["type"] == "http.disconnect":
        raise _gone()
    if len(body) > most:
        raise _too_large(most)
    return body


def message_codec(headers: Mapping[bytes, bytes], body: bytes) -> Codec | None:
    """The codec of a body, None when there is no body. Raises InvalidArgument (`unsupported_media_type`)."""
    named = headers.get(b"content-type")
    if named is None:
        if body:
            raise unsupported(b"", _READ)
        return None
    _refuse_encoded(headers)
    codec = codec_of(named)
    if codec is None:
        if not body:
            return None
        raise unsupported(named, _READ)
    return codec


def sent_stream(headers: Mapping[bytes, bytes]) -> Stream:
    """The form of a stream that comes in. Raises InvalidArgument (`unsupported_media_type`)."""
    named = headers.get(b"content-type", b"")
    _refuse_encoded(headers)
    stream = stream_of(named)
    if stream is None or stream is STREAMS[0]:  # browsers read events, and nobody sends them
        raise unsupported(named, _STREAMED)
    return stream


class Incoming:
    """The messages of a stream, read when the next is asked for: a slow handler slows its caller down."""

    def __init__(self, receive: Receive, stream: Stream, operation: Operation, most: int) -> None:
        self._receive = receive
        self._codec = stream.codec
        self._reader = stream.reader(most)
        self._decode = operation.decoders[stream.codec]
        self._kind = operation.request
        self._frames: deque[Frame] = deque()
        self._count = 0
        self._ended = False

    def __aiter__(self) -> "Incoming":
        return self

    async def __anext__(self) -> Any:
        while not self._frames:
            if self._ended:
                raise StopAsyncIteration
            await self._read()
        kind, payload = self._frames.popleft()
        if kind == NEXT:
            return self._decoded(payload)
        self._frames.clear()
        self._ended = True
        if kind == ERROR:
            raise Cancelled("the caller broke its stream off", code="stream_broken_off")
        raise StopAsyncIteration

    async def _read(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self._ended = True
            raise _gone()
        try:
            self._frames += self._reader.feed(message.get("body", b""))
            if not message.get("more_body", False):
                self._ended = True
                self._frames += self._reader.finish()
        except Exception:
            self._ended = True
            raise

    def _decoded(self, payload: bytes) -> Any:
        number, self._count = self._count, self._count + 1
        try:
            return self._decode(payload)
        except UNDECODABLE as error:
            self._ended = True
            self._frames.clear()
            raise not_decoded(self._codec, self._kind, payload, error, f"/{number}") from error


def _refuse_encoded(headers: Mapping[bytes, bytes]) -> None:
    coding = headers.get(b"content-encoding", b"identity").strip().lower()
    if coding != b"identity":
        raise InvalidArgument(
            f"the body is encoded as {coding[:64].decode('latin-1')}",
            code="unsupported_media_type",
            hint="send it without Content-Encoding",
        )


def _gone() -> Cancelled:
    return Cancelled("the caller went away")


def _too_large(most: int) -> ResourceExhausted:
    return ResourceExhausted(f"the request body is larger than {most} bytes", code="body_too_large")
