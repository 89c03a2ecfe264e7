"""How messages are written: JSON and MessagePack, media types and their negotiation, streams of messages.

    codec = codec_of(b"application/json; charset=utf-8")       # None for a type that nobody here reads
    decode = codec.decoder(Order)
    decode(b'{"id": "7"}')                                      # Order(id='7')
    codec.encode(order)

`media` reads `Accept` and `Content-Type`; `streams` has the three forms that streams take over HTTP.
"""

from headgate.service.codecs.codec import CODECS, JSON, MSGPACK, UNDECODABLE, Codec, codec_of, refused
from headgate.service.codecs.streams import END, ERROR, EVENTS, FRAMES, LINES, NEXT, STREAMS, Frame, Stream, stream_of

__all__ = [
    "CODECS",
    "END",
    "ERROR",
    "EVENTS",
    "FRAMES",
    "JSON",
    "LINES",
    "MSGPACK",
    "NEXT",
    "STREAMS",
    "UNDECODABLE",
    "Codec",
    "Frame",
    "Stream",
    "codec_of",
    "refused",
    "stream_of",
]
