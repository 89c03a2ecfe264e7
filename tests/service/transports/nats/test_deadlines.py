"""Times of calls that share timers."""

import asyncio

import pytest

from headgate.service.client.errors import OutOfTime
from headgate.service.transports.nats.deadlines import Deadlines


async def test_a_future_fails_when_its_time_is_up_and_not_before():
    """Never early, and those with more time go on."""
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    short, long = loop.create_future(), loop.create_future()
    began = loop.time()
    deadlines.add(short, loop.time() + 0.02)
    moment = deadlines.add(long, loop.time() + 60)
    with pytest.raises(OutOfTime):
        await asyncio.wait_for(short, 10)
    assert loop.time() - began >= 0.02 - 0.001
    assert not long.done()
    deadlines.forget(long, moment)
    assert len(deadlines) == 0


async def test_timers_are_shared_and_let_go():
    """There are as many as moments, and none for what nobody waits for."""
    loop, deadlines = asyncio.get_running_loop(), Deadlines()
    added = [
        (future, deadlines.add(future, loop.time() + 60)) for future in (loop.create_future() for _ in range(1_000))
    ]
    assert len(deadlines) == len({moment for _, moment in added})
    for future, moment in added:
        deadlines.forget(future, moment)
    assert len(deadlines) == 0
    deadlines.forget(*added[0])  # twice is no error
