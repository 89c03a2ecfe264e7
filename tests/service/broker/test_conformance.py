"""What every broker promises, held against each of them."""

import asyncio
from typing import Any

import pytest

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import Fault, InvalidArgument, Unavailable
from headgate.kit.current import CURRENT
from headgate.service import Struct, Topic
from headgate.service.broker import Delivery, Rejected, broker_from
from headgate.service.broker.base import DEAD_ATTEMPTS, DEAD_REASON, DEAD_SUBJECT
from tests.service.broker.conftest import Place

PATIENCE = 10.0


class Paid(Struct):
    """An event."""

    order: str
    cents: int = 0


class Inbox:
    """A handler that keeps what it is handed, and can be waited for."""

    def __init__(self, fail: int = 0, error: type[Exception] = RuntimeError) -> None:
        self.got: list[Delivery] = []
        self.done: list[str] = []
        self._fail = fail
        self._error = error
        self._came = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        """Take one."""
        self.got.append(delivery)
        self._came.set()
        if self._fail:
            self._fail -= 1
            raise self._error("not now")
        self.done.append(delivery.decode(Paid).order)
        self._came.set()

    async def has(self, count: int, *, done: bool = False) -> None:
        """Wait until that many came, or are done."""
        async with asyncio.timeout(PATIENCE):
            while len(self.done if done else self.got) < count:
                self._came.clear()
                await self._came.wait()


async def test_an_event_reaches_all_who_subscribed(place: Place) -> None:
    """Each subscription without a group gets every event on its pattern, and no other."""
    one, two, other = Inbox(), Inbox(), Inbox()
    await place.broker.subscribe(place.subject("a.*"), one)
    await place.broker.subscribe(place.subject(">"), two)
    await place.broker.subscribe(place.subject("b.*"), other)
    await place.broker.publish(place.subject("a.x"), Paid("1"))
    await place.broker.publish(place.subject("c"), Paid("2"))
    await one.has(1)
    await two.has(2)
    assert (one.done, sorted(two.done), other.done) == (["1"], ["1", "2"], [])


async def test_one_of_a_group_gets_each_event(place: Place) -> None:
    """Of a group's members exactly one is handed each event."""
    inboxes = [Inbox(), Inbox()]
    for inbox in inboxes:
        await place.broker.subscribe(place.subject("a"), inbox, group="g")
    everyone = Inbox()
    await place.broker.subscribe(place.subject("a"), everyone)
    for number in range(20):
        await place.broker.publish(place.subject("a"), Paid(str(number)))
    await everyone.has(20)
    async with asyncio.timeout(PATIENCE):
        while sum(len(inbox.got) for inbox in inboxes) < 20:
            await asyncio.sleep(0.01)
    assert sorted(int(order) for inbox in inboxes for order in inbox.done) == list(range(20))


async def test_events_come_in_order_one_at_a_time(place: Place) -> None:
    """With a concurrency of 1 events are handed out in the order they were published."""
    inbox = Inbox()
    await place.broker.subscribe(place.subject("a"), inbox, concurrency=1)
    for number in range(50):
        await place.broker.publish(place.subject("a"), Paid(str(number)))
    await inbox.has(50, done=True)
    assert inbox.done == [str(number) for number in range(50)]


async def test_concurrency_is_bounded(place: Place) -> None:
    """No more events are handled at a time than the subscription says, and so many are."""
    running, most, gate, all_in = 0, 0, asyncio.Event(), asyncio.Event()

    async def handle(_delivery: Delivery) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            all_in.set()
        await gate.wait()
        running -= 1

    await place.broker.subscribe(place.subject("a"), handle, concurrency=3)
    for number in range(9):
        await place.broker.publish(place.subject("a"), Paid(str(number)))
    await asyncio.wait_for(all_in.wait(), PATIENCE)
    gate.set()
    await place.broker.drain(PATIENCE)
    assert most == 3


