"""The scorers of a gate, asked together: one that fails or dawdles does not take the others with it.

An outage of a scorer is logged when it begins and when it ends, not at each text; each failure is counted
through the observer. The text is in neither.
"""

import asyncio
import math
from collections.abc import Mapping, Sequence

import structlog

from headgate.kit.controls.faults import Fault
from headgate.kit.safety.judgement import Observer, Scorer

_log = structlog.get_logger("headgate.safety")


class Panel:
    """`scorers` asked at once, each for at most `timeout` seconds."""

    def __init__(self, scorers: Sequence[Scorer], *, timeout: float, observer: Observer | None) -> None:
        self.scorers = tuple(scorers)
        self._timeout = timeout
        self._observer = observer
        self._failures = {scorer.name: 0 for scorer in self.scorers}

    async def score(self, text: str) -> tuple[dict[str, float], tuple[str, ...]]:
        """The highest probability of each category, and the names of the scorers that failed."""
        text = _well_formed(text)
        if len(self.scorers) == 1:
            answers = [await self._ask(self.scorers[0], text)]
        else:
            answers = await asyncio.gather(*(self._ask(scorer, text) for scorer in self.scorers))
        highest: dict[str, float] = {}
        failed: list[str] = []
        for scorer, answer in zip(self.scorers, answers, strict=True):
            if answer is None:
                failed.append(scorer.name)
                continue
            for category, probability in answer.items():
                if probability > highest.get(category, -1.0):
                    highest[category] = probability
        return highest, tuple(failed)

    async def _ask(self, scorer: Scorer, text: str) -> Mapping[str, float] | None:
        try:
            async with asyncio.timeout(self._timeout):
                answer = {category: _probability(value) for category, value in (await scorer.score(text)).items()}
        except Exception as error:  # noqa: BLE001 - a scorer is a plug-in: whatever it raises, the gate decides
            self._failed(scorer.name, _reason(error))
            return None
        if self._failures[scorer.name]:
            self._recovered(scorer.name)
        return answer

    def _failed(self, name: str, reason: str) -> None:
        self._failures[name] += 1
        if self._failures[name] == 1:
            _log.warning("content scorer does not answer", scorer=name, reason=reason)
        if self._observer is not None:
            self._observer.scorer_failed(name, reason)

    def _recovered(self, name: str) -> None:
        _log.info("content scorer answers again", scorer=name, failures=self._failures[name])
        self._failures[name] = 0

    async def aclose(self) -> None:
        """Close the scorers that can be closed."""
        for scorer in self.scorers:
            close = getattr(scorer, "aclose", None)
            if close is not None:
                await close()


def _well_formed(text: str) -> str:
    """`text` without lone surrogates, which JSON may hold and no encoding can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _probability(value: float) -> float:
    number = float(value)
    if math.isnan(number):
        raise ValueError("a probability is not a number")
    return min(1.0, max(0.0, number))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    return error.code if isinstance(error, Fault) else type(error).__name__
