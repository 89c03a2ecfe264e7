"""One call: when it is sent again and to whom, how long it may take, what it takes along."""

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest

from headgate.kit.controls.call import Call, TraceContext
from headgate.kit.controls.faults import Aborted, DeadlineExceeded, Internal, ResourceExhausted, Unavailable
from headgate.kit.controls.retry import RetryBudget, RetryPolicy
from headgate.kit.current import CURRENT
from headgate.service.client import (
    CallOptions,
    ClientPolicy,
    ConnectionLost,
    NoInstances,
    OutOfTime,
    Unreachable,
)
from tests.service.client.scripted import Shop, never
from tests.service.shop import NewOrder, Order

QUICK = RetryPolicy(first_pause=0.0)


def policy(**more) -> ClientPolicy:
    """Retries without pauses."""
    return ClientPolicy(**{"retry": QUICK, **more})


async def test_what_may_be_repeated_goes_to_another_instance():
    """A safe call that fails in passing is answered by the next instance."""
    shop = Shop(a=[Unavailable("down")], b=[])
    async with shop.client(policy()) as orders:
        assert (await orders.get("7")).id == "b"


async def test_what_may_not_be_repeated_is_not():
    """A call that may have been carried out is not sent again, unless its method says that it may."""
    shop = Shop(a=[[ConnectionLost("broke")]], b=[])
    client = shop.client(policy())
    with pytest.raises(ConnectionLost):
        await client.stub.upload(_parts())
    await client.aclose()
    assert shop.attempts == ["a:1", "b:0"]


async def test_what_was_never_sent_is_sent_elsewhere():
    """A call whose connection was refused goes to another instance, whatever its method."""
    shop = Shop(a=[[Unreachable("refused")]], b=[[3]])
    async with shop.client(policy()) as orders:
        assert await orders.upload(_parts()) == 3


def busy(**more) -> Unavailable:
    """What an instance says that has too much to do, and so did nothing."""
    return Unavailable("busy", **{"refused": True, **more})


async def test_what_was_refused_before_it_began_is_sent_elsewhere():
    """A call that the service says it had not begun with goes to another instance, whatever its method."""
    shop = Shop(a=[[busy()]], b=[[3]])
    async with shop.client(policy()) as orders:
        assert await orders.upload(_parts()) == 3
    shop = Shop(a=[[Unavailable("busy")]], b=[[3]])
    async with shop.client(policy()) as orders:
        with pytest.raises(Unavailable):
            await orders.upload(_parts())


async def test_what_was_taken_is_not_sent_again_although_it_was_refused():
    """A stream of which a message was taken is not sent again, whatever the service says."""

    async def take(_out, requests):
        await anext(requests)
        return [busy()]

    shop = Shop(a=[take], b=[[3]])
    async with shop.client(policy()) as orders:
        with pytest.raises(Unavailable):
            await orders.upload(_parts())


async def test_what_was_refused_does_not_wait_for_another_instance():
    """The pause that a busy instance asks for is kept only when no other is left to be asked."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    shop = Shop(a=[busy(retry_after=2.0), busy(retry_after=3.0)], b=[busy(retry_after=4.0)])
    client = shop.client(policy())
    client._caller._world["sleep"] = sleep
    with pytest.raises(Unavailable):
        await client.stub.place(NewOrder("tea"))
    await client.aclose()
    assert slept == [0.0, 4.0]


async def test_a_refusal_is_for_its_caller_alone():
    """A fault that a caller passes on does not say that the caller's own request had not begun."""
    shop = Shop(a=[busy()])
    client = shop.client(policy(retry=RetryPolicy(attempts=1)))
    with pytest.raises(Unavailable) as raised:
        await client.stub.place(NewOrder("tea"))
    await client.aclose()
    assert not raised.value.refused


async def test_what_is_a_lasting_error_is_not_repeated():
    """Faults that trying again cannot help are told at once."""
    shop = Shop(a=[Internal("defect")], b=[])
    async with shop.client(policy()) as orders:
        with pytest.raises(Internal):
            await orders.get("7")
    assert shop.attempts == ["a:1", "b:0"]


async def test_attempts_have_an_end():
    """After as many attempts as the policy says the last error is raised, and says how many there were."""
    shop = Shop(a=[Aborted("1"), Aborted("3")], b=[Aborted("2"), Aborted("4")])
    async with shop.client(policy()) as orders:
        with pytest.raises(Aborted) as failed:
            await orders.get("7")
    assert failed.value.__notes__ == ["attempts made: 3"]
    assert sum(len(wire.sent) for wire in shop.wires.values()) == 3


