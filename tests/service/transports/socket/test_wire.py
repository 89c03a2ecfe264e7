"""What is particular to the WebSocket wire: the handshake, its identity, limits, and how sockets end."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from headgate.kit.controls.api_keys import ApiKeys
from headgate.kit.controls.call import Call, Control, Pipeline
from headgate.kit.controls.faults import Fault, ResourceExhausted
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.serve.http import HttpServer
from headgate.service.client.errors import ConnectionLost, Unreachable
from headgate.service.codecs import JSON, MSGPACK
from headgate.service.host import host
from headgate.service.transports.session import WINDOW
from headgate.service.transports.socket import SocketClient, SocketWire
from tests.service.transports.echo import Echo, Say, out, request

PATIENCE = 10.0
PROTOCOL = "headgate.v1+json"


class Served:
    """A wire on a port."""

    def __init__(self, server: HttpServer, service: Echo) -> None:
        self.server = server
        self.service = service

    @property
    def url(self) -> str:
        """Where it is."""
        return f"ws://127.0.0.1:{self.server.port}/rpc"

    def open(self, **options: Any) -> Any:
        """A bare socket to it."""
        options.setdefault("subprotocols", [PROTOCOL])
        return connect(self.url, **options)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """The service, without a shell."""
    service = Echo()
    wire = SocketWire(host([service]), most_calls=4, most_message=2_500)
    server = HttpServer(wire, host="127.0.0.1", port=0, setting="port")
    await server.start()
    yield Served(server, service)
    await server.stop()


async def _say(socket: ClientConnection, **frame: Any) -> None:
    await socket.send(json.dumps(frame))


async def _hear(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), PATIENCE))
    return found


async def _closed(socket: ClientConnection) -> tuple[int, str]:
    await asyncio.wait_for(socket.wait_closed(), PATIENCE)
    return socket.close_code or 0, socket.close_reason or ""


async def test_a_socket_without_a_subprotocol_is_told_which_there_are(served: Served) -> None:
    """Whoever offers none of ours is closed with 1002 and the names of those there are."""
    async with served.open(subprotocols=None) as socket:
        code, reason = await _closed(socket)
    assert code == 1002
    assert PROTOCOL in reason


async def test_frames_are_what_the_table_says(served: Served) -> None:
    """A call in JSON is answered with one frame."""
    async with served.open() as socket:
        await _say(socket, op="call", id=1, path="/echo.Echo/Say", data={"text": "x"})
        assert await _hear(socket) == {"op": "end", "id": 1, "data": {"text": "x"}}
        await _say(socket, op="ping", n=7)
        assert await _hear(socket) == {"op": "pong", "n": 7}


async def test_a_socket_that_breaks_the_protocol_is_told_and_closed(served: Served) -> None:
    """What is no frame, or makes no sense, ends the socket: an error frame, then 1002."""
    for sent in ("{", '{"op":"next","id":9,"data":1}', '{"op":"call","id":0,"path":"/x","data":1}'):
        async with served.open() as socket:
            await socket.send(sent)
            frame = await _hear(socket)
            assert (frame["op"], frame.get("id", 0)) == ("error", 0)
            assert (await _closed(socket))[0] == 1002


async def test_a_frame_that_is_too_large_closes_the_socket(served: Served) -> None:
    """More bytes than a frame may have are not decoded."""
    async with served.open() as socket:
        await socket.send(" " * 10_001)
        assert (await _hear(socket))["data"]["code"] == "frame_too_large"
        assert (await _closed(socket))[0] == 1009


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([{"op": "call", "id": 2, "path": "/echo.Echo/Say", "data": {"text": "x" * 2_500}}], "body_too_large"),
        (
            [
                {"op": "call", "id": 2, "path": "/echo.Echo/Join", "stream": True},
                {"op": "next", "id": 2, "data": {"text": "x" * 2_500}},
                {"op": "next", "id": 2, "data": {"text": "crossed its end"}},
            ],
            "message_too_large",
        ),
    ],
)
async def test_a_message_that_is_too_large_ends_its_call_alone(served: Served, frames: list[Any], code: str) -> None:
    """A message beyond the limit, in a frame that is not, fails its call; the others on the socket go on."""
    async with served.open() as socket:
        await _say(socket, op="call", id=1, path="/echo.Echo/Wait", data={})
        for frame in frames:
            await _say(socket, **frame)
        told = await _hear(socket)
        assert (told["op"], told["id"], told["data"]["code"]) == ("error", 2, code)
        served.service.gate.set()
        assert await _hear(socket) == {"op": "end", "id": 1, "data": {"text": "open"}}


async def test_an_answer_that_is_too_large_ends_its_call_alone(served: Served) -> None:
    """What a client does not take is ResourceExhausted; its other calls, and those after, are answered."""
    client = SocketClient(served.url, most_message=50)
    other = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    with pytest.raises(ResourceExhausted) as raised:
        await client.unary(out("Say"), Say("x" * 60))
    assert raised.value.code == "answer_too_large"
    served.service.gate.set()
    assert await asyncio.wait_for(other, PATIENCE) == Say("open")
    await client.aclose()


async def test_text_on_a_socket_of_binary_frames_breaks_the_protocol(served: Served) -> None:
    """A socket that speaks MessagePack takes no text: it is closed with 1002, and that is no defect."""
    async with served.open(subprotocols=["headgate.v1+msgpack"]) as socket:
        await socket.send('{"op":"ping"}')
        assert MSGPACK.decode(await asyncio.wait_for(socket.recv(), PATIENCE))["data"]["code"] == "malformed_frame"
        assert (await _closed(socket))[0] == 1002


async def test_too_many_calls_are_refused_one_by_one(served: Served) -> None:
    """Calls beyond the limit fail, those before them go on."""
    async with served.open() as socket:
        for number in range(1, 6):
            await _say(socket, op="call", id=number, path="/echo.Echo/Wait", data={})
        frame = await _hear(socket)
        assert (frame["op"], frame["id"], frame["data"]["code"]) == ("error", 5, "too_many_calls")
        served.service.gate.set()
        assert sorted([(await _hear(socket))["id"] for _ in range(4)]) == [1, 2, 3, 4]


async def test_a_stream_stops_at_its_credit(served: Served) -> None:
    """A client that gives no credit is sent a window of messages, and no more."""
    async with served.open() as socket:
        await _say(socket, op="call", id=1, path="/echo.Echo/Count", data={"to": 1000})
        for _ in range(WINDOW):
            assert (await _hear(socket))["op"] == "next"
        await _say(socket, op="ping")
        assert (await _hear(socket))["op"] == "pong"
        assert served.service.sent <= WINDOW + 1
        await _say(socket, op="credit", id=1, n=1)
        assert (await _hear(socket))["data"] == {"text": str(WINDOW)}


async def test_calls_end_with_their_socket(served: Served) -> None:
    """When a client leaves its calls are cancelled."""
    async with served.open() as socket:
        await _say(socket, op="call", id=1, path="/echo.Echo/Wait", data={})
        await asyncio.wait_for(served.service.begun.wait(), PATIENCE)
    await asyncio.wait_for(served.service.cancelled.wait(), PATIENCE)


async def test_a_drained_socket_finishes_its_calls(served: Served) -> None:
    """When serving ends clients are told to go away, and what is under way is answered first."""
    client = SocketClient(served.url)
    call = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    await asyncio.wait_for(served.service.begun.wait(), PATIENCE)
    served.server.leave()
    draining = asyncio.create_task(served.server.drain(PATIENCE))
    served.service.gate.set()
    assert await asyncio.wait_for(call, PATIENCE) == Say("open")
    await asyncio.wait_for(draining, PATIENCE)
    await client.aclose()


async def test_what_crossed_the_news_of_the_end_is_answered(served: Served) -> None:
    """A call that was sent before its client heard that serving ends is served: the socket waits for its `pong`."""
    async with served.open() as socket:
        await _say(socket, op="ping", n=1)
        assert (await _hear(socket))["op"] == "pong"
        served.server.leave()
        draining = asyncio.create_task(served.server.drain(PATIENCE))
        assert [(await _hear(socket))["op"] for _ in range(2)] == ["goaway", "ping"]
        await _say(socket, op="call", id=1, path="/echo.Echo/Say", data={"text": "x"})
        await _say(socket, op="pong")
        assert await _hear(socket) == {"op": "end", "id": 1, "data": {"text": "x"}}
        assert (await _closed(socket))[0] == 1000
    await asyncio.wait_for(draining, PATIENCE)


@asynccontextmanager
async def limited(**settings: float) -> AsyncIterator[tuple[ClientConnection, Echo]]:
    """A socket within a shell with these times, and the service behind it."""
    service = Echo()
    kit = Kit(HardeningSettings(rate_limit_default="off", **settings))
    server = HttpServer(kit.harden(SocketWire(host([service]))), host="127.0.0.1", port=0, setting="port")
    await server.start()
    async with connect(f"ws://127.0.0.1:{server.port}/rpc", subprotocols=[PROTOCOL]) as socket:
        yield socket, service
    await server.stop()
    await kit.aclose()


async def test_a_socket_with_calls_under_way_is_not_idle() -> None:
    """While a call takes its time the socket is pinged, so that the time it may be idle does not end it."""
    async with limited(idle_timeout=0.4) as (socket, service):
        await _say(socket, op="call", id=1, path="/echo.Echo/Wait", data={})
        assert {(await _hear(socket))["op"] for _ in range(10)} == {"ping"}
        service.gate.set()
        while (heard := await _hear(socket))["op"] == "ping":
            pass
        assert heard == {"op": "end", "id": 1, "data": {"text": "open"}}


async def test_an_idle_socket_is_parted_from() -> None:
    """A socket on which nothing is said is told to go away, and closed with 1000 once its client has heard of it."""
    async with limited(idle_timeout=4.0) as (socket, _):
        assert [(await _hear(socket))["op"] for _ in range(2)] == ["goaway", "ping"]
        await _say(socket, op="pong")
        assert (await _closed(socket))[0] == 1000


async def test_a_socket_near_its_longest_time_finishes_its_calls() -> None:
    """Before the longest time of a socket is up new calls are sent elsewhere, and those under way are answered."""
    async with limited(total_timeout=5.0) as (socket, service):
        await _say(socket, op="call", id=1, path="/echo.Echo/Wait", data={})
        assert [(await _hear(socket))["op"] for _ in range(2)] == ["goaway", "ping"]
        await _say(socket, op="pong")
        service.gate.set()
        assert await _hear(socket) == {"op": "end", "id": 1, "data": {"text": "open"}}
        assert (await _closed(socket))[0] == 1000


async def test_nobody_there_is_unreachable() -> None:
    """Without a server a call fails, and nothing was sent."""
    with pytest.raises(Unreachable):
        await SocketClient("ws://127.0.0.1:1/rpc").unary(out("Say"), Say("x"))


async def test_a_client_connects_again(served: Served) -> None:
    """After its connection broke, calls under way fail, the next one has a new connection, and no task is left."""
    client = SocketClient(served.url)
    call = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    await asyncio.wait_for(served.service.begun.wait(), PATIENCE)
    assert client._link is not None
    broken = client._link
    broken._connection.transport.abort()
    with pytest.raises(ConnectionLost):
        await asyncio.wait_for(call, PATIENCE)
    assert await client.unary(out("Say"), Say("x")) == Say("x")
    await asyncio.wait(broken._tasks, timeout=PATIENCE)
    assert all(task.done() for task in broken._tasks)
    await client.aclose()


async def test_the_identity_of_the_handshake_holds() -> None:
    """Calls have the principal of their socket; credentials in a frame change nothing."""
    seen: list[Call] = []

    class Watch(Control):
        name = "watch"

        def settle(self, call: Call) -> None:
            seen.append(call)

    kit = Kit(
        HardeningSettings(rate_limit_default="off"),
        authenticators=[ApiKeys.parse("ci=0123456789abcdef0123456789abcdef,ops=fedcba9876543210fedcba9876543210")],
        more=[Watch()],
    )
    wire = SocketWire(host([Echo()]), pipeline=Pipeline(kit.controls, frozenset(("socket",))))
    server = HttpServer(kit.harden(wire), host="127.0.0.1", port=0, setting="port")
    await server.start()
    client = SocketClient(
        f"ws://127.0.0.1:{server.port}/rpc", JSON, headers={"x-api-key": "0123456789abcdef0123456789abcdef"}
    )
    other = {"x-api-key": "fedcba9876543210fedcba9876543210", "x-own": "mine", "x-forwarded-for": "6.6.6.6"}
    try:
        found = await client.unary(out("See", headers=other), request("See"))
        assert (found.wire, found.who, found.header) == ("socket", "ci", "mine")
        assert await client.unary(out("Secret"), request("Secret")) == Say("secret")
        calls = [call for call in seen if call.protocol == "socket"]
        assert [(call.principal.id, call.client) for call in calls] == [("ci", "127.0.0.1")] * 2
        with pytest.raises(Fault):
            await SocketClient(client.url).unary(out("Say"), Say("x"))
    finally:
        await client.aclose()
        await server.stop()
        await kit.aclose()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"path": "/echo.Echo/Say", "data": {"text": "x"}, "timeout_ms": 0}, "malformed_timeout"),
        ({"path": "/echo.Echo/Count", "data": {"to": 1}, "timeout_ms": 0}, "malformed_timeout"),
        ({"path": "/echo.Echo/Say", "stream": True}, "no_stream_expected"),
        ({"path": "/echo.Echo/Join", "data": {"text": "x"}}, "stream_expected"),
    ],
)
async def test_a_call_that_is_refused_for_its_frame_is_a_call_like_others(frame: dict[str, Any], code: str) -> None:
    """What is refused for how it was sent has passed the controls: it is identified, counted and logged as others."""
    kit = Kit(HardeningSettings(rate_limit_default="2/minute"))
    wire = SocketWire(host([Echo()]), pipeline=Pipeline(kit.controls, frozenset(("socket",))))
    server = HttpServer(wire, host="127.0.0.1", port=0, setting="port")
    await server.start()
    told = []
    async with connect(f"ws://127.0.0.1:{server.port}/rpc", subprotocols=[PROTOCOL]) as socket:
        for number in (1, 2, 3):
            await _say(socket, op="call", id=number, headers={"x-request-id": "r-1"}, **frame)
            heard = await _hear(socket)
            told.append((heard["op"], heard["data"]["code"], heard["data"]["request_id"]))
    await server.stop()
    await kit.aclose()
    assert told == [("error", code, "r-1"), ("error", code, "r-1"), ("error", "rate_limited", "r-1")]
