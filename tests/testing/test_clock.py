"""The clock that moves when told to."""

import asyncio

import pytest

from headgate.testing.clock import FakeClock


async def test_sleepers_wake_in_order() -> None:
    """Whoever sleeps wakes once the time has passed, the earliest first, and nobody sooner."""
    clock, woken = FakeClock(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2)]
    await asyncio.sleep(0)
    assert clock.sleeping == 3
    clock.advance(2)
    for _ in range(3):
        await asyncio.sleep(0)
    assert woken == [1, 2]
    clock.advance(1)
    await asyncio.gather(*tasks)
    assert woken == [1, 2, 3]
    assert clock.sleeping == 0


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """Cancelling a sleep leaves nothing that a later advance would trip over."""
    clock = FakeClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    clock.advance(5)
    assert clock.sleeping == 0


def test_time_does_not_go_back() -> None:
    """The clock is monotonic."""
    clock = FakeClock(10)
    clock.advance(1.5)
    assert clock() == 11.5
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)