async def test_one_call_may_ask_for_fewer():
    """`retries=0` sends a call once."""
    shop = Shop(a=[Unavailable("down")], b=[])
    client = shop.client(policy())
    with pytest.raises(Unavailable):
        await client.using(retries=0).get("7")
    await client.aclose()


async def test_retries_stay_within_the_budget():
    """When everything fails, retries are the reserve and a tenth of the calls, and no more."""
    shop = Shop(a=[Unavailable("down")] * 1_000)
    client = shop.client(policy(retry_reserve=5.0, breaker=None, ejection=None))
    for _ in range(100):
        with pytest.raises(Unavailable):
            await client.stub.get("7")
    await client.aclose()
    assert 100 + 5 <= len(shop.wires["a"].sent) <= 100 + 5 + 10


async def test_retry_after_is_waited_for():
    """A service that says when to come back is not asked sooner; the clock is the test's."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    shop = Shop(a=[Unavailable("busy", retry_after=2.0)])
    client = shop.client(policy())
    client._caller._world["sleep"] = sleep
    assert await client.stub.get("7")
    await client.aclose()
    assert slept == [2.0]


async def test_too_long_a_wait_is_not_begun():
    """When less time is left than the service asks for, the fault is told at once."""
    shop = Shop(a=[Unavailable("busy", retry_after=20.0)])
    client = shop.client(policy(timeout=5.0))
    with pytest.raises(Unavailable):
        await client.stub.get("7")
    await client.aclose()


async def test_a_key_stays_the_same_for_all_attempts():
    """A method that is idempotent by key gets one, and the second attempt has the same; other calls have others."""
    shop = Shop(a=[Unavailable("down")], b=[])
    async with shop.client(policy()) as orders:
        await orders.place(NewOrder("tea"))
        await orders.place(NewOrder("tea"))
    keys = [out.headers["idempotency-key"] for wire in shop.wires.values() for out in wire.sent]
    assert sorted(Counter(keys).values()) == [1, 2]


async def test_a_given_key_is_sent():
    """The caller's own idempotency key takes the place of a made one."""
    shop = Shop(a=[])
    client = shop.client()
    await client.using(idempotency_key="order-17").place(NewOrder("tea"))
    await client.aclose()
    assert shop.wires["a"].sent[0].headers["idempotency-key"] == "order-17"


async def test_time_that_is_up_ends_the_call_upstream():
    """When the time of a call is up the caller is told, and the attempt is cancelled."""
    shop = Shop(a=[never()])
    client = shop.client()
    with pytest.raises(OutOfTime):
        await client.using(timeout=0.02).get("7")
    assert shop.wires["a"].cancelled == 1
    assert client.peers.members[0].outstanding == 0
    await client.aclose()


async def test_a_caller_who_leaves_ends_the_call_upstream():
    """Cancelling the caller cancels the attempt, and the instance is not blamed."""
    shop = Shop(a=[never()] * 9)
    client = shop.client(policy())
    for _ in range(9):
        task = asyncio.create_task(client.stub.get("7"))
        while len(shop.wires["a"].sent) == shop.wires["a"].cancelled:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert shop.wires["a"].cancelled == 9
    assert client.peers.members[0].breaker.stats().failures == 0
    assert client.peers.members[0].outstanding == 0
    await client.aclose()


def serving(headers=(), *, left: float | None = None, trace: TraceContext | None = None) -> Call:
    """A call that is being served."""
    call = Call("http", "POST", "/", list(headers), "", time.monotonic())
    call.request_id, call.trace = "r-1", trace
    if left is not None:
        call.deadline = time.monotonic() + left
    CURRENT.set(call)
    return call


async def test_the_shortest_time_holds():
    """A call has no longer than is left of the one being served, however much its own options allow."""
    serving(left=3.0)
    shop = Shop(a=[])
    client = shop.client()
    await client.using(timeout=60).get("7")
    await client.aclose()
    assert 2.0 < shop.wires["a"].sent[0].left() <= 3.0


async def test_no_time_is_no_call():
    """When nothing is left of the call being served, nothing is sent."""
    serving(left=-1.0)
    shop = Shop(a=[])
    async with shop.client() as orders:
        with pytest.raises(DeadlineExceeded):
            await orders.get("7")
    assert shop.attempts == ["a:0"]


async def test_a_call_takes_its_context_along():
    """The id and the trace of the call being served are sent on, with the caller's own metadata."""
    serving(trace=TraceContext("0" * 31 + "1", "0" * 15 + "2"))
    shop = Shop(a=[])
    client = shop.client()
    await client.using(metadata={"x-tenant": "t1"}).get("7")
    await client.aclose()
    headers = shop.wires["a"].sent[0].headers
    assert headers["x-request-id"] == "r-1"
    assert headers["traceparent"] == f"00-{'0' * 31}1-{'0' * 15}2-01"
    assert headers["x-tenant"] == "t1"


