"""What calls are promised on every wire that speaks sessions: WebSocket, and NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headgate.kit.controls.call import Call, Control, Pipeline
from headgate.kit.controls.faults import (
    FailedPrecondition,
    Fault,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)
from headgate.kit.serve.http import HttpServer
from headgate.service.client.wires import Outgoing
from headgate.service.codecs import JSON, MSGPACK
from headgate.service.host import host
from headgate.service.transports.nats import NatsClient, NatsWire
from headgate.service.transports.socket import SocketClient, SocketWire
from headgate.testing.nats import Nats, nats_or_skip
from tests.service.transports.echo import CONTRACT, Echo, Say, TooMuch, Wired, out, parts, request

PATIENCE = 10.0


class Watch(Control):
    """Keeps the calls that were settled, and refuses those that ask to be."""

    name = "watch"

    def __init__(self) -> None:
        self.settled: list[Call] = []
        self.came = asyncio.Event()

    def admit(self, call: Call) -> None:
        """Refuse on request."""
        if b"x-request-id" in call.headers and call.headers[b"x-request-id"] == b"refuse":
            raise PermissionDenied("asked for", code="asked_for")

    def settle(self, call: Call) -> None:
        """Keep it."""
        self.settled.append(call)
        self.came.set()

    async def has(self, count: int) -> None:
        """Wait until that many are over."""
        async with asyncio.timeout(PATIENCE):
            while len(self.settled) < count:
                self.came.clear()
                await self.came.wait()


@pytest.fixture(scope="module")
def nats() -> Iterator[Nats]:
    """One server for all tests here."""
    with nats_or_skip() as server:
        yield server


@pytest.fixture
def watch() -> Watch:
    """The control that watches."""
    return Watch()


@pytest.fixture(params=["socket", "nats"])
async def wired(request: pytest.FixtureRequest, watch: Watch) -> AsyncIterator[Wired]:
    """The service behind each wire."""
    service = Echo()
    hosted = host([service])
    pipeline = Pipeline([watch], frozenset((request.param,)))
    async with contextlib.AsyncExitStack() as stack:
        if request.param == "socket":
            server = HttpServer(SocketWire(hosted, pipeline=pipeline), host="127.0.0.1", port=0, setting="port")
            await server.start()
            stack.push_async_callback(server.stop)
            make: Any = lambda codec, **more: SocketClient(f"ws://127.0.0.1:{server.port}/rpc", codec, **more)  # noqa: E731
        else:
            url = request.getfixturevalue("nats").url
            wire = NatsWire(hosted, url, pipeline=pipeline, max_concurrent=8)
            await wire.start()
            stack.push_async_callback(wire.stop)
            make = lambda codec, **more: NatsClient(url, codec, **more)  # noqa: E731
        yield Wired(service, make)


@pytest.fixture(params=[JSON, MSGPACK], ids=["json", "msgpack"])
async def client(request: pytest.FixtureRequest, wired: Wired) -> AsyncIterator[Any]:
    """A client of each codec."""
    made = wired.client(request.param)
    yield made
    await made.aclose()


@pytest.fixture
async def plain(wired: Wired) -> AsyncIterator[Any]:
    """A client where the codec makes no difference."""
    made = wired.client(JSON)
    yield made
    await made.aclose()


async def test_a_call_is_answered(client: Any, watch: Watch) -> None:
    """One request, one response, one call settled."""
    assert await client.unary(out("Say"), Say("x")) == Say("x")
    (call,) = watch.settled
    assert (call.status, call.code, call.route, call.complete) == (200, "OK", CONTRACT.path(out("Say").method), True)


async def test_calls_do_not_wait_for_each_other(wired: Wired, plain: Any) -> None:
    """A slow call does not hold up those after it."""
    slow = asyncio.create_task(plain.unary(out("Wait"), request("Wait")))
    await asyncio.wait_for(wired.service.begun.wait(), PATIENCE)
    assert await plain.unary(out("Say"), Say("x")) == Say("x")
    wired.service.gate.set()
    assert await slow == Say("open")


async def test_streams_go_each_way(client: Any) -> None:
    """More messages than the window holds arrive in order, in all kinds of streams."""
    count = 100
    assert [each.text async for each in client.stream(out("Count"), request("Count", to=count))] == [
        str(number) for number in range(count)
    ]
    joined = [each async for each in client.stream(out("Join"), parts(count))]
    assert joined[0].text.count(",") == count - 1
    assert [each.text async for each in client.stream(out("Chat"), parts(count))] == [f"A{n}" for n in range(count)]
    assert [each async for each in client.stream(out("Count"), request("Count", to=0))] == []
    assert [each.text async for each in client.stream(out("Join"), parts(0))] == [""]


async def test_a_fault_comes_back_as_its_class(client: Any) -> None:
    """What a method declares to raise is raised at its caller, with its details."""
    with pytest.raises(TooMuch) as caught:
        await client.unary(out("Refuse"), request("Refuse"))
    assert caught.value.details == {"left": 2}


async def test_a_fault_in_a_stream_comes_after_what_was_sent(plain: Any) -> None:
    """The messages before a fault arrive."""
    stream = plain.stream(out("FailAfter"), request("FailAfter", to=3))
    got = [(await anext(stream)).text for _ in range(3)]
    with pytest.raises(FailedPrecondition):
        await anext(stream)
    assert got == ["0", "1", "2"]


async def test_a_defect_is_hidden(plain: Any, watch: Watch) -> None:
    """An exception that is no fault tells its caller nothing of itself."""
    with pytest.raises(Internal) as caught:
        await plain.unary(out("Broken"), request("Broken"))
    assert "secret" not in str(caught.value)
    assert watch.settled[0].status == 500


async def test_all_that_is_wrong_is_told(client: Any) -> None:
    """A request that is refused names everything that is wrong, by JSON pointers."""
    with pytest.raises(InvalidArgument) as caught:
        await client.unary(out("Say"), {"text": 3})
    assert [each.pointer for each in caught.value.violations] == ["/text"]
    with pytest.raises(InvalidArgument) as caught:
        _ = [each async for each in client.stream(out("Count"), {"to": "x", "more": 1})]
    assert {each.pointer for each in caught.value.violations} == {"/to", "/more"}


async def test_a_message_of_a_stream_is_checked(plain: Any) -> None:
    """A wrong message in a stream of requests ends the call with its position."""

    async def wrong() -> AsyncIterator[Any]:
        yield Say("x")
        yield {"text": 1}

    with pytest.raises(InvalidArgument) as caught:
        _ = [each async for each in plain.stream(out("Join"), wrong())]
    assert [each.pointer for each in caught.value.violations] == ["/1/text"]


async def test_guards_hold(plain: Any) -> None:
    """A method for those who are known refuses strangers."""
    with pytest.raises(Unauthenticated):
        await plain.unary(out("Secret"), request("Secret"))


async def test_controls_see_each_call(plain: Any, watch: Watch) -> None:
    """A control can refuse a call on the wire, and each is settled once."""
    refused = out("Say", headers={"x-request-id": "refuse"})
    with pytest.raises(PermissionDenied):
        await plain.unary(refused, Say("x"))
    with pytest.raises(PermissionDenied):
        _ = [each async for each in plain.stream(out("Count", headers=refused.headers), request("Count", to=1))]
    await plain.unary(out("Say"), Say("x"))
    await watch.has(3)
    assert [call.refused_by for call in watch.settled] == ["watch", "watch", ""]


async def test_the_call_carries_what_it_came_with(plain: Any, watch: Watch) -> None:
    """Headers and the time that is left reach the handler."""
    until = asyncio.get_running_loop().time() + 5
    seen = await plain.unary(out("See", headers={"x-own": "mine"}, until=until), request("See"))
    assert seen.wire == watch.settled[0].protocol
    assert seen.header == "mine"
    assert 0 < seen.remaining <= 5


async def test_a_deadline_ends_the_call_at_the_service(wired: Wired, plain: Any) -> None:
    """When the caller's time is up the handler is cancelled, and the caller told."""
    until = asyncio.get_running_loop().time() + 0.1
    with pytest.raises(Fault) as caught:
        await asyncio.wait_for(plain.unary(out("Wait", until=until), request("Wait")), PATIENCE)
    assert caught.value.kind == "DEADLINE_EXCEEDED"
    await asyncio.wait_for(wired.service.cancelled.wait(), PATIENCE)


