"""The words of the safety room: what a scorer is, what a judgement says, who is told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

Action = Literal["block", "redact", "flag"]
"""What becomes of content that reaches a threshold."""

OnError = Literal["closed", "open"]
"""When content cannot be judged: refuse it, or go by those scorers that answered."""

Side = Literal["input", "output"]
Verdict = Literal["pass", "flag", "redact", "block"]


class Scorer(Protocol):
    """Tells how probable each category of unwanted content is in a text.

    `score` returns a probability from 0 to 1 for each category it knows; a category left out counts as 0.
    It raises when it cannot tell. It may be called many times at once.
    """

    @property
    def name(self) -> str:
        """A short name for logs and metrics."""
        ...

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each category in `text`."""
        ...


class Observer(Protocol):
    """Is told what a gate does: to be counted, logged or reviewed. Must return at once and not raise."""

    def judged(self, side: Side, judgement: "Judgement") -> None:
        """A text, or a window of a stream, was judged. Windows that overlap tell of one finding once."""
        ...

    def scorer_failed(self, scorer: str, reason: str) -> None:
        """A scorer did not answer: `reason` is "timeout", the code of a fault or the name of an error."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a gate found.

    `scores` is the highest probability any scorer gave each category; `categories` are those at or above their
    threshold, sorted; `failed` names the scorers that did not answer. `text` is what may be passed on.
    """

    verdict: Verdict
    scores: Mapping[str, float]
    categories: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    text: str = field(default="", repr=False)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.categories
