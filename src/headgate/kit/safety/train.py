"""Train the built-in scorer: `python -m headgate.kit.safety.train`.

Logistic regression for each category over the features of `headgate.kit.safety.features`, by AdaGrad with an L2
penalty, in pure Python: the same corpus gives the same weights. The biases are then moved so that a probability
of 0.8 is where, in four-fold cross-validation, F-beta is best. Writes the weights into the package, and what they
reach on held-out texts to the page. With `--corpus FILE` it learns from texts of your own too: then name
`--weights`, and use them as `BuiltinScorer(Weights.decode(path.read_bytes()))`.

Source: Duchi, Hazan, Singer, "Adaptive Subgradient Methods for Online Learning" (2011).
"""

import argparse
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Final

from headgate.kit.safety import corpus
from headgate.kit.safety.builtin import CATEGORIES, WEIGHTS, BuiltinScorer, Weights, probability
from headgate.kit.safety.corpus import Example
from headgate.kit.safety.evaluation import Evaluation, confusion, evaluate, table
from headgate.kit.safety.features import lexicon, number_of, windows

PAGE: Final = Path("docs/reference/safety-scorer.md")
THRESHOLD: Final = 0.8

_EPOCHS: Final = 40
_RATE: Final = 0.15
_PENALTY: Final = 0.03
_BOOST: Final = {1: 3.0, 2: 2.0, 3: 2.0}
"""How much faster than from words it learns from one, two and three classes: they stand for words it never saw."""

_LEAST: Final = 0.02
"""Smaller weights are left out."""

_RARE: Final = 2
"""What fewer training texts hold is not learned from."""

_FOLDS: Final = 4
_SQUARED_BETA: Final = 0.1
"""Precision counts for ten times what recall does: a false alarm stops somebody's work."""

_SURE: Final = {"SWEAR": "profanity"}
"""Classes of words each of which alone is of a category: learned from besides the texts."""


@dataclass(frozen=True, slots=True)
class _Sample:
    """A window of a text. `fold` is the same for all windows of one text."""

    features: tuple[int, ...]
    labels: tuple[str, ...]
    fold: int


_Model = tuple[float, Mapping[int, float]]


def train(examples: Sequence[Example]) -> Weights:
    """Weights learned from those of `examples` that are not held out."""
    samples = _samples(examples)
    learned = [_calibrated(samples, category) for category in CATEGORIES]
    numbers = sorted({number for _, weights in learned for number in weights})
    return Weights(
        CATEGORIES,
        tuple(round(bias, 4) for bias, _ in learned),
        {number: tuple(weights.get(number, 0.0) for _, weights in learned) for number in numbers},
    )


def _samples(examples: Sequence[Example]) -> list[_Sample]:
    """A sample for each window of each text, without what is rare."""
    sure = [Example(word, (_SURE[name],)) for word, name in lexicon().items() if name in _SURE]
    texts = [*(example for example in examples if not example.held_out), *sure]
    found = [(window, example) for example in texts for window in windows(example.text)]
    seen = Counter(number for window, _ in found for number in set(window))
    return [
        _Sample(
            tuple(number for number in window if seen[number] >= _RARE),
            example.labels,
            zlib.crc32(b"fold " + example.text.encode("utf-8")) % _FOLDS,
        )
        for window, example in found
    ]


def _calibrated(samples: Sequence[_Sample], category: str) -> _Model:
    """The model of one category, its bias moved to where the threshold serves best."""
    judged: list[tuple[float, bool]] = []
    for fold in range(_FOLDS):
        model = _learn([sample for sample in samples if sample.fold != fold], category)
        judged += [(_logit(model, each), category in each.labels) for each in samples if each.fold == fold]
    bias, weights = _learn(samples, category)
    return bias + math.log(THRESHOLD / (1 - THRESHOLD)) - _best_cut(judged), weights


def _best_cut(judged: Sequence[tuple[float, bool]]) -> float:
    """The logit from which on calling a text unwanted gives the best F-beta."""
    wanted = sum(label for _, label in judged)
    found, best, cut = 0, -1.0, 0.0
    for given, (logit, label) in enumerate(sorted(judged, reverse=True), start=1):
        found += label
        score = (1 + _SQUARED_BETA) * found / (_SQUARED_BETA * wanted + given)
        if score > best:
            best, cut = score, logit
    return cut


def _logit(model: _Model, sample: _Sample) -> float:
    bias, weights = model
    return bias + sum(weights.get(number, 0.0) for number in sample.features)


@cache
def _boosts() -> Mapping[int, float]:
    """The boost of each feature made of classes."""
    classes = sorted(set(lexicon().values()))
    names = {1: "t:{}", 2: "p:{}>{}", 3: "q:{}>{}>{}"}
    return {
        number_of(names[count].format(*each)): boost
        for count, boost in sorted(_BOOST.items(), reverse=True)
        for each in product(classes, repeat=count)
    }


