"""An event loop whose clock jumps."""

import asyncio
import random
import time
import uuid

import pytest

from headgate.testing.world import StuckError, VirtualLoop, virtual_time
from headgate.testing.world.loop import START


def test_sleeping_takes_no_time():
    """An hour passes at once, for the loop and for whoever asks `time.monotonic`."""

    async def story():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time(), time.monotonic()

    began = time.perf_counter()
    with virtual_time(seed=0) as loop:
        assert loop.run_until_complete(story()) == (START + 3600, START + 3600)
    assert time.perf_counter() - began < 60


def test_sleepers_wake_in_order():
    """Time stops at each timer on its way."""
    woken = []

    async def sleeper(seconds):
        await asyncio.sleep(seconds)
        woken.append((seconds, asyncio.get_running_loop().time() - START))

    async def story():
        await asyncio.gather(*(sleeper(seconds) for seconds in (3, 1, 2)))

    with virtual_time(seed=0) as loop:
        loop.run_until_complete(story())
    assert woken == [(1, 1), (2, 2), (3, 3)]


def test_timeouts_are_of_the_same_clock():
    """A timeout ends when the virtual clock says so, not sooner or later."""

    async def story():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(6)
        return asyncio.get_running_loop().time() - START

    with virtual_time(seed=0) as loop:
        assert loop.run_until_complete(story()) == pytest.approx(5)


def test_what_waits_for_nothing_is_told():
    """When nothing can ever happen, that is an error that says who waits where."""

    async def waiting():
        await asyncio.Event().wait()

    with virtual_time(seed=0) as loop, pytest.raises(StuckError, match=r"1 tasks wait[\s\S]*test_loop.py|locks.py"):
        loop.run_until_complete(waiting())


def test_work_in_threads_is_waited_for():
    """The clock stands while a thread works, however long that takes."""

    async def story():
        sleeping = asyncio.create_task(asyncio.sleep(60))
        assert await asyncio.to_thread(sum, [1, 2]) == 3
        elapsed = asyncio.get_running_loop().time() - START
        await sleeping
        return elapsed

    with virtual_time(seed=0) as loop:
        assert loop.run_until_complete(story()) == 0


def test_chance_comes_from_the_seed():
    """`random` and `uuid4` are the same for the same seed, and as before afterwards."""

    async def drawn():
        return random.random(), uuid.uuid4()

    found = []
    for seed in (1, 1, 2):
        with virtual_time(seed) as loop:
            found.append(loop.run_until_complete(drawn()))
    assert found[0] == found[1] != found[2]
    assert uuid.uuid4() != uuid.uuid4()
    assert abs(time.monotonic() - START) > 0


def test_a_loop_of_ones_own():
    """A loop may be made before, so that its clock can be asked."""
    loop = VirtualLoop(start=5.0)
    assert loop.time() == 5.0
    with virtual_time(0, loop) as same:
        assert same is loop
    assert loop.is_closed()
