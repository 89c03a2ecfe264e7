"""Shared by the tests of content safety: scorers whose verdict is plain to see, and who was told."""

import asyncio
from collections.abc import Mapping

from headgate.kit.controls.faults import Unavailable
from headgate.kit.safety import Judgement


class Words:
    """Finds words: each is a category of its own, and certain wherever it stands in the text."""

    def __init__(self, *words: str, name: str = "words") -> None:
        self.name = name
        self.words = words
        self.asked: list[str] = []

    async def score(self, text: str) -> Mapping[str, float]:
        self.asked.append(text)
        return {word: float(word in text) for word in self.words}


class Broken:
    """Fails while `down`."""

    def __init__(self, name: str = "broken") -> None:
        self.name = name
        self.down = True

    async def score(self, text: str) -> Mapping[str, float]:
        if self.down:
            raise Unavailable(f"cannot judge: {text}", code="out_of_order")
        return {}


class Stuck:
    """Never answers; `cancelled` counts those who gave up."""

    def __init__(self, name: str = "stuck") -> None:
        self.name = name
        self.waiting = asyncio.Event()
        self.cancelled = 0

    async def score(self, text: str) -> Mapping[str, float]:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled += 1
        return {}


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.judgements: list[tuple[str, Judgement]] = []
        self.failures: list[tuple[str, str]] = []

    def judged(self, side: str, judgement: Judgement) -> None:
        self.judgements.append((side, judgement))

    def scorer_failed(self, scorer: str, reason: str) -> None:
        self.failures.append((scorer, reason))

    @property
    def findings(self) -> list[tuple[str, ...]]:
        """The categories of each judgement that found something."""
        return [judgement.categories for _, judgement in self.judgements if judgement.categories]
