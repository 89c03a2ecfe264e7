"""Two sessions, joined by wires that deliver in order and as late as they like: every interleaving keeps its word."""

from collections import deque
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec import UNSET, Raw

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.service.transports.session import JSON_FORM, MSGPACK_FORM, WINDOW, Frame, Session
from headgate.service.transports.session.machine import (
    Called,
    Cancelled,
    Closed,
    Ended,
    Failed,
    Got,
)

MOST = 3


class Interleavings(RuleBasedStateMachine):
    """A client and a server, and what each was told."""

    def __init__(self) -> None:
        super().__init__()
        self.client = Session(JSON_FORM, client=True, most_calls=MOST, numbered=True)
        self.server = Session(JSON_FORM, client=False, most_calls=MOST, numbered=True)
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.asked: dict[int, list[int]] = {}
        self.heard: dict[int, list[int]] = {}
        self.answered: dict[int, list[int]] = {}
        self.got: dict[int, list[int]] = {}
        self.over: dict[int, int] = {}
        self.given_up: set[int] = set()
        self.served_over: dict[int, int] = {}

    def _sent(self) -> None:
        self.up.extend(JSON_FORM.encode(frame) for frame in self.client.take())
        self.down.extend(JSON_FORM.encode(frame) for frame in self.server.take())

    def _some(self, data: st.DataObject, calls: Any) -> int | None:
        calls = sorted(calls)
        return data.draw(st.sampled_from(calls)) if calls else None

    @rule(stream=st.booleans())
    def open(self, stream: bool) -> None:
        """Call, unless there are as many as may be or the server leaves."""
        try:
            call = self.client.open("/a.A/B", UNSET if stream else b"0", stream=stream)
        except Fault as fault:
            assert fault.code in {"too_many_calls", "going_away"}  # noqa: PT017 - either way is right
            assert self.client.leaving or len(self.client.calls) == MOST
            return
        self.asked[call], self.got[call], self.over[call] = [], [], 0
        self._sent()

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """Send a message of a stream, if there is credit."""
        call = self._some(data, self.client.calls)
        if call is not None and self.client.send(call, str(len(self.asked[call])).encode()):
            self.asked[call].append(len(self.asked[call]))
        self._sent()

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """Send a message of a response."""
        call = self._some(data, self.server.calls)
        if call is not None:
            told = self.answered.setdefault(call, [])
            if self.server.send(call, str(len(told)).encode()):
                told.append(len(told))
        self._sent()

    @rule(data=st.data(), which=st.sampled_from(["half", "end", "fail", "refuse", "cancel"]))
    def end(self, data: st.DataObject, which: str) -> None:
        """End something, on either side."""
        session = self.client if which in {"half", "cancel"} else self.server
        call = self._some(data, session.calls)
        if call is None:
            return
        if which == "cancel":
            assert self.client.cancel(call)
            self.over[call] += 1
            self.given_up.add(call)
        elif which == "half":
            self.client.finish(call)
        else:
            assert (self.server.fail(call, b'{"kind":"ABORTED"}')) if which == "fail" else self.server.finish(call)
            self.served_over[call] = self.served_over.get(call, 0) + 1
        self._sent()

    @rule(data=st.data(), up=st.booleans(), count=st.integers(1, 3))
    def consume(self, data: st.DataObject, up: bool, count: int) -> None:
        """Use messages up, no more than came."""
        session, heard = (self.server, self.heard) if up else (self.client, self.got)
        call = self._some(data, session.calls)
        if call is None:
            return
        key = f"used_{up}"
        used: dict[int, int] = self.__dict__.setdefault(key, {})
        left = len(heard.get(call, ())) - used.get(call, 0)
        count = min(count, left)
        if count > 0:
            used[call] = used.get(call, 0) + count
            session.consumed(call, count)
        self._sent()

    @rule()
    def leave(self) -> None:
        """The server takes no new calls."""
        if not self.server.leaving:
            self.server.leave()
        self._sent()

    @precondition(lambda self: self.up)
    @rule()
    def deliver_up(self) -> None:
        """A frame reaches the server."""
        for event in self.server.receive(JSON_FORM.decode(self.up.popleft())):
            if isinstance(event, Called):
                self.heard[event.id] = []
                self.served_over[event.id] = 0
            elif isinstance(event, Got):
                self.heard[event.id].append(int(bytes(event.data)))
            elif isinstance(event, Cancelled):
                self.served_over[event.id] += 1
            elif isinstance(event, Closed):
                assert self.heard[event.id] == self.asked[event.id]
        self._sent()

    @precondition(lambda self: self.down)
    @rule()
    def deliver_down(self) -> None:
        """A frame reaches the client."""
        for event in self.client.receive(JSON_FORM.decode(self.down.popleft())):
            if isinstance(event, Got):
                self.got[event.id].append(int(bytes(event.data)))
            elif isinstance(event, Ended | Failed):
                self.over[event.id] += 1
                if isinstance(event, Ended):
                    assert self.got[event.id] == self.answered.get(event.id, [])
        self._sent()

    @invariant()
    def nothing_lost_or_twice(self) -> None:
        """What arrived is a beginning of what was sent; each call ended at most once on each side."""
        for call, messages in self.heard.items():
            assert messages == self.asked[call][: len(messages)]
        for call, messages in self.got.items():
            assert messages == self.answered.get(call, [])[: len(messages)]
        assert all(count <= 1 for count in (*self.over.values(), *self.served_over.values()))

    @invariant()
    def bounded(self) -> None:
        """Nobody has more than a window of messages in store."""
        for up, heard in ((True, self.heard), (False, self.got)):
            used: dict[int, int] = self.__dict__.get(f"used_{up}", {})
            assert all(len(messages) - used.get(call, 0) <= WINDOW for call, messages in heard.items())

    def teardown(self) -> None:
        """Once all is delivered and the server ends what it has, every call has ended, exactly once."""
        while self.up or self.down or self.server.calls:
            while self.up:
                self.deliver_up()
            for call in self.server.calls:
                self.server.finish(call)
                self.served_over[call] += 1
            self._sent()
            while self.down:
                self.deliver_down()
        assert not self.client.calls
        assert all(count == 1 for count in self.over.values())
        assert all(count == 1 for count in self.served_over.values())