async def test_what_fails_is_tried_again(place: Place) -> None:
    """A failed event comes again, its attempts counted, until it is handled."""
    inbox = Inbox(fail=2)
    await place.broker.subscribe(place.subject("a"), inbox, group="g", retries=3, backoff=0.01)
    await place.broker.publish(place.subject("a"), Paid("1"))
    await inbox.has(1, done=True)
    assert [each.attempt for each in inbox.got] == [1, 2, 3]


async def test_what_fails_for_good_is_a_dead_letter(place: Place) -> None:
    """After its last attempt an event is on SUBJECT.dead, with why, from where and how often."""
    inbox, dead = Inbox(fail=99), Inbox()
    await place.broker.subscribe(place.subject("a.dead"), dead)
    await place.broker.subscribe(place.subject("a"), inbox, group="g", retries=1, backoff=0.01, dead_letter=True)
    await place.broker.publish(place.subject("a"), Paid("1"), headers={"x-own": "kept"}, key="k")
    await dead.has(1)
    letter = dead.got[0]
    assert len(inbox.got) == 2
    assert letter.decode(Paid) == Paid("1")
    assert letter.headers[DEAD_REASON] == "the handler failed: RuntimeError"
    assert letter.headers[DEAD_SUBJECT] == place.subject("a")
    assert letter.headers[DEAD_ATTEMPTS] == "2"
    assert letter.headers["x-own"] == "kept"


async def test_what_is_rejected_is_not_tried_again(place: Place) -> None:
    """A handler that rejects an event sees it once."""
    inbox, dead = Inbox(fail=99, error=Rejected), Inbox()
    await place.broker.subscribe(place.subject("a.dead"), dead)
    await place.broker.subscribe(place.subject("a"), inbox, group="g", retries=5, backoff=0.01, dead_letter=True)
    await place.broker.publish(place.subject("a"), Paid("1"))
    await dead.has(1)
    assert len(inbox.got) == 1
    assert dead.got[0].headers[DEAD_REASON] == "not now"


async def test_dead_letters_go_to_those_who_ask_for_them(place: Place) -> None:
    """A wildcard that does not end in dead is not handed dead letters."""
    inbox, everything, dead = Inbox(fail=1), Inbox(), Inbox()
    await place.broker.subscribe(place.subject(">"), everything)
    await place.broker.subscribe(place.subject("*.dead"), dead)
    await place.broker.subscribe(place.subject("a"), inbox, group="g", dead_letter=True)
    await place.broker.publish(place.subject("a"), Paid("1"))
    await dead.has(1)
    await place.broker.publish(place.subject("b"), Paid("2"))
    await everything.has(2)
    assert [each.subject for each in everything.got] == [place.subject("a"), place.subject("b")]


async def test_a_key_is_handled_once(place: Place) -> None:
    """Events with the same key are handled once by each subscription; others are not touched."""
    inbox = Inbox()
    await place.broker.subscribe(place.subject("a"), inbox, concurrency=1)
    for key in ("k1", "k1", "k2", "k1"):
        await place.broker.publish(place.subject("a"), Paid(key), key=key)
    await place.broker.publish(place.subject("a"), Paid("last"))
    await place.broker.publish(place.subject("a"), Paid("last"))
    await inbox.has(4, done=True)
    assert inbox.done == ["k1", "k2", "last", "last"]


async def test_a_key_whose_event_failed_comes_again(place: Place) -> None:
    """A key counts as handled only when its handler has succeeded."""
    inbox = Inbox(fail=1)
    await place.broker.subscribe(place.subject("a"), inbox, group="g", retries=1, backoff=0.01)
    await place.broker.publish(place.subject("a"), Paid("1"), key="k")
    await inbox.has(1, done=True)
    assert len(inbox.got) == 2


