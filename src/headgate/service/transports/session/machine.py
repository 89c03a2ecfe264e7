"""The session: many calls over one ordered connection, as a state machine without I/O and without a clock.

    session = Session(client=True)
    call = session.open("/orders.Orders/Track", data)
    wire.send(session.take())                           # frames that wait to be sent
    for event in session.receive(frame):                # what a frame of the other side means
        ...

Both sides use it. A call ends exactly once: with Ended or Failed at the caller; with Cancelled, or by what the server
itself says (`finish`, `fail`), at the server. Frames about a call that is over are ignored: they crossed its end.

Credit counts messages: each side may send `WINDOW` messages of a stream, and one more for each that the other says
it has used up (`consumed`, told in halves of a window). So what one peer can make the other hold is known: a window
of frames for each call. A single request or response needs no credit.

The caller chooses ids, each greater than the last. What breaks that, or sends more than its credit, breaks the
protocol: `receive` raises, and the connection is to be closed. One call too many fails alone.

    InvalidArgument
    ├── malformed_frame      a frame that cannot be from this side, or lacks what it needs
    ├── duplicate_call       an id that was used before
    ├── unknown_call         an id that was never opened
    └── credit_exceeded
    Unavailable
    ├── going_away           `open` after a `goaway`
    ├── frames_lost          a gap in a numbered session
    └── too_many_pings
    ResourceExhausted
    ├── too_many_calls
    ├── body_too_large       of one call, which fails alone; the others go on
    ├── message_too_large    of one stream
    └── answer_too_large     what the caller itself does not take
"""

from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

from msgspec import UNSET, Raw, UnsetType

from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted, Unavailable
from headgate.service.codecs.streams import too_large
from headgate.service.faults import document_of
from headgate.service.transports.session.frames import Data, Form, Frame, malformed

WINDOW: Final = 16
"""Messages of a stream that may be sent before any credit came. Part of the protocol."""

MOST_CREDIT: Final = 1 << 20
MOST_HEADERS: Final = 100
MOST_PONGS: Final = 1_000
"""Answers to pings that may wait to be sent."""


class Called(NamedTuple):
    """The other side calls."""

    id: int
    frame: Frame


class Got(NamedTuple):
    """A message of a stream. It counts against the window until `consumed`."""

    id: int
    data: Raw


class Closed(NamedTuple):
    """The caller's stream of requests is at its end; the call goes on."""

    id: int


class Ended(NamedTuple):
    """The call is over, and well; `data` is the response of one that has one."""

    id: int
    data: Data


class Failed(NamedTuple):
    """The call is over; `document` is the fault's."""

    id: int
    document: Raw


class Cancelled(NamedTuple):
    """The caller does not wait any more."""

    id: int


class Credited(NamedTuple):
    """More messages may be sent."""

    id: int


class GoneAway(NamedTuple):
    """The other side takes no new calls."""


class Ponged(NamedTuple):
    """The other side is there."""

    n: int


Event: TypeAlias = Called | Got | Closed | Ended | Failed | Cancelled | Credited | GoneAway | Ponged


@dataclass(slots=True)
class _Half:
    """One call as one side sees it."""

    sending: bool
    """Whether this side may still send messages."""
    receiving: bool
    """Whether the other side may."""
    credit: int = WINDOW
    """How many this side may send."""
    window: int = WINDOW
    """How many the other side may send."""
    used: int = 0
    """How many were consumed and not told yet."""