Interleavings.TestCase.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
TestInterleavings = Interleavings.TestCase


def _server(**options: Any) -> Session:
    return Session(JSON_FORM, client=False, **options)


def _call(id: int, **more: Any) -> Frame:  # noqa: A002
    return Frame("call", id, "/a.A/B", **{"data": Raw(b"1"), **more})


def test_an_id_is_used_once() -> None:
    """A call with an id that was used before breaks the protocol, also when that call is over."""
    server = _server()
    server.receive(_call(1))
    server.finish(1, b"2")
    with pytest.raises(Fault) as caught:
        server.receive(_call(1))
    assert caught.value.code == "duplicate_call"


def test_frames_of_an_ended_call_are_ignored() -> None:
    """What crossed the end of a call on its way says nothing."""
    server = _server()
    server.receive(_call(1, stream=True, data=UNSET))
    server.finish(1)
    assert server.receive(Frame("next", 1, data=Raw(b"1"))) == []
    assert server.receive(Frame("cancel", 1)) == []


def test_a_call_that_never_was_breaks_the_protocol() -> None:
    """A frame about an id that nobody opened is refused."""
    with pytest.raises(Fault) as caught:
        _server().receive(Frame("next", 7, data=Raw(b"1")))
    assert caught.value.code == "unknown_call"


def test_more_than_the_credit_breaks_the_protocol() -> None:
    """A peer that sends more messages than it has credit is refused."""
    server = _server()
    server.receive(_call(1, stream=True, data=UNSET))
    for _ in range(WINDOW):
        server.receive(Frame("next", 1, data=Raw(b"1")))
    with pytest.raises(Fault) as caught:
        server.receive(Frame("next", 1, data=Raw(b"1")))
    assert caught.value.code == "credit_exceeded"


