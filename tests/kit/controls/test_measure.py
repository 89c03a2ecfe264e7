"""What counts calls: which are streams, and that none is counted twice or left running."""

import pytest

from headgate.kit.controls.call import Call, Control, Pipeline
from headgate.kit.controls.faults import PermissionDenied
from headgate.kit.controls.measure import Measure

LENGTH = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
NONE = [(b"content-type", b"text/event-stream")]


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.began_with: list[str] = []
        self.streams: list[str] = []
        self.ends: list[tuple[bool, bool]] = []

    def began(self, protocol: str) -> None:
        """Keep it."""
        self.began_with.append(protocol)

    def stream_began(self, protocol: str) -> None:
        """Keep it."""
        self.streams.append(protocol)

    def ended(self, call: Call, *, counted: bool, stream: bool) -> None:
        """Keep it."""
        self.ends.append((counted, stream))


@pytest.mark.parametrize(("protocol", "method", "status", "headers", "stream"), [
    ("http", "GET", 200, LENGTH, False), ("http", "GET", 200, NONE, True), ("http", "HEAD", 200, NONE, False),
    ("http", "DELETE", 204, [], False), ("http", "GET", 304, [], False), ("websocket", "GET", 101, [], True),
    ("grpc", "POST", 200, [], True), ("connect", "POST", 200, NONE, True),
])  # fmt: skip
async def test_which_answers_are_streams(protocol, method, status, headers, stream):
    """An answer whose length is told is no stream; one without is, unless it has no body."""
    told = Told()
    pipeline = Pipeline([Measure(told)])
    call = Call(protocol, method, "/", (), "", 1.0)
    await pipeline.enter(call)
    call.status = status
    pipeline.respond(call, headers)
    pipeline.respond(call, headers)
    pipeline.settle(call, failed=pytest.fail)
    assert told.began_with == [protocol]
    assert told.streams == [protocol] * stream
    assert told.ends == [(True, stream)]


async def test_a_call_refused_before_is_counted_and_never_ran():
    """A call that an earlier control refused is counted, and does not end what never began."""

    class Refuses(Control):
        name = "hosts"

        def identify(self, call: Call) -> None:
            raise PermissionDenied("no", code="unknown_host")

    told = Told()
    pipeline = Pipeline([Refuses(), Measure(told)])
    call = Call("http", "GET", "/", (), "", 1.0)
    with pytest.raises(PermissionDenied):
        await pipeline.enter(call)
    pipeline.respond(call, NONE)
    pipeline.settle(call, failed=pytest.fail)
    assert (told.began_with, told.streams, told.ends) == ([], [], [(False, False)])
