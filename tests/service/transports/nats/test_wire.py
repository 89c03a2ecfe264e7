"""What is particular to the NATS wire: discovery, plain requests, drain, outages."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import nats as nats_py
import pytest

from headgate.kit.controls.call import Call, Control, Pipeline
from headgate.kit.controls.faults import Fault, ResourceExhausted, Unavailable
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.service.client.errors import Unreachable
from headgate.service.codecs import MSGPACK
from headgate.service.host import host
from headgate.service.transports.nats import NatsClient, NatsWire
from headgate.service.transports.nats.connection import Connecting, connect
from headgate.testing.nats import Nats, nats_or_skip
from tests.service.transports.echo import CONTRACT, Echo, Say, out, request

PATIENCE = 15.0


@pytest.fixture(scope="module")
def nats() -> Iterator[Nats]:
    """One server."""
    with nats_or_skip() as server:
        yield server


@pytest.fixture
async def wire(nats: Nats) -> AsyncIterator[tuple[NatsWire, Echo]]:
    """The service on it."""
    service = Echo()
    made = NatsWire(
        host([service]), nats.url, max_concurrent=2, max_waiting=1, max_message=2_000, metadata={"zone": "a"}
    )
    await made.start()
    yield made, service
    await made.stop()


@pytest.fixture
async def bare(nats: Nats) -> AsyncIterator[Any]:
    """nats-py's own client."""
    client = await nats_py.connect(nats.url)
    yield client
    await client.close()


async def test_discovery_answers_as_the_standard_says(wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """PING, INFO and STATS are answered for all, for the name and for the id, and nats-py's types read them."""
    from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

    await bare.request("svc.echo.Say", b'{"text":"x"}', timeout=PATIENCE)
    (id_,) = wire[0].discovery.ids
    for where in ("", ".echo", f".echo.{id_}"):
        ping = ServicePing.from_dict(json.loads((await bare.request(f"$SRV.PING{where}", timeout=PATIENCE)).data))
        assert (ping.name, ping.id, ping.version) == ("echo", id_, "1.2.3")
        info = ServiceInfo.from_dict(json.loads((await bare.request(f"$SRV.INFO{where}", timeout=PATIENCE)).data))
        assert info.metadata["headgate.contract"] == CONTRACT.hash
        assert info.metadata["zone"] == "a"
        assert {each.subject for each in info.endpoints} == {f"svc.echo.{name}" for name in CONTRACT.methods}
        stats = ServiceStats.from_dict(json.loads((await bare.request(f"$SRV.STATS{where}", timeout=PATIENCE)).data))
        counted = {each.name: each.num_requests for each in stats.endpoints}
        assert counted["Say"] == 1


async def test_a_plain_request_is_a_call(wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """Any NATS client can call; what fails has the standard's headers and the fault's document."""
    answer = await bare.request("svc.echo.Say", b'{"text":"x"}', timeout=PATIENCE)
    assert (answer.data, answer.headers) == (b'{"text":"x"}', None)
    packed = {"content-type": "application/msgpack"}
    answer = await bare.request("svc.echo.Say", MSGPACK.encode({"text": "x"}), timeout=PATIENCE, headers=packed)
    assert MSGPACK.decode(answer.data) == {"text": "x"}
    answer = await bare.request("svc.echo.Refuse", b"{}", timeout=PATIENCE)
    assert answer.headers["Nats-Service-Error-Code"] == "409"
    assert answer.headers["Nats-Service-Error"] == "it is too much"
    assert json.loads(answer.data)["code"] == "too_much"


@pytest.mark.parametrize(
    ("method", "body", "headers", "code"),
    [
        ("Say", b"{", {}, "invalid_argument"),
        ("Say", b"{}", {"content-type": "text/plain"}, "unsupported_media_type"),
        ("Say", b"{}", {"x-request-timeout-ms": "soon"}, "malformed_timeout"),
        ("Say", b'{"text":"%b"}' % (b"x" * 2_000), {}, "body_too_large"),
        ("Count", b'{"to":1}', {}, "stream_expected"),
        ("Count", b"{", {"headgate-frames": "1"}, "malformed_frame"),
        (
            "Count",
            b'{"op":"call","id":1,"path":"/a.B/C","data":1,"seq":1}',
            {"headgate-frames": "1"},
            "malformed_frame",
        ),
    ],
)
async def test_what_cannot_be_read_is_refused(
    wire: tuple[NatsWire, Echo], bare: Any, method: str, body: bytes, headers: dict[str, str], code: str
) -> None:
    """Whatever is wrong with a request, it is answered."""
    answer = await bare.request(f"svc.echo.{method}", body, timeout=PATIENCE, headers=headers or None)
    document = json.loads(answer.data)
    assert (document.get("data") or document)["code"] in {code, "malformed_json", "not_json"}


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("Say", {"content-type": "text/plain"}, "unsupported_media_type"),
        ("Say", {"x-request-timeout-ms": "soon"}, "malformed_timeout"),
        ("Count", {}, "stream_expected"),
    ],
)
async def test_what_cannot_be_read_is_a_call_like_others(
    nats: Nats, bare: Any, method: str, headers: dict[str, str], code: str
) -> None:
    """What is refused for how it was sent has passed the controls: it is identified, counted and logged as others."""
    kit = Kit(HardeningSettings(rate_limit_default="2/minute"))
    made = NatsWire(host([Echo()]), nats.url, pipeline=Pipeline(kit.controls, frozenset(("nats",))))
    await made.start()
    told = []
    for _ in range(3):
        sent = {**headers, "x-request-id": "r-1"}
        answer = await bare.request(f"svc.echo.{method}", b"{}", timeout=PATIENCE, headers=sent)
        document = json.loads(answer.data)
        told.append((document["code"], document["request_id"]))
    await made.stop()
    await kit.aclose()
    assert told == [(code, "r-1"), (code, "r-1"), ("rate_limited", "r-1")]


