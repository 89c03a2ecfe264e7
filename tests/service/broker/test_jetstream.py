"""What JetStream adds: events outlive processes, come again when nobody answered for them, and are stored once."""

import asyncio
import secrets
from typing import Any

import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.service.broker import Delivery, JetStreamBroker, broker_from, pulling
from headgate.testing.nats import Nats, nats_or_skip
from tests.service.broker.test_conformance import PATIENCE, Inbox, Paid


def _broker(nats: Nats, name: str, **options: Any) -> JetStreamBroker:
    return JetStreamBroker(nats.url, name, **{"subjects": [f"{name}.>"], **options})


@pytest.fixture
def name() -> str:
    """A stream of the test's own."""
    return f"t{secrets.token_hex(4)}"


async def test_a_group_gets_what_was_published_before_it_came(nats: Nats, name: str) -> None:
    """Events wait in the stream for a group, over the end of the process that published them."""
    first = _broker(nats, name)
    await first.start()
    await first.publish(f"{name}.a", Paid("1"))
    await first.aclose()
    second, inbox = _broker(nats, name), Inbox()
    await second.start()
    await second.subscribe(f"{name}.a", inbox, group="g")
    await inbox.has(1, done=True)
    await second.drain()
    await second.aclose()
    third, again = _broker(nats, name), Inbox()
    await third.start()
    await third.subscribe(f"{name}.a", again, group="g")
    await third.publish(f"{name}.a", Paid("2"))
    await again.has(1, done=True)
    assert again.done == ["2"]
    await third.aclose()