class Session:
    """See the module. `most_calls` are at a time; `form` encodes the faults that the session itself answers with.

    `numbered` sessions count their frames and notice a gap. What the other side sends in one frame has at most
    `most_message` bytes, 0 for any number.
    """

    def __init__(
        self, form: Form, *, client: bool, most_calls: int = 128, most_message: int = 0, numbered: bool = False
    ) -> None:
        self._form = form
        self._client = client
        self._most_calls = most_calls
        self._most_message = most_message
        self._numbered = numbered
        self._calls: dict[int, _Half] = {}
        self._highest = 0
        self._sent = self._received = self._pongs = 0
        self._out: list[Frame] = []
        self.leaving = False
        """Whether this side, or the other, said that there are to be no new calls."""

    @property
    def calls(self) -> tuple[int, ...]:
        """Ids of those under way."""
        return tuple(self._calls)

    def take(self) -> list[Frame]:
        """The frames to be sent, in order; they are forgotten here."""
        out, self._out, self._pongs = self._out, [], 0
        if self._numbered:
            for frame in out:
                self._sent += 1
                frame.seq = self._sent
        return out

    def next_seq(self) -> int:
        """The number of one more frame, which goes past `take`."""
        self._sent += 1
        return self._sent

    # What this side does.

    def open(
        self,
        path: str,
        data: Data = UNSET,
        *,
        headers: dict[str, str] | None = None,
        timeout_ms: int | None = None,
        stream: bool = False,
    ) -> int:
        """Call; with `stream` the requests are sent afterwards. Returns the id."""
        if self.leaving:
            raise Unavailable("the other side takes no new calls", code="going_away", hint="connect anew")
        if len(self._calls) >= self._most_calls:
            raise _too_many(self._most_calls)
        self._highest += 1
        self._calls[self._highest] = _Half(sending=stream, receiving=True)
        self._out.append(Frame("call", self._highest, path, headers, timeout_ms, stream=stream, data=_raw(data)))
        return self._highest

    def may_send(self, call: int) -> bool:
        """Whether a message may be sent now; not when the call is over, or has no credit."""
        half = self._calls.get(call)
        return half is not None and half.sending and half.credit > 0

    def send(self, call: int, data: Data) -> bool:
        """Send a message of a stream. False, and nothing is sent, when the call is over or there is no credit."""
        half = self._calls.get(call)
        if half is None or not half.sending or half.credit <= 0:
            return False
        half.credit -= 1
        self._out.append(Frame("next", call, data=_raw(data)))
        return True

    def finish(self, call: int, data: Data = UNSET) -> bool:
        """Say that there is no more; at the server this ends the call. False when it was over already."""
        half = self._calls.get(call)
        if half is None or not half.sending:
            return False
        half.sending = False
        self._out.append(Frame("end", call, data=_raw(data)))
        if not self._client:
            del self._calls[call]
        return True

    def fail(self, call: int, document: bytes) -> bool:
        """End the call with a fault. False when it was over already."""
        if self._calls.pop(call, None) is None:
            return False
        self._out.append(Frame("error", call, data=Raw(document)))
        return True

    def cancel(self, call: int) -> bool:
        """Give the call up, at the caller. False when it was over already."""
        if self._calls.pop(call, None) is None:
            return False
        self._out.append(Frame("cancel", call))
        return True

    def consumed(self, call: int, count: int = 1) -> None:
        """Say that messages were used up, so that as many more may come."""
        half = self._calls.get(call)
        if half is None or not half.receiving:
            return
        half.used += count
        if half.used * 2 >= WINDOW:
            half.window += half.used
            self._out.append(Frame("credit", call, n=half.used))
            half.used = 0

    def ping(self, n: int = 0) -> None:
        """Ask whether the other side is there."""
        self._out.append(Frame("ping", n=n))

    def leave(self) -> None:
        """Ask for no new calls. Those that are already on their way are taken."""
        if not self.leaving or not self._client:
            self.leaving = True
            self._out.append(Frame("goaway"))

    # What the other side does.

    def receive(self, frame: Frame) -> list[Event]:
        """What the frame means. Raises what the module says, when the other side breaks the protocol."""
        if self._numbered:
            self._received += 1
            if frame.seq != self._received:
                raise Unavailable("frames of the stream were lost on their way", code="frames_lost", hint="call again")
        op = frame.op
        if op == "call":
            return self._on_call(frame)
        if op == "ping":
            self._pongs += 1
            if self._pongs > MOST_PONGS:
                raise Unavailable("more pings than answers can be sent", code="too_many_pings")
            self._out.append(Frame("pong", n=frame.n))
            return []
        if op == "pong":
            return [Ponged(frame.n)]
        if op == "goaway":
            self.leaving = True
            return [GoneAway()]
        half = self._calls.get(frame.id)
        if half is None:
            if op == "error" and frame.id == 0 and frame.data is not UNSET:
                return self._all_failed(_given(frame))
            if not 0 < frame.id <= self._highest:
                raise InvalidArgument(f"there was no call {frame.id}", code="unknown_call")
            return []
        return self._on_half(frame, half)

    def _on_half(self, frame: Frame, half: _Half) -> list[Event]:
        op, call = frame.op, frame.id
        if op == "next":
            if not half.receiving:
                raise malformed(f"call {call} is sent messages after its end")
            if half.window <= 0:
                raise InvalidArgument(f"call {call} was sent more messages than it has credit", code="credit_exceeded")
            half.window -= 1
            data = _given(frame)
            return self._given_up(call) if self._is_too_large(data) else [Got(call, data)]
        if op == "credit":
            if not 0 < frame.n <= MOST_CREDIT - half.credit:
                raise malformed(f"{frame.n} is no credit")
            half.credit += frame.n
            return [Credited(call)] if half.sending else []
        if op == "end":
            if not half.receiving:
                raise malformed(f"call {call} ends twice")
            half.receiving = False
            if not self._client:
                return [Closed(call)]
            if self._is_too_large(frame.data):
                return self._given_up(call)
            del self._calls[call]
            return [Ended(call, frame.data)]
        if op == "error" and self._client:
            document = _given(frame)
            del self._calls[call]
            return [Failed(call, document)]
        if not self._client:  # cancel; a caller's error is as much
            del self._calls[call]
            return [Cancelled(call)]
        raise malformed("only a caller cancels")

    def _on_call(self, frame: Frame) -> list[Event]:
        if self._client:
            raise malformed("only a client calls")
        if frame.id <= 0 or not frame.path or len(frame.headers or ()) > MOST_HEADERS:
            raise malformed(f"a call has an id, a path and at most {MOST_HEADERS} headers")
        if frame.id <= self._highest:
            raise InvalidArgument(f"there was a call {frame.id} before", code="duplicate_call", hint="count upwards")
        if not frame.stream and frame.data is UNSET:
            raise malformed("a call without a stream has data")
        if not 0 <= frame.n <= MOST_CREDIT:
            raise malformed(f"{frame.n} is no credit")
        self._highest = frame.id
        if len(self._calls) >= self._most_calls:
            self._refuse(frame.id, _too_many(self._most_calls))
        elif self._is_too_large(frame.data):
            self._refuse(frame.id, body_too_large(self._most_message))
        else:
            self._calls[frame.id] = _Half(sending=True, receiving=frame.stream, credit=WINDOW + frame.n)
            return [Called(frame.id, frame)]
        return []

    def _refuse(self, call: int, fault: Fault) -> None:
        self._out.append(Frame("error", call, data=self._document(fault)))

    def _document(self, fault: Fault) -> Raw:
        return Raw(self._form.codec.encode(document_of(fault)))

    def _is_too_large(self, data: Raw | UnsetType) -> bool:
        return bool(self._most_message) and isinstance(data, Raw) and len(data) > self._most_message

    def _given_up(self, call: int) -> list[Event]:
        """End a call that was sent more at once than is taken here."""
        del self._calls[call]
        if not self._client:
            self._refuse(call, too_large(self._most_message))
            return [Cancelled(call)]
        self._out.append(Frame("cancel", call))
        return [Failed(call, self._document(answer_too_large(self._most_message)))]

    def _all_failed(self, document: Raw) -> list[Event]:
        """The other side gave the session up."""
        ended, self._calls = self._calls, {}
        self.leaving = True
        return [Failed(call, document) if self._client else Cancelled(call) for call in ended]

    def lost(self, document: bytes) -> list[Event]:
        """The connection is gone: what becomes of the calls under way."""
        self._out.clear()
        return self._all_failed(Raw(document))


def _given(frame: Frame) -> Raw:
    if not isinstance(frame.data, Raw):
        raise malformed(f"'{frame.op}' has data")
    return frame.data


def _raw(data: Data) -> Any:
    return Raw(data) if isinstance(data, bytes) else data


def body_too_large(most: int) -> ResourceExhausted:
    """The fault for a request that is larger than the server takes."""
    return ResourceExhausted(
        f"the request is larger than {most} bytes", code="body_too_large", hint="send larger things as a stream"
    )


def answer_too_large(most: int) -> ResourceExhausted:
    """The fault for an answer that its caller does not take."""
    return ResourceExhausted(f"the answer is larger than {most} bytes", code="answer_too_large")


def _too_many(most: int) -> ResourceExhausted:
    return ResourceExhausted(
        f"{most} calls are under way", code="too_many_calls", hint="wait for some, or use another connection"
    )
