"""The built-in scorer: a linear model in pure Python, with its weights in the package.

It knows English and what the corpus beside it holds, and is a first line, not a moderator: what it reaches on
texts it was not trained on is published in `docs/reference/safety-scorer.md`. It needs nothing installed and
sends nothing anywhere.

    scores = await BuiltinScorer().score("have a nice day")     # {"harassment": 0.01, ...}
"""

import asyncio
import itertools
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from headgate.kit.safety.features import BLOCK, REACH, class_of, number_of, word_features
from headgate.kit.safety.words import plain_word, tokens

CATEGORIES: Final = ("harassment", "hate", "violence_threat", "sexual", "self_harm", "profanity")
WEIGHTS: Final = Path(__file__).parent / "weights.bin"

_MAGIC: Final = b"HGSAFE1\n"
_MOST_CACHED: Final = 8192
_PAUSE_AFTER: Final = 400
"""Words after which other tasks have their turn: some two milliseconds."""

Vector = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """A linear model: a bias for each category, and a vector for each feature that matters."""

    categories: tuple[str, ...]
    bias: Vector
    features: Mapping[int, Vector]

    def encode(self) -> bytes:
        """The model as a file: a magic, a JSON header, and zlib of 8-bit weights with a scale for each category."""
        numbers = sorted(self.features)
        scales = [
            max((abs(self.features[number][at]) for number in numbers), default=0.0) / 127 or 1.0
            for at in range(len(self.categories))
        ]
        header = json.dumps(
            {"categories": self.categories, "bias": self.bias, "scales": scales, "features": len(numbers)}
        ).encode()
        rows = [
            bytes(round(self.features[number][at] / scale) & 0xFF for number in numbers)
            for at, scale in enumerate(scales)
        ]
        steps = [number - before for number, before in zip(numbers, [0, *numbers], strict=False)]
        body = zlib.compress(struct.pack(f"<{len(steps)}I", *steps) + b"".join(rows), 9)
        return _MAGIC + struct.pack("<I", len(header)) + header + body

    @classmethod
    def decode(cls, data: bytes) -> "Weights":
        """Read what `encode` made. Raises ValueError when it is something else."""
        start = len(_MAGIC) + 4
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("these are not weights of the built-in scorer")
        (length,) = struct.unpack_from("<I", data, len(_MAGIC))
        header = json.loads(data[start : start + length])
        body, count = zlib.decompress(data[start + length :]), header["features"]
        rows = [
            [value * scale for value in struct.unpack_from(f"<{count}b", body, 4 * count + at * count)]
            for at, scale in enumerate(header["scales"])
        ]
        number, features = 0, {}
        for step, vector in zip(struct.unpack_from(f"<{count}I", body), zip(*rows, strict=True), strict=True):
            number += step
            features[number] = vector
        return cls(tuple(header["categories"]), tuple(header["bias"]), features)


@cache
def shipped() -> Weights:
    """The weights in the package."""
    return Weights.decode(WEIGHTS.read_bytes())


class BuiltinScorer:
    """Scores with `weights`, those in the package unless given. One may serve all gates of a process."""

    name: Final = "builtin"

    def __init__(self, weights: Weights | None = None) -> None:
        self.weights = weights or shipped()
        self._words: dict[str, tuple[str, Vector | None, str]] = {}

    async def score(self, text: str) -> Mapping[str, float]:
        """The probability of each category, that of the worst window."""
        found = tokens(text)
        blocks: list[list[float]] = []
        state = _Reading()
        for start in range(0, len(found), _PAUSE_AFTER):
            if start:
                await asyncio.sleep(0)
            self._read(found[start : start + _PAUSE_AFTER], state, blocks)
        return self._worst(blocks)

    def _read(self, found: Sequence[str], state: "_Reading", blocks: list[list[float]]) -> None:
        """Add the weights of these tokens to their blocks."""
        features = self.weights.features.get
        known, learn, size = self._words.get, self._learn, len(self.weights.categories)
        before, tagged, tagged_at, at, seen = state.before, state.tagged, state.tagged_at, state.at, state.seen
        older = state.older
        sums = blocks[-1] if blocks else []
        for token in found:
            word, vector, own = known(token) or learn(token)
            if not word:
                continue
            if at % BLOCK == 0:
                sums = [0.0] * size
                blocks.append(sums)
                seen.clear()
            if vector is not None and word not in seen:
                seen.add(word)
                _add(sums, vector)
            sign = own or word
            if before:
                vector = features(number_of(f"b:{before} {sign}"))
                if vector is not None:
                    _add(sums, vector)
            if own:
                if at - tagged_at <= REACH:
                    vector = features(number_of(f"p:{tagged}>{own}"))
                    if vector is not None:
                        _add(sums, vector)
                    if older:
                        vector = features(number_of(f"q:{older}>{tagged}>{own}"))
                        if vector is not None:
                            _add(sums, vector)
                    older = tagged
                else:
                    older = ""
                tagged, tagged_at = own, at
            before = sign
            at += 1
        state.before, state.tagged, state.tagged_at, state.at = before, tagged, tagged_at, at
        state.older = older

    def _learn(self, token: str) -> tuple[str, Vector | None, str]:
        """What there is to know of a token by itself; kept, up to a bound, as texts repeat their words."""
        word = plain_word(token)
        get = self.weights.features.get
        own = class_of(word) if word else ""
        found = [vector for name in word_features(word, own) if (vector := get(number_of(name)))] if word else []
        entry = (word, tuple(map(sum, zip(*found, strict=True))) or None, own)
        if len(self._words) >= _MOST_CACHED:
            self._words.clear()
        self._words[token] = entry
        return entry

    def _worst(self, blocks: Sequence[Sequence[float]]) -> dict[str, float]:
        scores = {}
        for at, (category, bias) in enumerate(zip(self.weights.categories, self.weights.bias, strict=True)):
            column = [block[at] for block in blocks]
            if len(column) > 1:
                column = [first + second for first, second in itertools.pairwise(column)]
            scores[category] = probability(bias + max(column)) if column else 0.0
        return scores


class _Reading:
    """Where the reader of a text is."""

    __slots__ = ("at", "before", "older", "seen", "tagged", "tagged_at")

    def __init__(self) -> None:
        self.at = 0
        self.before = ""
        self.older = ""
        self.tagged = ""
        self.tagged_at = -REACH - 1
        self.seen: set[str] = set()


def _add(sums: list[float], vector: Vector) -> None:
    for at, value in enumerate(vector):
        sums[at] += value


def probability(logit: float) -> float:
    """The logistic function."""
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(60.0, logit))))