def test_one_call_too_many_fails_alone() -> None:
    """A call beyond the limit is answered with an error, and the others go on."""
    server = _server(most_calls=1)
    server.receive(_call(1))
    assert server.receive(_call(2)) == []
    (frame,) = server.take()
    assert (frame.op, frame.id) == ("error", 2)
    assert b"too_many_calls" in bytes(frame.data)  # type: ignore[arg-type]
    assert server.calls == (1,)


def test_a_gap_in_a_numbered_session_is_noticed() -> None:
    """A frame that was lost on its way is never passed over."""
    client, server = Session(JSON_FORM, client=True, numbered=True), _server(numbered=True)
    call = client.open("/a.A/B", stream=True)
    client.send(call, b"1")
    client.send(call, b"2")
    frames = client.take()
    server.receive(frames[0])
    with pytest.raises(Unavailable) as caught:
        server.receive(frames[2])
    assert caught.value.code == "frames_lost"


def test_a_lost_connection_ends_every_call() -> None:
    """When the connection is gone each call ends, and no new one begins."""
    client = Session(JSON_FORM, client=True)
    calls = [client.open("/a.A/B", b"1") for _ in range(3)]
    assert [event.id for event in client.lost(b"{}") if isinstance(event, Failed)] == calls
    with pytest.raises(Unavailable):
        client.open("/a.A/B", b"1")


@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM], ids=["json", "msgpack"])
def test_frames_survive_their_form(form: Any) -> None:
    """A frame that is written and read is the same, its data untouched."""
    frame = Frame("call", 3, "/a.A/B", {"a": "b"}, 50, stream=True, n=2, data=Raw(form.codec.encode({"x": [1, None]})))
    read = form.decode(form.encode(frame))
    assert (read.op, read.id, read.path, read.headers, read.timeout_ms, read.n) == (
        "call",
        3,
        "/a.A/B",
        {"a": "b"},
        50,
        2,
    )
    assert form.codec.decode(bytes(read.data)) == {"x": [1, None]}


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"op":"fly"}', b'{"op":"call","id":"1"}', b"\xff\xff", b"[" * 100_000]
)
@pytest.mark.parametrize("form", [JSON_FORM, MSGPACK_FORM], ids=["json", "msgpack"])
def test_what_is_no_frame_is_refused(form: Any, raw: bytes) -> None:
    """Whatever cannot be read as a frame is refused as malformed, never with another exception."""
    with pytest.raises(Fault) as caught:
        form.decode(raw)
    assert caught.value.code == "malformed_frame"


def test_a_frame_that_is_too_large_is_not_read() -> None:
    """The limit of a frame holds before it is decoded."""
    with pytest.raises(Fault) as caught:
        JSON_FORM.decode(b"x" * 11, 10)
    assert caught.value.code == "frame_too_large"


@pytest.mark.parametrize(
    "frame",
    [
        Frame("call", 0, "/a.A/B", data=Raw(b"1")),
        Frame("call", 1, data=Raw(b"1")),
        Frame("call", 1, "/a.A/B"),
        Frame("call", 1, "/a.A/B", {str(n): "" for n in range(101)}, data=Raw(b"1")),
        Frame("call", 1, "/a.A/B", n=-1, data=Raw(b"1")),
    ],
)
def test_a_call_says_what_it_needs_to(frame: Frame) -> None:
    """A call without an id, a path or data, or with too many headers, is refused."""
    with pytest.raises(Fault) as caught:
        _server().receive(frame)
    assert caught.value.code == "malformed_frame"


def test_credit_has_a_limit() -> None:
    """Credit cannot be driven beyond its limit, nor down."""
    for n in (0, -5, 1 << 21):
        server = _server()
        server.receive(_call(1))
        with pytest.raises(Fault):
            server.receive(Frame("credit", 1, n=n))
