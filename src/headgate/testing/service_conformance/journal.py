"""What befell a service, as its handlers note it: for rules to read, and to wait for."""

import asyncio
from collections import OrderedDict
from typing import Final

MOST_KEYS: Final = 10_000


class Journal:
    """Lines by key; the oldest keys are forgotten."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[str]] = OrderedDict()
        self._changed = asyncio.Event()

    def note(self, key: str, line: str) -> None:
        """Write a line down."""
        self._lines.setdefault(key, []).append(line)
        while len(self._lines) > MOST_KEYS:
            self._lines.popitem(last=False)
        self._changed.set()
        self._changed = asyncio.Event()

    def read(self, key: str) -> list[str]:
        """What was noted under a key."""
        return list(self._lines.get(key, ()))

    def count(self, line: str) -> list[str]:
        """The keys under which a line was noted, as often as it was."""
        return [key for key, lines in self._lines.items() for each in lines if each == line]

    async def has(self, key: str, line: str) -> None:
        """Return once a line is there."""
        while line not in self._lines.get(key, ()):
            await self._changed.wait()
