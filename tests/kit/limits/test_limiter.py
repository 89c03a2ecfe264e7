"""Reservations, and what handlers spend of their caller's tokens."""

import asyncio
from collections.abc import Iterator

import pytest

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument, ResourceExhausted
from headgate.kit.controls.limits import RateLimit
from headgate.kit.controls.rate import Rate
from headgate.kit.current import CURRENT
from headgate.kit.limits.limiter import _RUNNING, Limiter, Reservation
from headgate.kit.limits.memory import MemoryStore
from headgate.kit.limits.spending import reserve, spend
from headgate.testing.clock import FakeClock
from headgate.testing.valkey import Valkey
from tests.kit.controls.calls import call_of
from tests.kit.limits.conftest import Open


@pytest.fixture
def limiter() -> Limiter:
    """A hundred tokens an hour, on a clock that stands still."""
    return Limiter("100/hour", MemoryStore(clock=FakeClock()), name="tokens")


async def left(limiter: Limiter, key: str = "k") -> int:
    """What a caller could spend now."""
    return (await limiter.take(key, 0)).remaining


async def test_take_and_require(limiter: Limiter) -> None:
    """Taking tells whether it was admitted, requiring refuses with a fault that says when to retry."""
    assert (await limiter.take("k", 60)).remaining == 40
    assert not (await limiter.take("k", 41)).allowed
    with pytest.raises(ResourceExhausted) as refused:
        await limiter.require("k", 41)
    assert (refused.value.code, refused.value.retry_after) == ("rate_limited", 36.0)
    assert (await limiter.require("k", 40)).remaining == 0


async def test_a_reservation_is_settled_by_what_was_used(limiter: Limiter) -> None:
    """What was not used is given back; what was used beyond it is charged, even when it is not there."""
    held = await limiter.reserve("k", 60)
    assert await left(limiter) == 40
    await held.settle(25)
    assert await left(limiter) == 75
    await (await limiter.reserve("k", 70)).settle(200)
    assert await left(limiter) == 0
    assert (await limiter.take("k")).retry_after == 126 * 36.0


async def test_only_the_first_settlement_counts(limiter: Limiter) -> None:
    """Settling again changes nothing."""
    held = await limiter.reserve("k", 60)
    for used in (10, 0, 99):
        await held.settle(used)
    assert await left(limiter) == 90


async def test_a_reservation_that_does_not_fit(limiter: Limiter) -> None:
    """What is not there now is refused with a time to retry, what can never be there as a mistake without one."""
    await limiter.charge("k", 50)
    with pytest.raises(ResourceExhausted) as now:
        await limiter.reserve("k", 51)
    assert now.value.retry_after == 36.0
    with pytest.raises(InvalidArgument) as never:
        await limiter.reserve("k", 101)
    assert (never.value.code, never.value.retry_after) == ("cost_exceeds_limit", None)
    assert await left(limiter) == 50


async def left_by(error: type[BaseException], held: Reservation) -> None:
    """Use a reservation, and fail."""
    async with held:
        raise error


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_a_reservation_left_by_an_error_is_given_back(error: type[BaseException], limiter: Limiter) -> None:
    """Whoever fails or is cancelled before settling pays nothing; after settling, what was used."""
    for settled, rest in ((None, 100), (30, 70)):
        held = await limiter.reserve("k", 60)
        if settled:
            await held.settle(settled)
        with pytest.raises(error):
            await left_by(error, held)
        assert await left(limiter) == rest


async def test_a_reservation_left_unsettled_stays(limiter: Limiter) -> None:
    """Who ends well without settling has used the estimate."""
    async with await limiter.reserve("k", 60):
        pass
    assert await left(limiter) == 40


async def test_a_cancelled_reservation_is_given_back(valkey: Valkey, opened: Open) -> None:
    """A caller cancelled while the shared store is being asked holds nothing afterwards."""
    limiter = Limiter("100/day", opened(), name="tokens")
    await limiter.take("k", 0)
    valkey.pause()
    task = asyncio.create_task(limiter.reserve("k", 60))
    while not _RUNNING:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    valkey.resume()
    while _RUNNING:
        await asyncio.sleep(0.01)
    assert await left(limiter) == 100


async def test_a_settlement_survives_cancellation(valkey: Valkey, opened: Open) -> None:
    """What was used is charged although the caller goes away while it is."""
    limiter = Limiter("100/day", opened(), name="tokens")
    held = await limiter.reserve("k", 60)
    valkey.pause()
    task = asyncio.create_task(held.settle(10))
    while not _RUNNING:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    valkey.resume()
    while _RUNNING:
        await asyncio.sleep(0.01)
    assert await left(limiter) == 90


@pytest.fixture
def call() -> Iterator[Call]:
    """The call that is being served."""
    serving = call_of()
    token = CURRENT.set(serving)
    yield serving
    CURRENT.reset(token)


def limited(tokens: str) -> RateLimit:
    """A limit on a clock that stands still."""
    return RateLimit(MemoryStore(clock=FakeClock()), requests=Rate.parse("60/minute"), tokens=Rate.parse(tokens))


async def test_what_a_handler_spends_is_its_callers(call: Call) -> None:
    """Tokens spent while serving are charged to the caller, whose next call is refused when none are left."""
    control = limited("100/hour")
    control.admit(call)
    await spend(30)
    async with await reserve(70) as held:
        with pytest.raises(ResourceExhausted):
            await reserve(1)
        await held.settle(50)
    control.admit(call_of())
    await spend(500)
    with pytest.raises(ResourceExhausted) as refused:
        control.admit(call_of())
    assert refused.value.retry_after == 481 * 36.0
    control.admit(call_of(peer="192.0.2.77"))


async def test_spending_where_nothing_is_limited(call: Call) -> None:
    """Without a limit of tokens, for exempt calls and outside of a call, spending and reserving do nothing."""
    for control, served in ((limited("off"), call), (limited("1/day"), call_of("/health"))):
        control.admit(served)
        token = CURRENT.set(served)
        await spend(10**9)
        async with await reserve(10**9) as held:
            await held.settle(5)
        CURRENT.reset(token)
    token = CURRENT.set(None)
    await spend(5)
    CURRENT.reset(token)
