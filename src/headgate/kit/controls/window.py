"""A running text cut into units that depend on the text alone, never on how it arrived.

What judges a stream must not be fooled by where its chunks end. `Segmenter` cuts at the end of a sentence,
else between words, else hard; a unit is from half of `longest` to `longest` characters. Two neighbours
together are the window in which everything of up to `longest` characters is seen whole.

    segmenter = Segmenter(longest=200)
    for chunk in ("Hel", "lo the", "re. "):
        units = segmenter.feed(chunk)
    units = segmenter.finish()          # ["Hello there. "]
"""

import re
from dataclasses import dataclass
from typing import Final

SHORTEST_WINDOW: Final = 40
"""The least characters that two units may hold: below it no sentence fits."""

_SENTENCE_END: Final = re.compile(r"(?<=[.!?…。])\s|\n")
_SENTENCE: Final = re.compile(r".*?(?:[.!?…。]+[\"')\]]*\s+|\n+|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of the text as it came, and what is to be passed on in its place."""

    original: str
    text: str

    @property
    def untouched(self) -> bool:
        """Whether the part is passed on as it came."""
        return self.text == self.original


class Segmenter:
    """Cuts one text into units of at most `longest` characters; holds fewer than `longest` back."""

    __slots__ = ("_least", "_longest", "_rest")

    def __init__(self, longest: int) -> None:
        if longest < SHORTEST_WINDOW // 2:
            raise ValueError(f"a unit needs at least {SHORTEST_WINDOW // 2} characters, not {longest}")
        self._longest = longest
        self._least = longest // 2
        self._rest = ""

    @property
    def held(self) -> int:
        """Characters that wait for the rest of their unit."""
        return len(self._rest)

    def feed(self, chunk: str) -> list[str]:
        """Take the next part of the text; return the units it completes."""
        text, start, units = self._rest + chunk, 0, []
        while end := self._cut(text, start):
            units.append(text[start:end])
            start = end
        self._rest = text[start:]
        return units

    def finish(self) -> list[str]:
        """Return what is left, as a last unit, and begin anew."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []

    def _cut(self, text: str, start: int) -> int:
        """Where the unit that begins at `start` ends; 0 while that cannot be known."""
        least, most = start + self._least, start + self._longest
        found = _SENTENCE_END.search(text, least, most)
        if found:
            return found.end()
        if len(text) < most:
            return 0
        for at in range(most - 1, least, -1):
            if text[at].isspace():
                return at + 1
        return most


def sentences(text: str) -> list[str]:
    """`text` in sentences, each with the space after it: joined, they are the text."""
    return [found for found in _SENTENCE.findall(text) if found]