async def test_the_retry_budget_crosses_hops():
    """What is left of a call's retries is told to the next hop, less with each retry."""
    shop = Shop(a=[Unavailable("1")], b=[Unavailable("2")], c=[])
    async with shop.client(policy()) as orders:
        await orders.get("7")
    told = [out.headers["x-retry-budget"] for wire in shop.wires.values() for out in wire.sent]
    assert told == ["2", "1", "0"]


async def test_a_hop_has_no_more_retries_than_it_was_given():
    """All calls of one served call share the retries that its caller left to it."""
    serving([(b"x-retry-budget", b"1")])
    shop = Shop(a=[Unavailable("1"), Unavailable("3")], b=[Unavailable("2")], c=[])
    async with shop.client(policy()) as orders:
        with pytest.raises(Unavailable):
            await orders.get("7")
        with pytest.raises(Unavailable):
            await orders.get("8")
    assert shop.attempts == ["a:2", "b:1", "c:0"]


async def test_a_hedge_answers_for_a_slow_instance():
    """A safe call without an answer is sent to a second instance, whose answer counts; the first is cancelled."""
    shop = Shop(a=[never()], b=[])
    async with shop.client(policy(hedge_after=0.01)) as orders:
        assert (await orders.get("7")).id == "b"
    assert shop.wires["a"].cancelled == 1


async def test_an_answer_in_time_is_not_hedged():
    """A call that is answered in time is sent once."""
    shop = Shop(a=[], b=[])
    async with shop.client(policy(hedge_after=5.0)) as orders:
        assert (await orders.get("7")).id == "a"
    assert shop.attempts == ["a:1", "b:0"]


async def test_hedges_come_out_of_the_budget():
    """Without a budget there is no second attempt: the first is waited for."""
    answer = asyncio.Event()

    async def late() -> Order:
        await answer.wait()
        return Order("a", "tea")

    class Empty(RetryBudget):
        def withdraw(self) -> bool:
            answer.set()
            return False

    shop = Shop(a=[lambda _out: late()], b=[])
    client = shop.client(policy(hedge_after=0.005))
    client._caller.budget = Empty()
    assert (await client.stub.get("7")).id == "a"
    await client.aclose()
    assert shop.attempts == ["a:1", "b:0"]


async def test_a_failed_hedge_does_not_end_the_call():
    """When the second attempt fails, the first is still waited for."""
    answer = asyncio.Event()

    async def late() -> Order:
        await answer.wait()
        return Order("a", "tea")

    def fail(_out) -> Exception:
        answer.set()
        return Internal("no")

    shop = Shop(a=[lambda _out: late()], b=[fail])
    async with shop.client(policy(hedge_after=0.005)) as orders:
        assert (await orders.get("7")).id == "a"


async def test_a_call_that_may_not_be_repeated_is_not_hedged():
    """Only methods that are safe to call twice are hedged."""
    shop = Shop(a=[[1]], b=[])
    async with shop.client(policy(hedge_after=0.001)) as orders:
        assert await orders.upload(_parts()) == 1
    assert shop.attempts == ["a:1", "b:0"]


async def test_a_stream_is_opened_elsewhere_only_before_its_first_message():
    """A stream that fails before its first message is opened on another instance, one that fails later is not."""
    shop = Shop(a=[[Unreachable("no")], [Order("a", "1"), Unavailable("broke")]], b=[[Order("b", "1")]])
    client = shop.client(policy())
    assert [each.id async for each in client.stub.track("7")] == ["b"]
    events = client.stub.track("7")
    assert (await anext(events)).id == "a"
    with pytest.raises(Unavailable):
        await anext(events)
    await client.aclose()


async def test_messages_that_were_taken_are_not_sent_twice():
    """Once a message of the caller's stream was taken, the call is not sent again."""

    async def take(_out, requests):
        await anext(requests)
        return [Unreachable("too late")]

    shop = Shop(a=[take], b=[])
    async with shop.client(policy()) as orders:
        with pytest.raises(Unreachable):
            await orders.upload(_parts())
    assert shop.attempts == ["a:1", "b:0"]


