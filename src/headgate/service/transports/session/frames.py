"""The frames of a session, as JSON text or MessagePack.

    {"op": "call", "id": 1, "path": "/orders.Orders/Get", "headers": {"traceparent": "..."}, "timeout_ms": 500,
     "data": {"id": "o-1"}}

| op | from | says |
| --- | --- | --- |
| `call` | caller | call `path`; with `stream` the requests follow, else `data` is the only one; `n` more credit |
| `next` | both | `data` is one message of a stream |
| `end` | both | no more from here; from the server the call is over, and `data` is the response of one that has one |
| `error` | both | the call is over; `data` is the fault's document. With id 0 the session is |
| `cancel` | caller | nobody waits for it any more |
| `credit` | both | the other side may send `n` more messages of this stream |
| `ping` | both | answer with `pong` and the same `n` |
| `goaway` | both | no new calls, please; those under way go on |

Members that say nothing are left out, those that nobody knows are ignored. `seq` numbers the frames of a session
from 1 where the wire below may lose some.

    InvalidArgument
    ├── malformed_frame     no frame, or one that lacks what its op needs
    └── frame_too_large
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.codecs import JSON, MSGPACK, Codec

MEBIBYTE: Final = 1_048_576
ROOM: Final = 4
"""Times that a frame may be larger than what may be in it: so a message that is too large ends its call alone."""

Op: TypeAlias = Literal["call", "next", "end", "error", "cancel", "credit", "ping", "pong", "goaway"]
Data: TypeAlias = Raw | bytes | UnsetType


class Frame(msgspec.Struct, omit_defaults=True):
    """One frame; see the module. `data` is a document already encoded, in the codec of the session."""

    op: Op
    id: int = 0
    path: str = ""
    headers: dict[str, str] | None = None
    timeout_ms: int | None = None
    stream: bool = False
    n: int = 0
    seq: int = 0
    data: Raw | UnsetType = UNSET


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """How the frames of a session are written: `encode` and `decode` move whole frames, `codec` what is in them."""

    codec: Codec
    subprotocol: str
    text: bool
    encode: Callable[[Frame], bytes]
    _decode: Callable[[bytes | str], Any]

    def decode(self, raw: bytes | str, most: int = 0) -> Frame:
        """The frame. Raises InvalidArgument; `most` is the number of bytes allowed, 0 for any."""
        if not self.text and isinstance(raw, str):
            raise malformed(f"frames of {self.subprotocol} are binary")
        if most and len(raw) > most:
            raise InvalidArgument(
                f"a frame has at most {most} bytes", code="frame_too_large", hint="send larger things as a stream"
            )
        try:
            frame: Frame = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise malformed(f"this is no frame: {error}") from error
        return frame


def malformed(message: str) -> InvalidArgument:
    """What a peer who does not keep to the protocol is told."""
    return InvalidArgument(message, code="malformed_frame", hint="see the table of frames")


JSON_FORM: Final = Form(
    JSON, "headgate.v1+json", True, msgspec.json.Encoder().encode, msgspec.json.Decoder(Frame).decode
)
MSGPACK_FORM: Final = Form(
    MSGPACK,
    "headgate.v1+msgpack",
    False,
    msgspec.msgpack.Encoder().encode,
    msgspec.msgpack.Decoder(Frame).decode,  # type: ignore[arg-type]
)
FORMS: Final = {each.subprotocol: each for each in (MSGPACK_FORM, JSON_FORM)}
"""By subprotocol, the ones we like better first."""


def form_of(codec: Codec) -> Form:
    """How sessions whose messages are in `codec` write their frames."""
    return JSON_FORM if codec is JSON else MSGPACK_FORM
