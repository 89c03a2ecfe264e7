"""In which form an answer is given: what the caller accepts, against what there is.

    form = MESSAGES.choose(b"application/msgpack;q=0.5, application/json", usual=JSON_FORM)
    form.headers            # [(b"content-type", b"application/json"), (b"vary", b"Accept")]

Without `Accept`, and where several forms are as welcome, the answer is in the form of the request. None of
the forms being welcome is 406, but for a fault, which is told in the usual one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument
from headgate.service.codecs import EVENTS, FRAMES, JSON, LINES, MSGPACK, STREAMS, Codec, Stream
from headgate.service.codecs.media import LONGEST_REMEMBERED, Wanted

_MOST_KNOWN: Final = 1_024
_VARY: Final = (b"vary", b"Accept")
# `no-transform`: what compresses an answer would hold its messages back.
_STREAMED: Final = ((b"cache-control", b"no-store, no-transform"), (b"x-accel-buffering", b"no"))


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """One form. `welcome` are the media types of which each lets a caller have it."""

    media_type: str
    codec: Codec
    headers: Sequence[tuple[bytes, bytes]]
    welcome: tuple[str, ...]


def _form(media_type: str, codec: Codec) -> Form:
    return Form(media_type, codec, ((b"content-type", media_type.encode()), _VARY), (media_type,))


def _stream_form(media_type: str, stream: Stream) -> Form:
    sent = f"{media_type}; charset=utf-8" if stream is EVENTS else media_type
    return Form(media_type, stream.codec, ((b"content-type", sent.encode()), _VARY, *_STREAMED), (media_type,))


def _problem_form(codec: Codec, streams: tuple[Stream, ...]) -> Form:
    headers = ((b"content-type", codec.problem_type.encode()), _VARY, (b"cache-control", b"no-store"))
    streamed = (name for stream in streams for name in stream.media_types)
    return Form(codec.problem_type, codec, headers, (codec.problem_type, *codec.media_types, *streamed))


class Offers:
    """The forms there are, the usual ones first."""

    def __init__(self, forms: Sequence[Form]) -> None:
        self.forms = tuple(forms)
        self._known: dict[tuple[bytes, Form], Form | None] = {}

    def choose(self, accept: bytes | None, usual: Form) -> Form | None:
        """The form that is most welcome, `usual` among equals; None when none is."""
        if accept is None or accept == b"*/*":
            return usual
        try:
            return self._known[accept, usual]
        except KeyError:
            found = self._weigh(accept, usual)
            if len(accept) <= LONGEST_REMEMBERED:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[accept, usual] = found
            return found

    def _weigh(self, accept: bytes, usual: Form) -> Form | None:
        wanted = Wanted.read(accept)

        def rank(form: Form) -> tuple[int, int, bool]:
            return (*max(wanted.weight(name) for name in form.welcome), form is usual)

        best = max(self.forms, key=rank)
        return best if rank(best)[0] else None

    def refusal(self) -> InvalidArgument:
        """The fault for a caller who accepts none of them."""
        return InvalidArgument(
            "none of the media types accepted can be given",
            code="not_acceptable",
            hint=f"accept one of {', '.join(form.media_type for form in self.forms)}",
        )


_OF_CODEC: Final = {codec: [_form(name, codec) for name in codec.media_types] for codec in (JSON, MSGPACK)}
_OF_STREAM: Final = {stream: [_stream_form(name, stream) for name in stream.media_types] for stream in STREAMS}
_STREAM_OF: Final = {form: stream for stream, forms in _OF_STREAM.items() for form in forms}

MESSAGES: Final = Offers([_OF_CODEC[JSON][0], *_OF_CODEC[MSGPACK]])
MESSAGE_STREAMS: Final = Offers(list(_STREAM_OF))
_PROBLEM_OF: Final = {JSON: _problem_form(JSON, (EVENTS, LINES)), MSGPACK: _problem_form(MSGPACK, (FRAMES,))}
PROBLEMS: Final = Offers(list(_PROBLEM_OF.values()))


def accept_of(call: Call) -> bytes | None:
    """The `Accept` of a call, all of them when there are several."""
    value = call.headers.get(b"accept")
    if value is not None and len(call.headers) != len(call.raw_headers):
        return b",".join(call.values(b"accept"))
    return value


def message_form(accept: bytes | None, codec: Codec) -> Form:
    """The form of a single message, `codec` being that of the request. Raises InvalidArgument (`not_acceptable`)."""
    form = MESSAGES.choose(accept, _OF_CODEC[codec][0])
    if form is None:
        raise MESSAGES.refusal()
    return form


def stream_form(accept: bytes | None, sent: Stream | None) -> tuple[Form, Stream]:
    """The form of a stream, `sent` being that of the request's. Raises InvalidArgument (`not_acceptable`)."""
    form = MESSAGE_STREAMS.choose(accept, _OF_STREAM[sent or EVENTS][0])
    if form is None:
        raise MESSAGE_STREAMS.refusal()
    return form, _STREAM_OF[form]


def problem_form(accept: bytes | None, codec: Codec) -> Form:
    """The form of a fault's document: that of `codec` where the caller accepts neither."""
    usual: Any = _PROBLEM_OF[codec]
    return PROBLEMS.choose(accept, usual) or usual
