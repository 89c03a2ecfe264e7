"""A clock that moves when told to.

    clock = FakeClock()
    breaker = Breaker(clock=clock)
    clock.advance(30)

It is called like `time.monotonic`, and `sleep` stands in for `asyncio.sleep`.
"""

import asyncio
import heapq
from itertools import count


class FakeClock:
    """Seconds from `start`, forwards only."""

    def __init__(self, start: float = 1_000.0) -> None:
        self.now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()

    def __call__(self) -> float:
        """The time now."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass; whoever sleeps until then wakes, the earliest first."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            sleeper = heapq.heappop(self._sleepers)[2]
            if not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Wait until that much time has been let pass."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), sleeper))
        await sleeper

    @property
    def sleeping(self) -> int:
        """How many wait for time to pass."""
        return sum(not sleeper.done() for _, _, sleeper in self._sleepers)
