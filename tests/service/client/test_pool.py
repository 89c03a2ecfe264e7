"""The connections of one instance: how many, which one is next, when they are closed."""

import asyncio

import pytest

from headgate.kit.controls.faults import ResourceExhausted
from headgate.service.client.wires.pool import Pool


class Line:
    """A transport that remembers whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def aclose(self) -> None:
        """Remember it."""
        self.closed = True


class Lines:
    """A pool of such, and all that it made."""

    def __init__(self, **told) -> None:
        self.made: list[Line] = []
        self.pool = Pool(self.make, **{"most": 2, "most_idle": 2, "idle_time": 15.0, "patience": 0.02, **told})

    def make(self) -> Line:
        """One more."""
        self.made.append(Line())
        return self.made[-1]

    async def use(self, times: int) -> None:
        """As many at the same time."""
        gate = asyncio.Barrier(times)

        async def one() -> None:
            async with self.pool.connection():
                await gate.wait()

        await asyncio.gather(*(one() for _ in range(times)))


async def test_what_was_used_last_is_used_first():
    """A call takes the connection that was used last, so that the others grow old and are closed."""
    lines = Lines(idle_time=0.05)
    async with lines.pool.connection() as last, lines.pool.connection() as first:
        pass
    async with lines.pool.connection() as line:
        assert line is last
        await asyncio.sleep(0.1)
    assert (last.closed, first.closed) == (False, True)


async def test_no_more_are_kept_than_may_be():
    """What comes back when enough are kept is closed, and all are when the pool is."""
    lines = Lines(most=3, most_idle=1)
    await lines.use(3)
    assert sorted(each.closed for each in lines.made) == [False, True, True]
    await lines.pool.aclose()
    assert all(each.closed for each in lines.made)


async def test_who_waits_too_long_is_told():
    """Without a free connection a call waits as long as it may, and takes nobody's place when it gives up."""
    lines = Lines(most=1)
    async with lines.pool.connection():
        with pytest.raises(ResourceExhausted) as told:
            await lines.use(1)
    assert told.value.code == "connections_exhausted"
    await lines.use(1)
    assert len(lines.made) == 1


async def test_what_comes_back_after_the_end_is_closed():
    """A connection that is in use when the pool is closed is closed, and not kept."""
    lines = Lines()
    async with lines.pool.connection() as line:
        await lines.pool.aclose()
    assert line.closed
    assert not lines.pool._idle