async def test_no_bytes_stand_for_no_arguments(wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """A method without parameters is called with an empty message, as over HTTP."""
    wire[1].gate.set()
    assert json.loads((await bare.request("svc.echo.Wait", b"", timeout=PATIENCE)).data) == {"text": "open"}


async def test_a_message_of_a_stream_may_be_too_large(wire: tuple[NatsWire, Echo], nats: Nats) -> None:
    """A message of a stream has the limit of a request, and its call ends with that."""
    client = NatsClient(nats.url)

    async def large() -> AsyncIterator[Say]:
        yield Say("x" * 2_000)

    with pytest.raises(ResourceExhausted) as raised:
        [each async for each in client.stream(out("Join"), large())]
    assert raised.value.code == "message_too_large"
    await client.aclose()


async def test_a_request_without_a_reply_subject_is_not_served(wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """Nobody could be told what became of it."""
    await bare.publish("svc.echo.Wait", b"{}")
    await bare.request("svc.echo.Say", b'{"text":"x"}', timeout=PATIENCE)
    assert not wire[1].begun.is_set()


async def test_calls_are_bounded(wire: tuple[NatsWire, Echo], nats: Nats) -> None:
    """So many run, so many wait, and the next is refused at once."""
    client = NatsClient(nats.url)
    calls = [asyncio.create_task(client.unary(out("Wait"), request("Wait"))) for _ in range(4)]
    done, waiting = await asyncio.wait(calls, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    assert isinstance(refused.exception(), Unavailable)
    wire[1].gate.set()
    assert [await each for each in waiting] == [Say("open")] * 3
    await client.aclose()


async def test_draining_answers_what_came_and_sends_the_rest_elsewhere(nats: Nats) -> None:
    """A wire that drains finishes its calls; new ones go to the other instance, and none fails."""
    services = [Echo(), Echo()]
    wires = [NatsWire(host([service]), nats.url) for service in services]
    for each in wires:
        await each.start()
    client = NatsClient(nats.url)
    waiting = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    async with asyncio.timeout(PATIENCE):
        begun = [asyncio.create_task(service.begun.wait()) for service in services]
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
    first = 0 if services[0].begun.is_set() else 1
    draining = asyncio.create_task(wires[first].drain(PATIENCE))
    for number in range(200):
        assert await client.unary(out("Say"), Say(str(number))) == Say(str(number))
    services[first].gate.set()
    assert await waiting == Say("open")
    await asyncio.wait_for(draining, PATIENCE)
    for each in begun:
        each.cancel()
    for wired in wires:
        await wired.stop()
    with pytest.raises(Unreachable):
        await client.unary(out("Say"), Say("x"))
    await client.aclose()


async def test_draining_ends_after_its_grace(nats: Nats) -> None:
    """What is left when the grace is up is answered: serving ends here."""
    service = Echo()
    wire = NatsWire(host([service]), nats.url)
    await wire.start()
    client = NatsClient(nats.url)
    call = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
    await asyncio.wait_for(service.begun.wait(), PATIENCE)
    await wire.drain(0.01)
    with pytest.raises(Fault) as caught:
        await asyncio.wait_for(call, PATIENCE)
    assert caught.value.code == "stopping"
    await wire.stop()
    await client.aclose()


async def test_an_outage_is_survived() -> None:
    """When the server is back, wire and client go on by themselves."""
    with nats_or_skip() as server:
        wire, client = NatsWire(host([Echo()]), server.url), NatsClient(server.url)
        await wire.start()
        assert await client.unary(out("Say"), Say("1")) == Say("1")
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    async with asyncio.timeout(0.5):
                        assert await client.unary(out("Say"), Say("2")) == Say("2")
                        break
                except (Fault, TimeoutError):
                    continue
        await client.aclose()
        await wire.stop()


async def test_nobody_there_is_unreachable() -> None:
    """Without a NATS server neither side begins."""
    with pytest.raises(Unreachable):
        await NatsClient("nats://127.0.0.1:1", connect_timeout=0.2).unary(out("Say"), Say("x"))
    with pytest.raises(Unreachable):
        await NatsWire(host([Echo()]), "nats://127.0.0.1:1", connect_timeout=0.2).bind()


async def test_messages_survive_being_read_in_pieces(nats: Nats) -> None:
    """Large and small messages, with and without headers, arrive whole however they are cut."""
    one, two = await connect(Connecting(nats.url)), await connect(Connecting(nats.url))
    got: list[tuple[int, int]] = []
    done = asyncio.Event()
    sizes = [0, 1, 100, 70_000, 5, 900_000, 0, 131_072, 65_536, 3] * 3

    def came(message: Any) -> None:
        got.append((len(message.data), len(message.headers)))
        if len(got) == len(sizes):
            done.set()

    await one.listen("pieces.*", came)
    await one.flush()
    for number, size in enumerate(sizes):
        two.post("pieces.x", b"x" * size, headers=b"a: b\r\n" if number % 2 else b"")
    await asyncio.wait_for(done.wait(), PATIENCE)
    assert got == [(size, number % 2) for number, size in enumerate(sizes)]
    await one.aclose()
    await two.aclose()


async def test_a_caller_who_leaves_cancels_its_call(nats: Nats, wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """A cancelled call is cancelled where it is served, also before its first step, and its place is free again."""
    _, service = wire
    client = NatsClient(nats.url)
    for _ in range(3):  # one more than are served at a time
        service.begun.clear()
        calling = asyncio.create_task(client.unary(out("Wait"), request("Wait")))
        await asyncio.wait_for(service.begun.wait(), PATIENCE)
        calling.cancel()
        await asyncio.wait([calling])
    inbox = bare.new_inbox()
    for _ in range(3):
        await bare.publish("svc.echo.Wait", b"{}", reply=inbox)
        await bare.publish("svc.echo.$CANCEL", inbox.encode())
    await bare.flush()
    assert await asyncio.wait_for(client.unary(out("Say"), Say("x")), PATIENCE) == Say("x")
    service.gate.set()
    assert await asyncio.wait_for(client.unary(out("Wait"), request("Wait")), PATIENCE) == Say("open")
    await client.aclose()


async def test_what_a_stream_is_sent_with_comes_once(nats: Nats) -> None:
    """Headers of a call that streams are not doubled by being said with its message and with its frame."""
    seen: list[list[tuple[bytes, bytes]]] = []

    class Headers(Control):
        name = "headers"

        def admit(self, call: Call) -> None:
            seen.append([pair for pair in call.raw_headers if pair[0] == b"x-api-key"])

    made = NatsWire(host([Echo()]), nats.url, pipeline=Pipeline([Headers()], frozenset(("nats",))))
    await made.start()
    client = NatsClient(nats.url)
    asked = out("Count")
    asked.headers["x-api-key"] = "k"
    assert [each async for each in client.stream(asked, request("Count", to=1))]
    await client.aclose()
    await made.stop()
    assert seen == [[(b"x-api-key", b"k")]]


async def test_nobody_who_gave_up_is_served(nats: Nats, wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """The time a caller has counts from when its request came; one whose turn comes too late is not begun."""
    service, hold, short = wire[1], bare.new_inbox(), bare.new_inbox()
    answered = await bare.subscribe(short)
    for _ in range(2):  # as many as are served at a time
        await bare.publish("svc.echo.Wait", b"{}", reply=hold)
    await asyncio.wait_for(service.begun.wait(), PATIENCE)
    await bare.publish("svc.echo.Wait", b"{}", reply=short, headers={"x-request-timeout-ms": "20"})
    await bare.request("svc.echo.Say", b'{"text":"x"}', timeout=PATIENCE)
    service.begun.clear()
    await asyncio.sleep(0.05)
    service.gate.set()
    answer = await answered.next_msg(timeout=PATIENCE)
    assert json.loads(answer.data)["code"] == "request_timeout"
    assert not service.begun.is_set()


async def test_time_that_is_up_ends_the_call_and_says_so(wire: tuple[NatsWire, Echo], bare: Any) -> None:
    """A handler that waits too long is cancelled, its caller is told, and it is counted."""
    answer = await bare.request("svc.echo.Wait", b"{}", timeout=PATIENCE, headers={"x-request-timeout-ms": "20"})
    assert json.loads(answer.data)["code"] == "request_timeout"
    assert wire[1].cancelled.is_set()
    tally = wire[0].discovery.tallies["svc.echo.Wait"]
    assert (tally.requests, tally.errors) == (1, 1)


async def test_a_call_sees_itself_and_no_other(nats: Nats) -> None:
    """Calls that came at once and wait for nothing share a task, and each finds its own context there."""
    client = NatsClient(nats.url)
    wire = NatsWire(host([Echo()]), nats.url)
    await wire.start()
    asked = [out("See", headers={"x-own": str(number)}) for number in range(50)]
    seen = await asyncio.gather(*(client.unary(each, request("See")) for each in asked))
    assert [each.header for each in seen] == [str(number) for number in range(50)]
    await client.aclose()
    await wire.stop()
