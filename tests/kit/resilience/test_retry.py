"""Retries around coroutines, and how they stand inside the breaker."""

import asyncio
import gc
from contextlib import suppress

import pytest

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.controls.faults import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from headgate.kit.controls.retry import RetryBudget, RetryPolicy
from headgate.kit.resilience.breaker import Breaker
from headgate.kit.resilience.retry import Retry

POLICY = RetryPolicy(attempts=3, first_pause=1, longest_retry_after=10)


class Upstream:
    """Fails with each of the errors in turn, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "answer"


class Slept:
    """A sleep that takes no time and remembers."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)


def retry(slept, *, policy=POLICY, **fields) -> Retry:
    """Retries which take no time."""
    return Retry(policy, sleep=slept, spread=lambda: 0.5, **fields)


async def test_transient_failures_are_retried():
    """A call that fails twice in a way that may pass succeeds the third time."""
    slept, upstream = Slept(), Upstream(Unavailable("x"), ConnectionResetError())
    one = retry(slept)
    assert await one.call(upstream) == "answer"
    assert (upstream.calls, slept.pauses) == (3, [0.5, 1.0])
    assert (one.stats().calls, one.stats().retries) == (1, 2)


async def test_the_last_error_is_raised():
    """When the attempts are used up the last error is raised, and it says how many there were."""
    upstream = Upstream(*(Unavailable(f"attempt {number}") for number in range(1, 9)))
    with pytest.raises(Unavailable, match="attempt 3") as failed:
        await retry(Slept()).call(upstream)
    assert failed.value.__notes__ == ["attempts made: 3"]


@pytest.mark.parametrize("errors", [[NotFound("x")], [Unavailable("x"), NotFound("x")]])
async def test_other_errors_are_not_retried(errors):
    """An error that will not pass ends the call at once, also when it comes in a later attempt."""
    upstream = Upstream(*errors)
    with pytest.raises(NotFound):
        await retry(Slept()).call(upstream)
    assert upstream.calls == len(errors)


async def test_retry_after_is_waited_for():
    """The pause follows the time the other side asked for."""
    slept = Slept()
    assert await retry(slept).call(Upstream(ResourceExhausted("x", retry_after=4))) == "answer"
    assert slept.pauses == [4.5]


async def test_the_deadline_is_kept():
    """No pause begins that would last past the call's deadline."""
    slept, upstream = Slept(), Upstream(Unavailable("x"), Unavailable("x"))
    with pytest.raises(Unavailable):
        await retry(slept, remaining=lambda: 0.6).call(upstream)
    assert (upstream.calls, slept.pauses) == (2, [0.5])


async def test_the_budget_bounds_all_calls_together():
    """When most calls fail, retries stay a small share of them."""
    one = retry(Slept(), budget=RetryBudget(ratio=0.1, most=5))
    upstream = Upstream(*(Unavailable("x") for _ in range(1000)))
    for _ in range(100):
        with pytest.raises(Unavailable):
            await one.call(upstream)
    assert 100 < upstream.calls <= 116
    assert one.stats().out_of_budget > 80


async def test_cancelling_ends_the_retries():
    """A call cancelled during a pause or an attempt makes no further attempt."""
    upstream = Upstream(Unavailable("x"))
    task = asyncio.create_task(
        retry(asyncio.sleep, policy=RetryPolicy(first_pause=3600, longest_pause=3600)).call(upstream)
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert upstream.calls == 1
    with pytest.raises(asyncio.CancelledError):
        await retry(Slept()).call(Upstream(asyncio.CancelledError()))


async def test_decorated_functions():
    """A decorated coroutine function keeps its name and its arguments."""
    attempts = []

    @retry(Slept()).wrap
    async def greet(name: str) -> str:
        attempts.append(name)
        if len(attempts) == 1:
            raise Unavailable("x")
        return f"hello {name}"

    assert await greet(name="you") == "hello you"
    assert greet.__name__ == "greet"


def test_streams_cannot_be_decorated():
    """An async generator is refused: chunks that were handed on cannot be taken back."""

    async def stream():
        yield 1

    with pytest.raises(InvalidArgument):
        Retry().wrap(stream)


async def test_the_observer_hears_of_retries():
    """Each retry and each giving up reaches the observer, with its reason."""
    told = []

    class Observer:
        def retried(self, target, attempt, wait) -> None:
            told.append((target, attempt, wait))

        def gave_up(self, target, reason) -> None:
            told.append((target, reason))

    one = retry(Slept(), budget=RetryBudget(ratio=0, most=2), target="t", observer=Observer())
    for _ in range(2):
        with pytest.raises(Unavailable):
            await one.call(Upstream(*(Unavailable("x") for _ in range(9))))
    assert told == [("t", 1, 0.5), ("t", 2, 1.0), ("t", "limit"), ("t", "budget")]


async def test_the_breaker_sees_one_outcome_per_call(clock):
    """With retries inside the breaker, a call that succeeds in its third attempt is one success."""
    breaker = Breaker("t", BreakerPolicy(minimum_calls=1), clock=clock)
    upstream = Upstream(Unavailable("x"), Unavailable("x"))
    assert await breaker.call(retry(Slept()).call, upstream) == "answer"
    assert (upstream.calls, breaker.stats().calls, breaker.stats().failures) == (3, 1, 0)


async def test_an_open_circuit_stops_all_attempts(clock):
    """With retries inside the breaker, an open circuit is asked once and nothing is attempted or slept."""
    breaker, slept = Breaker("t", BreakerPolicy(minimum_calls=1), clock=clock), Slept()
    one = retry(slept)
    with pytest.raises(Unavailable):
        await breaker.call(one.call, Upstream(*(Unavailable("x") for _ in range(9))))
    assert breaker.stats().state == "open"
    slept.pauses.clear()
    upstream = Upstream()
    with pytest.raises(Unavailable) as refused:
        await breaker.call(one.call, upstream)
    assert (refused.value.code, upstream.calls, slept.pauses) == ("circuit_open", 0, [])


async def test_errors_leave_no_cycles():
    """The error of a call that gave up does not keep the frames of its attempts alive."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            with suppress(Unavailable):
                await retry(Slept()).call(Upstream(*(Unavailable("cycle") for _ in range(9))))
        alive = sum(isinstance(each, Unavailable) and each.message == "cycle" for each in gc.get_objects())
    finally:
        gc.enable()
    assert alive < 50