async def test_draining_finishes_what_came(place: Place) -> None:
    """Draining waits for handlers under way, and takes nothing new."""
    begun, gate, finished = asyncio.Event(), asyncio.Event(), []

    async def handle(delivery: Delivery) -> None:
        begun.set()
        await gate.wait()
        finished.append(delivery.decode(Paid).order)

    subscription = await place.broker.subscribe(place.subject("a"), handle, group="g")
    await place.broker.publish(place.subject("a"), Paid("1"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    draining = asyncio.create_task(subscription.drain(PATIENCE))
    await asyncio.sleep(0)
    gate.set()
    await draining
    await place.broker.publish(place.subject("a"), Paid("2"))
    assert finished == ["1"]


async def test_draining_ends_after_its_grace(place: Place) -> None:
    """A handler that does not end is cancelled when the grace is up."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(_delivery: Delivery) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    subscription = await place.broker.subscribe(place.subject("a"), handle, group="g")
    await place.broker.publish(place.subject("a"), Paid("1"))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    await asyncio.wait_for(subscription.drain(0.01), PATIENCE)
    assert cancelled.is_set()


async def test_the_trace_goes_along(place: Place) -> None:
    """What is published while a call is served carries its trace and its id."""
    call = Call("http", "GET", "/", [], "", 0.0)
    call.request_id, call.trace = "r-1", TraceContext("a" * 32, "b" * 16)
    inbox = Inbox()
    await place.broker.subscribe(place.subject("a"), inbox)
    token = CURRENT.set(call)
    try:
        await place.broker.publish(place.subject("a"), Paid("1"))
    finally:
        CURRENT.reset(token)
    await inbox.has(1)
    assert inbox.got[0].headers["traceparent"] == call.trace.traceparent
    assert inbox.got[0].headers["x-request-id"] == "r-1"


async def test_a_topic_takes_its_type_alone(place: Place) -> None:
    """On a topic nothing but its events can be published."""
    topic = Topic(place.subject("a"), Paid)
    await place.broker.publish(topic, Paid("1"))
    wrong: Any = "1"
    with pytest.raises(InvalidArgument) as caught:
        await place.broker.publish(topic, wrong)
    assert caught.value.code == "invalid_event"


@pytest.mark.parametrize(
    "arguments",
    [
        {"topic": "a b"},
        {"topic": "a.*"},
        {"topic": "a\r\nPUB x 0"},
        {"event": object()},
        {"headers": {"x": "1\r\ny: 2"}},
        {"headers": {"": "1"}},
        {"key": ""},
        {"key": "k" * 256},
        {"key": "a\nb"},
    ],
    ids=lambda each: next(iter(each)),
)
async def test_what_cannot_be_published_is_refused(place: Place, arguments: dict[str, Any]) -> None:
    """A wrong subject, event, header or key is refused before anything is sent."""
    given = {"topic": place.subject("a"), "event": Paid("1"), **arguments}
    with pytest.raises(InvalidArgument):
        await place.broker.publish(given.pop("topic"), given.pop("event"), **given)


@pytest.mark.parametrize("wrong", [{"retries": -1}, {"backoff": -1}, {"concurrency": 0}, {"group": "a b"}], ids=str)
async def test_what_cannot_be_subscribed_to_is_refused(place: Place, wrong: dict[str, Any]) -> None:
    """A subscription that cannot be is refused."""
    with pytest.raises(InvalidArgument):
        await place.broker.subscribe(place.subject("a"), Inbox(), **wrong)
    with pytest.raises(InvalidArgument):
        await place.broker.subscribe("a..b", Inbox())


async def test_a_broker_is_started_first(place: Place) -> None:
    """Before its start and after its end a broker says so."""
    broker = broker_from(place.url)
    with pytest.raises(Unavailable):
        await broker.publish(place.subject("a"), Paid("1"))
    with pytest.raises(Fault):
        await broker.subscribe(place.subject("a"), Inbox())
    await broker.start()
    await broker.aclose()
    with pytest.raises(Unavailable):
        await broker.publish(place.subject("a"), Paid("1"))
