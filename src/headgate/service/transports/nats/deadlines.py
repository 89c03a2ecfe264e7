"""The times of many calls with few timers: those that end within the same moment share one.

deadlines = Deadlines()
moment = deadlines.add(future, loop.time() + 10.0)
...
deadlines.forget(future, moment)

OutOfTime          no answer within the time of the call, told up to `MOMENT` later
"""

import asyncio
from typing import Any, Final

from headgate.service.client.errors import OutOfTime

MOMENT: Final = 1 / 64
"""Seconds."""


class _Together:
    """What ends in one moment, and its timer."""

    __slots__ = ("futures", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.futures: set[asyncio.Future[Any]] = set()


class Deadlines:
    """See the module."""

    def __init__(self) -> None:
        self._moments: dict[int, _Together] = {}

    def add(self, future: "asyncio.Future[Any]", until: float) -> int:
        """Let the future fail with OutOfTime at a time on its loop's clock. Returns what `forget` wants to know."""
        moment = int(until / MOMENT) + 1
        together = self._moments.get(moment)
        if together is None:
            timer = future.get_loop().call_at(moment * MOMENT, self._over, moment)
            together = self._moments[moment] = _Together(timer)
        together.futures.add(future)
        return moment

    def forget(self, future: "asyncio.Future[Any]", moment: int) -> None:
        """It is not waited for any more."""
        together = self._moments.get(moment)
        if together is not None:
            together.futures.discard(future)
            if not together.futures:
                together.timer.cancel()
                del self._moments[moment]

    def __len__(self) -> int:
        """How many timers there are."""
        return len(self._moments)

    def _over(self, moment: int) -> None:
        for future in self._moments.pop(moment).futures:
            if not future.done():
                future.set_exception(OutOfTime("no answer came in time", hint="allow more time"))