def _learn(samples: Sequence[_Sample], category: str) -> _Model:
    """Bias and weights of one category."""
    weights: dict[int, float] = {}
    squares: dict[int, float] = {}
    boosts = _boosts()
    bias, bias_square = -1.0, 1e-6
    order = list(range(len(samples)))
    for epoch in range(_EPOCHS):
        order.sort(key=lambda at: zlib.crc32(f"{epoch} {at}".encode()))
        for at in order:
            sample = samples[at]
            slope = probability(_logit((bias, weights), sample)) - (category in sample.labels)
            if abs(slope) < 1e-3:
                continue
            bias_square += slope * slope
            bias -= _RATE * slope / math.sqrt(bias_square)
            for number in sample.features:
                before = weights.get(number, 0.0)
                boost = boosts.get(number, 1.0)
                pull = slope + _PENALTY / (boost * boost) * before
                square = squares.get(number, 1e-6) + pull * pull
                squares[number] = square
                weights[number] = before - boost * _RATE * pull / math.sqrt(square)
    return bias, {number: weight for number, weight in weights.items() if abs(weight) >= _LEAST}


def measure(weights: Weights, examples: Sequence[Example]) -> Evaluation:
    """What `weights` reach on the examples that are held out."""
    return evaluate(
        BuiltinScorer(weights), [example for example in examples if example.held_out], CATEGORIES, THRESHOLD
    )


def page(weights: Weights, examples: Sequence[Example]) -> str:
    """The reference page: figures, sizes and limits."""
    held_out = [example for example in examples if example.held_out]
    trained = len(examples) - len(held_out)
    harmless = sum(not example.labels for example in examples)
    return _PAGE.format(
        threshold=THRESHOLD,
        size=len(weights.encode()),
        features=len(weights.features),
        all=len(examples),
        trained=trained,
        held_out=len(held_out),
        held_out_harmless=sum(not example.labels for example in held_out),
        harmless=harmless,
        unwanted=len(examples) - harmless,
        table=table(measure(weights, examples)),
        corpus="\n".join(_corpus_rows(examples)),
        confusion=confusion(BuiltinScorer(weights), held_out, CATEGORIES, THRESHOLD),
    )


def _corpus_rows(examples: Sequence[Example]) -> list[str]:
    rows = []
    for name in (*CATEGORIES, ""):
        of = [example for example in examples if (name in example.labels if name else not example.labels)]
        held_out = sum(example.held_out for example in of)
        rows.append(f"| {f'`{name}`' if name else 'harmless'} | {len(of) - held_out} | {held_out} |")
    return rows


_PAGE: Final = """\
<!-- Generated by `python -m headgate.kit.safety.train`; a test compares. -->

# The built-in content scorer

`BuiltinScorer` is a linear model over words, letters and word classes, in pure Python. Its weights are
{size:,} bytes with {features:,} features. It needs nothing installed and sends nothing anywhere.

## What it reaches

On {held_out} texts it was not trained on ({held_out_harmless} of them harmless), with the default threshold of
{threshold}. Precision is the part of its alarms that are right, recall the part of the unwanted texts it finds;
"any" asks only whether a text is unwanted.

{table}

What it calls the texts of each kind; a text may be of several kinds and be called several things:

{confusion}

## What it was trained on

{all:,} English texts written for it: {unwanted} unwanted ones and {harmless} harmless ones, most of which use the
same words in another sense. A text is held out when the CRC-32 of its UTF-8 bytes is a multiple of four.

| category | trained on | held out |
|---|---|---|
{corpus}

## Limits

- It is a first line, not a moderator. It misses what it has no words for: one unwanted text in every few gets
  through, as the recall above says. Put another scorer beside it where that matters.
- The held-out texts were written by the same hands as those it was trained on. Texts from elsewhere are harder.
- It knows English only, and of words for groups of people it knows few slurs: add yours with `--corpus`.
- It judges 24 words at a time. It does not follow an argument, know who speaks, or see irony, quotation and fiction
  for what they are: a novel, a history lesson or a report of abuse can be taken for the thing itself.
- It undoes common disguises (look-alike letters, digits for letters, letters spaced apart, zero-width
  characters), not every one.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write the weights and the page."""
    parser = argparse.ArgumentParser(prog="python -m headgate.kit.safety.train", description="Train the scorer.")
    parser.add_argument("--corpus", type=Path, action="append", default=[], help="a JSON Lines file to add")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--page", type=Path, default=PAGE, help="where the figures go")
    given = parser.parse_args(arguments)
    examples = [*corpus.read(), *corpus.read(given.corpus)]
    # What is published is what the file holds, rounded to eight bits.
    weights = Weights.decode(train(examples).encode())
    given.weights.write_bytes(weights.encode())
    given.page.write_text(page(weights, examples), encoding="utf-8")


if __name__ == "__main__":
    main()