async def test_who_stops_reading_a_stream_cancels_it(wired: Wired, plain: Any, watch: Watch) -> None:
    """A stream that is left half read ends at the service, which is never more than a window ahead."""
    stream = plain.stream(out("Count"), request("Count", to=1_000_000))
    async for _ in stream:
        break
    await stream.aclose()
    await asyncio.wait_for(wired.service.cancelled.wait(), PATIENCE)
    await watch.has(1)
    assert wired.service.sent < 100
    assert watch.settled[0].code == "CANCELLED"


async def test_what_is_not_there_is_said(plain: Any) -> None:
    """A method nobody has is told as such, and at once."""
    method = CONTRACT.methods["Say"]
    with pytest.raises(Fault) as caught:
        await plain.unary(Outgoing(method, "/echo.Echo/Nothing"), Say("x")) if isinstance(
            plain, SocketClient
        ) else await NatsClient(plain._to.url, service="nothing").unary(Outgoing(method, "/echo.Echo/Say"), Say("x"))
    assert isinstance(caught.value, NotFound) or caught.value.code == "no_responders"


async def test_many_calls_at_once(plain: Any, watch: Watch) -> None:
    """A hundred calls at a time each get their own answer."""
    found = await asyncio.gather(*(plain.unary(out("Say"), Say(str(number))) for number in range(100)))
    assert [each.text for each in found] == [str(number) for number in range(100)]
    assert len(watch.settled) == 100


async def test_after_closing_nothing_is_under_way(wired: Wired, watch: Watch) -> None:
    """A call whose client closes ends at both ends."""
    client = wired.client(JSON)
    call = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    await asyncio.wait_for(wired.service.begun.wait(), PATIENCE)
    await client.aclose()
    with pytest.raises(Fault):
        await call
    wired.service.gate.set()
    await watch.has(1)
