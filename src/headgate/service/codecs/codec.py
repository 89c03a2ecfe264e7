"""JSON and MessagePack, each with its media types.

decode = MSGPACK.decoder(Order)
try:
order = decode(body)
except UNDECODABLE as error:
raise refused(MSGPACK, Order, body, error) from error

InvalidArgument
└── invalid_argument    what is wrong with the input, all of it, each with a JSON pointer
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.service.codecs.media import MediaType, parse, remembered
from headgate.service.types import dec_hook, enc_hook, violations

Decode = Callable[[bytes], Any]

UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for input that is not what it should be."""


@dataclass(frozen=True, slots=True, eq=False)
class Codec:
    """One way to write messages. `encode` takes any value, `decode` gives plain objects, `decoder` makes typed ones."""

    name: str
    media_types: tuple[str, ...]
    """Under which it is known; the first is what is sent."""
    problem_type: str
    """Media type of a fault's document."""
    decoder: Callable[[Any], Decode]
    encode: Callable[[Any], bytes]
    decode: Decode

    @property
    def media_type(self) -> str:
        """What is sent as `Content-Type`."""
        return self.media_types[0]


def _json(kind: Any) -> Decode:
    return msgspec.json.Decoder(kind, dec_hook=dec_hook).decode


def _msgpack(kind: Any) -> Decode:
    return msgspec.msgpack.Decoder(kind, dec_hook=dec_hook).decode


JSON: Final = Codec(
    "json",
    ("application/json", "text/json"),
    "application/problem+json",
    _json,
    msgspec.json.Encoder(enc_hook=enc_hook).encode,
    msgspec.json.decode,
)
MSGPACK: Final = Codec(
    "msgpack",
    ("application/msgpack", "application/x-msgpack", "application/vnd.msgpack"),
    "application/problem+msgpack",
    _msgpack,
    msgspec.msgpack.Encoder(enc_hook=enc_hook).encode,
    msgspec.msgpack.decode,
)
CODECS: Final = (JSON, MSGPACK)

_BY_TYPE: Final = {each: codec for codec in CODECS for each in (*codec.media_types, codec.problem_type)}
_SUFFIXES: Final = (("+json", JSON), ("+msgpack", MSGPACK))


@remembered
def codec_of(content_type: bytes) -> Codec | None:
    """The codec of a `Content-Type`, None when there is none: another type, another charset, or no media type."""
    media = parse(content_type.decode("latin-1"))
    if media is None or not is_utf8(media):
        return None
    found = _BY_TYPE.get(media.essence)
    if found is None and media.essence.startswith("application/"):
        found = next((codec for suffix, codec in _SUFFIXES if media.essence.endswith(suffix)), None)
    return found


def is_utf8(media: MediaType) -> bool:
    """Whether the text of a media type is UTF-8, as it is unless it says otherwise."""
    return media.parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8", "us-ascii"}


def refused(codec: Codec, kind: Any, body: bytes, error: Exception, pointer: str = "") -> InvalidArgument:
    """The fault for a body that is no `kind`: all that is wrong with it, `pointer` being where the body stands."""
    from headgate.kit.asgi.inputs import invalid

    try:
        value = codec.decode(body)
    except UNDECODABLE as broken:
        return _broken(codec, body, broken, pointer)
    listed = violations(kind, value, pointer)
    return invalid(listed or [Violation(pointer + each.pointer, each.message) for each in _said(error)])


def _broken(codec: Codec, body: bytes, error: Exception, pointer: str) -> InvalidArgument:
    from headgate.kit.asgi.inputs import invalid, not_json

    if codec is JSON and not pointer:
        return not_json(body)
    name = "JSON" if codec is JSON else "MessagePack"
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
    return invalid([Violation(pointer, f"the {'message' if pointer else 'body'} is not {name}: {reason}")])


def _said(error: Exception) -> tuple[Violation, ...]:
    from headgate.kit.asgi.inputs import of_msgspec

    return of_msgspec(str(error)).violations
