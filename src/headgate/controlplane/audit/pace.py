"""How many refusals are written down: enough to see an attack, too few to fill a disk."""

from collections.abc import Callable
from typing import Final

MOST: Final = 60
PERIOD: Final = 60.0


class Pace:
    """Lets MOST through in any PERIOD seconds of `clock`, and counts the others."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._start = clock()
        self._let = 0
        self._dropped = 0

    def admit(self) -> int | None:
        """None when this one is too many; otherwise how many were dropped since the last that was not."""
        now = self._clock()
        if now - self._start >= PERIOD:
            self._start, self._let = now, 0
        if self._let >= MOST:
            self._dropped += 1
            return None
        self._let += 1
        dropped, self._dropped = self._dropped, 0
        return dropped
