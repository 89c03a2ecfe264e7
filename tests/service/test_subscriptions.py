"""Methods with `@on` over a broker: decoded, guarded, tried again, and what will never do put aside."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headgate.kit.controls.call import Call, Control, Pipeline
from headgate.kit.controls.faults import NotFound, Unavailable
from headgate.service import AUTHENTICATED, Context, Service, Struct, Topic, current_context, on
from headgate.service.broker import Delivery, MemoryBroker
from headgate.service.host import host
from headgate.service.invoke import Conditions, Following, Invocation
from headgate.service.subscriptions import Subscriptions

PATIENCE = 5.0


class Paid(Struct):
    """An event."""

    order: str


PAID = Topic("payments.settled", Paid)


class Orders(Service, name="orders"):
    """Takes events."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[str] = []
        self.contexts: list[Context] = []
        self.trouble: list[Exception] = []
        self.came = asyncio.Event()

    @on(PAID, group="orders", retries=2, backoff=0.001, dead_letter=True)
    async def settled(self, event: Paid, context: Context) -> None:
        """A payment is settled."""
        assert current_context() is context
        self.contexts.append(context)
        if self.trouble:
            raise self.trouble.pop(0)
        self.got.append(event.order)
        self.came.set()

    @on("private.*", guard=AUTHENTICATED, retries=5, dead_letter=True)
    async def private(self, event: Paid) -> None:
        """For those who are known: nobody, here."""
        raise AssertionError(event)


class Running:
    """A service on a broker, and the dead letters there were."""

    def __init__(self, service: Orders, broker: MemoryBroker) -> None:
        self.service = service
        self.broker = broker
        self.dead: asyncio.Queue[Delivery] = asyncio.Queue()
        self.calls: list[Call] = []
        self.passed: list[str] = []

    async def letter(self) -> Delivery:
        """The next dead letter."""
        return await asyncio.wait_for(self.dead.get(), PATIENCE)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    """It runs."""
    found = Running(Orders(), MemoryBroker())

    class Watch(Control):
        name = "watch"

        def settle(self, call: Call) -> None:
            found.calls.append(call)

    async def passes(invocation: Invocation, following: Following) -> Any:
        found.passed.append(invocation.method.name)
        return await following(invocation)

    conditions = Conditions(middleware=[passes])
    pipeline = Pipeline([Watch()], frozenset(("local",)))
    subscriptions = Subscriptions(host([found.service], conditions), found.broker, pipeline, conditions=conditions)
    await subscriptions.start()
    await found.broker.subscribe("*.*.dead", found.dead.put)
    yield found
    await subscriptions.drain(1.0)
    await subscriptions.stop()


async def test_an_event_is_a_call(running: Running) -> None:
    """It is decoded, passes the middleware, has a context, and is settled like a call."""
    await running.broker.publish(PAID, Paid("o-1"), headers={"x-own": "mine", "authorization": "Bearer x"})
    await asyncio.wait_for(running.service.came.wait(), PATIENCE)
    await running.broker.drain(1.0)
    (context,), (call,) = running.service.contexts, running.calls
    assert running.service.got == ["o-1"]
    assert (context.wire, context.header("x-own"), context.header("authorization")) == ("local", "mine", "")
    assert not context.principal
    assert (call.route, call.status) == ("/orders.Orders/settled", 200)
    assert running.passed == ["settled"]


async def test_what_fails_is_tried_again(running: Running) -> None:
    """A fault that may pass, or a defect, is tried again."""
    running.service.trouble = [Unavailable("later"), ZeroDivisionError()]
    await running.broker.publish(PAID, Paid("o-1"))
    await asyncio.wait_for(running.service.came.wait(), PATIENCE)
    assert len(running.service.contexts) == 3


async def test_what_fails_for_good_is_put_aside(running: Running) -> None:
    """After the last attempt it is a dead letter with its fault's code; the text of a defect stays here."""
    running.service.trouble = [NotFound("no such order", code="no_order") for _ in range(3)]
    await running.broker.publish(PAID, Paid("o-1"))
    assert (await running.letter()).headers["headgate-dead-reason"] == "no_order: no such order"
    running.service.trouble = [ZeroDivisionError("secret") for _ in range(3)]
    await running.broker.publish(PAID, Paid("o-2"))
    assert "secret" not in (await running.letter()).headers["headgate-dead-reason"]


@pytest.mark.parametrize("event", [{"order": 3}, {}, [], "text", None])
async def test_what_is_malformed_is_put_aside_at_once(running: Running, event: Any) -> None:
    """An event of another shape never reaches the method, and is not tried again."""
    await running.broker.publish(PAID.subject, event)
    letter = await running.letter()
    assert letter.headers["headgate-dead-attempts"] == "1"
    assert letter.headers["headgate-dead-reason"].startswith("malformed_event")
    assert running.service.contexts == []


async def test_an_event_proves_nothing_of_who_sent_it(running: Running) -> None:
    """A subscription with a guard takes no event that nobody vouches for."""
    await running.broker.publish("private.x", Paid("o-1"), headers={"authorization": "Bearer x"})
    letter = await running.letter()
    assert letter.headers["headgate-dead-reason"].startswith("no_credentials")
    assert letter.headers["headgate-dead-attempts"] == "1"