async def test_the_callers_own_error_is_told():
    """What the caller's iterator raises is what the caller gets, and the instance is not blamed."""

    async def broken():
        yield NewOrder("tea")
        raise LookupError("mine")

    async def take(_out, requests):
        try:
            return [len([each async for each in requests])]
        except LookupError:
            return [ConnectionLost("broken off")]

    shop = Shop(a=[take])
    client = shop.client(policy())
    with pytest.raises(LookupError, match="mine"):
        await client.stub.upload(broken())
    assert client.peers.members[0].breaker.stats().failures == 0
    await client.aclose()


async def test_a_stream_left_early_ends_upstream():
    """Leaving a stream ends it at the service, and counts as no failure."""
    shop = Shop(a=[[Order(str(number), "tea") for number in range(9)]])
    client = shop.client()
    async with client.stub.track("7") as events:
        assert (await anext(events)).id == "0"
    assert shop.wires["a"].cancelled == 1
    assert client.peers.members[0].outstanding == 0
    await client.aclose()


async def test_the_time_of_a_stream_is_up_in_its_midst():
    """A stream that takes longer than its time is ended with OutOfTime."""
    shop = Shop(a=[[Order("1", "tea"), asyncio.Event().wait()]])
    client = shop.client()
    events = client.using(timeout=0.03).track("7")
    assert (await anext(events)).id == "1"
    with pytest.raises(OutOfTime):
        await anext(events)
    assert client.peers.members[0].outstanding == 0
    await client.aclose()


async def test_breakers_hold_back_calls_from_who_fails():
    """An instance that keeps failing is held back, and the others are called."""
    shop = Shop(a=[Internal("defect")] * 20, b=[])
    client = shop.client(policy(ejection=None))
    answered = 0
    for _ in range(30):
        try:
            await client.stub.get("7")
            answered += 1
        except Internal:
            pass
    await client.aclose()
    assert shop.attempts == ["a:10", "b:20"]
    assert answered == 20


async def test_all_circuits_open_is_told():
    """When every instance's circuit is open the caller is told at once, and when to come back."""
    shop = Shop(a=[Internal("defect")] * 20)
    client = shop.client(policy(ejection=None))
    for _ in range(10):
        with pytest.raises(Internal):
            await client.stub.get("7")
    with pytest.raises(Unavailable) as refused:
        await client.stub.get("7")
    await client.aclose()
    assert refused.value.code == "circuit_open"
    assert refused.value.retry_after > 0


async def test_who_fails_is_ejected():
    """Five failures in a row, and an instance gets no calls for a while."""
    shop = Shop(a=[Internal("defect")] * 20, b=[])
    client = shop.client(policy(breaker=None))
    for _ in range(10):
        with suppress(Internal):
            await client.stub.get("7")
    await client.aclose()
    assert shop.attempts == ["a:5", "b:5"]


async def test_who_hangs_is_ejected():
    """An instance that lets calls run out of time counts as failing, once it had long enough."""
    shop = Shop(a=[never()] * 20, b=[])
    client = shop.client(policy(breaker=None, hung_after=0.001))
    for _ in range(6):
        with suppress(OutOfTime):
            await client.using(timeout=0.01).get("7")
    await client.aclose()
    assert shop.attempts == ["a:5", "b:1"]


async def test_a_short_time_is_nobodys_fault():
    """A call that allowed little time does not count against the instance."""
    shop = Shop(a=[never()] * 20, b=[])
    client = shop.client(policy(hung_after=10.0))
    for _ in range(6):
        with pytest.raises(OutOfTime):
            await client.using(timeout=0.005).get("7")
    await client.aclose()
    assert shop.attempts == ["a:6", "b:0"]


async def test_being_limited_is_not_failing():
    """Faults of the caller do not count against the instance."""
    shop = Shop(a=[ResourceExhausted("slow down")] * 20, b=[])
    client = shop.client(policy())
    for _ in range(20):
        with pytest.raises(ResourceExhausted):
            await client.stub.get("7")
    await client.aclose()
    assert shop.attempts == ["a:20", "b:0"]


async def test_nobody_there_is_told():
    """Without instances a call fails at once, and says why."""
    client = Shop().client(options=CallOptions(timeout=5))
    with pytest.raises(NoInstances):
        await client.stub.get("7")
    await client.aclose()


async def test_two_callers_at_once_do_not_mix():
    """Two calls at the same time each get their own answer."""
    shop = Shop(a=[lambda out: Order("a", out.headers["x-who"])] * 2)
    client = shop.client()
    found = await asyncio.gather(
        client.using(metadata={"x-who": "1"}).get("7"), client.using(metadata={"x-who": "2"}).get("7")
    )
    await client.aclose()
    assert sorted(each.sku for each in found) == ["1", "2"]


async def _parts():
    for number in range(3):
        yield NewOrder("tea", number + 1)