async def test_what_a_process_left_is_handed_to_another(nats: Nats, name: str) -> None:
    """An event whose handler was cut off is given back at once, and handled by another member."""
    one, two, begun = _broker(nats, name), _broker(nats, name), asyncio.Event()
    await one.start()
    await two.start()

    async def stuck(_delivery: Delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    left = await one.subscribe(f"{name}.a", stuck, group="g", retries=3)
    await one.publish(f"{name}.a", Paid("1"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    inbox = Inbox()
    await two.subscribe(f"{name}.a", inbox, group="g", retries=3)
    await left.drain(0.0)
    await inbox.has(1, done=True)
    assert inbox.got[0].attempt == 2
    await one.aclose()
    await two.aclose()


async def test_what_is_never_answered_for_becomes_a_dead_letter(nats: Nats, name: str) -> None:
    """An event that takes its process down each time is not handed out for ever."""
    broker, begun = _broker(nats, name, ack_wait=0.3), asyncio.Event()
    await broker.start()

    async def stuck(_delivery: Delivery) -> None:
        begun.set()
        await asyncio.Event().wait()

    dying = _broker(nats, name, ack_wait=0.3)
    await dying.start()
    await dying.subscribe(f"{name}.a", stuck, group="g")
    await broker.publish(f"{name}.a", Paid("1"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    for each in dying._subscriptions:
        each._say = lambda *_: None  # type: ignore[method-assign]
    await dying.aclose()
    dead, inbox = Inbox(), Inbox()
    await broker.subscribe(f"{name}.a.dead", dead)
    await broker.subscribe(f"{name}.a", inbox, group="g", dead_letter=True)
    await dead.has(1)
    assert inbox.got == []
    assert "not acknowledged" in dead.got[0].headers["headgate-dead-reason"]
    await broker.aclose()


async def test_a_long_handler_keeps_its_event(nats: Nats, name: str) -> None:
    """A handler that takes longer than the time for an acknowledgement is not handed its event twice."""
    broker, gate, got = _broker(nats, name, ack_wait=0.3), asyncio.Event(), []
    await broker.start()

    async def slow(delivery: Delivery) -> None:
        got.append(delivery.attempt)
        await gate.wait()

    await broker.subscribe(f"{name}.a", slow, group="g", retries=3)
    await broker.publish(f"{name}.a", Paid("1"))
    stamps = Inbox()
    await broker.subscribe(f"{name}.b", stamps)
    asyncio.get_running_loop().call_later(1.0, gate.set)
    await asyncio.wait_for(gate.wait(), PATIENCE)
    await broker.drain(PATIENCE)
    assert got == [1]
    await broker.aclose()


async def test_a_key_is_stored_once(nats: Nats, name: str) -> None:
    """What is published twice with one key is in the stream once."""
    broker = _broker(nats, name)
    await broker.start()
    for _ in range(3):
        await broker.publish(f"{name}.a", Paid("1"), key="k")
    assert (await broker.js.stream_info(name)).state.messages == 1
    await broker.aclose()


async def test_a_work_queue_removes_what_is_handled(nats: Nats, name: str) -> None:
    """In a work queue an event is gone once it was handled, and dead letters cannot be swept up by wildcards."""
    broker, inbox = _broker(nats, name, retention="workqueue"), Inbox()
    await broker.start()
    await broker.subscribe(f"{name}.a", inbox, group="g")
    await broker.publish(f"{name}.a", Paid("1"))
    await inbox.has(1, done=True)
    await broker.drain()
    async with asyncio.timeout(20):  # the server takes it out of the stream some time after it has the acknowledgement
        while (await broker.js.stream_info(name)).state.messages:
            await asyncio.sleep(0.01)
    with pytest.raises(InvalidArgument):
        await broker.subscribe(f"{name}.>", inbox, group="g")
    with pytest.raises(FailedPrecondition):
        await broker.subscribe(f"{name}.a", inbox, group="other")
    await broker.aclose()


async def test_a_stream_that_differs_is_not_touched(nats: Nats, name: str) -> None:
    """A stream of other subjects or retention stops the start, with what would have to change."""
    broker = _broker(nats, name)
    await broker.start()
    for wrong in ({"subjects": [f"{name}.>", "other.*"]}, {"retention": "workqueue"}):
        with pytest.raises(FailedPrecondition) as caught:
            await _broker(nats, name, **wrong).start()
        assert caught.value.code == "stream_differs"
    narrower = _broker(nats, name, subjects=[f"{name}.a"])
    await narrower.start()
    await narrower.aclose()
    with pytest.raises(FailedPrecondition) as caught:
        await JetStreamBroker(nats.url, f"{name}x").start()
    assert caught.value.code == "no_stream"
    with pytest.raises(FailedPrecondition) as caught:
        await broker.publish("elsewhere.a", Paid("1"))
    assert caught.value.code == "no_stream"
    await broker.aclose()


async def test_an_outage_is_survived(name: str) -> None:
    """When the server is back events are pulled again, those from before included."""
    with nats_or_skip() as server:
        broker, inbox = _broker(server, name), Inbox()
        await broker.start()
        await broker.subscribe(f"{name}.a", inbox, group="g", retries=5)
        await broker.publish(f"{name}.a", Paid("1"))
        await inbox.has(1, done=True)
        await asyncio.to_thread(server.stop)
        await asyncio.to_thread(server.start)
        async with asyncio.timeout(PATIENCE):
            while not broker.connection.stats["reconnects"]:
                await asyncio.sleep(0.01)
        await broker.publish(f"{name}.a", Paid("2"))
        await inbox.has(2, done=True)
        await broker.aclose()
        assert not broker._subscriptions


async def test_a_question_that_the_server_lost_is_asked_again(
    nats: Nats, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not say that it still has the question is asked again; one that does is not."""
    monkeypatch.setattr(pulling, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(pulling, "_SILENCE_SECONDS", 0.5)
    broker, inbox, asked = _broker(nats, name), Inbox(), []
    await broker.start()
    sent = broker.connection.post

    def post(subject: str, data: bytes, **more: Any) -> None:
        if ".MSG.NEXT." in subject:
            asked.append(data)
            if len(asked) == 1:
                return
        sent(subject, data, **more)

    monkeypatch.setattr(broker.connection, "post", post)
    await broker.subscribe(f"{name}.a", inbox, group="g")
    async with asyncio.timeout(PATIENCE):
        while len(asked) < 2:
            await asyncio.sleep(0.01)
    await asyncio.sleep(1.0)
    assert len(asked) == 2
    await broker.publish(f"{name}.a", Paid("1"))
    await inbox.has(1, done=True)
    await broker.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "kafka://x",
        "nats://",
        "memory://?codec=xml",
        "memory://?more=1",
        "jetstream://h",
        "jetstream://h?stream=a&retention=no",
        "jetstream://h?stream=a&max_age=x",
        "jetstream://h?stream=a b",
        "jetstream://h?stream=a&subjects=a..b",
        "nats://h:port",
    ],
)
def test_an_address_that_cannot_be_is_refused(url: str) -> None:
    """A wrong address is refused, and its password is not told."""
    with pytest.raises(InvalidArgument) as caught:
        broker_from(url)
    assert "secret" not in str(caught.value)
