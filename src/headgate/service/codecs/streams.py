r"""Streams of messages in the body of a request or an answer, in three forms.

| media type | a message | a fault | the end |
| --- | --- | --- | --- |
| `text/event-stream` | `event: next`, `data: {...}` | `event: error` | `event: end` |
| `application/x-ndjson` | `{"next": {...}}` | `{"error": {...}}` | `{"end": true}` |
| `application/vnd.headgate.stream+msgpack` | 0, length, payload | 1, length, payload | 2, 0 |

A frame of the last is one byte of what it is, four of the payload's length with the highest first, and the payload.
Comments in an event stream and empty lines mean nothing. Bytes become frames again in a reader:

    reader = LINES.reader(most=1_000_000)
    reader.feed(b'{"next": {"id": "7"}}\n')        # [(NEXT, b'{"id": "7"}')]
    reader.finish()                                 # what stood behind the last line break

    InvalidArgument
    └── malformed_stream      what came is no frame, or not all of one
    ResourceExhausted
    └── message_too_large     one message is longer than may be
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from headgate.kit.controls.faults import InvalidArgument, ResourceExhausted
from headgate.service.codecs.codec import JSON, MSGPACK, Codec, is_utf8
from headgate.service.codecs.media import parse, remembered

NEXT: Final = 0
ERROR: Final = 1
END: Final = 2

Frame = tuple[int, bytes]
"""NEXT, ERROR or END, and the payload as its codec wrote it."""

_HEAD: Final = 5


class Reader(Protocol):
    """Makes frames of bytes, however these are cut."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now."""

    def finish(self) -> list[Frame]:
        """Those that the end of the bytes completes. Raises InvalidArgument (`malformed_stream`) when one is cut."""


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """One form.

    `frame` makes bytes of NEXT, ERROR or END and a payload; `idle` is sent to say nothing, b"" when nothing can;
    `reader` takes the most bytes that one message may have.
    """

    media_types: tuple[str, ...]
    codec: Codec
    frame: Callable[[int, bytes], bytes]
    idle: bytes
    reader: Callable[[int], Reader]

    @property
    def media_type(self) -> str:
        """What is sent as `Content-Type`."""
        return self.media_types[0]


def _event(kind: int, payload: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (_EVENTS[kind], payload or b"{}")


def _line(kind: int, payload: bytes) -> bytes:
    return b'{"%b":%b}\n' % (_EVENTS[kind], b"true" if kind == END else payload)


def _packed(kind: int, payload: bytes) -> bytes:
    return b"%c%b%b" % (kind, len(payload).to_bytes(4, "big"), payload)


class _Lines:
    """Cuts bytes at line breaks."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._parts: list[bytes] = []
        self._kept = 0

    def lines(self, data: bytes) -> list[bytes]:
        """The lines that are whole now, without their ends."""
        *whole, rest = data.split(b"\n")
        if whole and self._parts:
            whole[0] = b"".join((*self._parts, whole[0]))
            self._parts, self._kept = [], 0
        if rest:
            self._parts.append(rest)
            self._kept += len(rest)
        if self._kept > self._most or any(len(line) > self._most for line in whole):
            raise too_large(self._most)
        return whole

    def rest(self) -> bytes:
        """What stands behind the last line break."""
        left, self._parts, self._kept = b"".join(self._parts), [], 0
        return left


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    next: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    end: bool = False


_decode_line: Final = msgspec.json.Decoder(_Line).decode


class LineReader(_Lines):
    """Reads JSON lines."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames of the lines that are whole now."""
        return [_read_line(line) for line in self.lines(data) if line.strip()]

    def finish(self) -> list[Frame]:
        """The frame of a last line that no line break ends."""
        line = self.rest()
        return [_read_line(line)] if line.strip() else []


class EventReader(_Lines):
    """Reads an event stream; other events than the three are passed over."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Frame]:
        """The frames of the events that are whole now."""
        found: list[Frame] = []
        for each in self.lines(data):
            line = each.removesuffix(b"\r")
            if line:
                self._field(line)
                continue
            if self._name in _KINDS:
                found.append((_KINDS[self._name], b"\n".join(self._data)))
            self._name, self._data, self._size = b"", [], 0
        return found

    def finish(self) -> list[Frame]:
        """An event that no empty line ends counts as none."""
        return []

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._name = value
        elif name == b"data":
            self._size += len(value)
            if self._size > self._most:
                raise too_large(self._most)
            self._data.append(value)


class FrameReader:
    """Reads frames of known length."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now."""
        buffer, found, start = self._buffer, [], 0
        buffer += data
        while len(buffer) - start >= _HEAD:
            kind, size = buffer[start], int.from_bytes(buffer[start + 1 : start + _HEAD], "big")
            if kind not in (NEXT, ERROR, END):
                raise malformed(f"{kind} is no kind of frame")
            if size > self._most:
                raise too_large(self._most)
            end = start + _HEAD + size
            if len(buffer) < end:
                break
            found.append((kind, bytes(buffer[start + _HEAD : end])))
            start = end
        del buffer[:start]
        return found

    def finish(self) -> list[Frame]:
        """Nothing: a frame says how long it is."""
        if self._buffer:
            raise malformed("the last frame is cut short")
        return []


def _read_line(line: bytes) -> Frame:
    try:
        read = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise malformed(f"a line is not what it should be: {error}") from error
    if not isinstance(read.error, msgspec.UnsetType):
        return ERROR, bytes(read.error)
    if not isinstance(read.next, msgspec.UnsetType):
        return NEXT, bytes(read.next)
    if read.end:
        return END, b""
    raise malformed("a line says nothing")


def malformed(message: str) -> InvalidArgument:
    """The fault for bytes that are no stream."""
    return InvalidArgument(message, code="malformed_stream", hint="see headgate.service.codecs.streams for the forms")


def too_large(most: int) -> ResourceExhausted:
    """The fault for one message that is too long."""
    return ResourceExhausted(f"a message of the stream is larger than {most} bytes", code="message_too_large")


_EVENTS: Final = (b"next", b"error", b"end")
_KINDS: Final = {name: kind for kind, name in enumerate(_EVENTS)}

EVENTS: Final = Stream(("text/event-stream",), JSON, _event, b":\n\n", EventReader)
LINES: Final = Stream(("application/x-ndjson", "application/ndjson", "application/jsonl"), JSON, _line, b"", LineReader)
FRAMES: Final = Stream(("application/vnd.headgate.stream+msgpack",), MSGPACK, _packed, b"", FrameReader)
STREAMS: Final = (EVENTS, LINES, FRAMES)

_BY_TYPE: Final = {name: stream for stream in STREAMS for name in stream.media_types}


@remembered
def stream_of(content_type: bytes) -> Stream | None:
    """The form of a body with this `Content-Type`, None for another."""
    media: Any = parse(content_type.decode("latin-1"))
    return _BY_TYPE.get(media.essence) if media is not None and is_utf8(media) else None
