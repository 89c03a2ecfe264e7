"""Train the built-in scorer: `python -m headgate.kit.safety.train`.

Logistic regression for each category over the features of `headgate.kit.safety.features`, by AdaGrad with an L2
penalty and floors for weights, in pure Python: the same corpus gives the same weights. The biases are then moved
so that a probability of 0.8 is where, in four-fold cross-validation, F-beta is best. Writes the weights into the
package, and what they reach on held-out texts to the page; takes a minute. With `--corpus FILE` it learns from texts
of your own too: name `--weights` then, and use them as `BuiltinScorer(Weights.decode(path.read_bytes()))`.

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
from headgate.kit.safety.features import BLOCK, lexicon, named_windows, number_of
from headgate.kit.safety.words import words

PAGE: Final = Path("docs/reference/safety-scorer.md")
THRESHOLD: Final = 0.8

_EPOCHS: Final = 20
_RATE: Final = 0.15
_PENALTY: Final = 0.03
_BOOST: Final = {1: 3.0, 2: 2.0, 3: 2.0}
"""How much faster than from words it learns from one, two and three classes: they stand for words it never saw."""

_LEAST: Final = 0.02
"""Smaller weights are left out."""

_CLASS_FLOOR: Final = -0.5

_SURE_ENOUGH: Final = 0.02
_SLEEP: Final = 4
"""A sample that is right by that much is not looked at again for so many epochs."""


_RARE: Final = 2
"""What fewer training texts hold is not learned from."""

_HARMLESS: Final = "The committee approved the budget for next year. " * 4

_PARAGRAPH: Final = 130
"""Characters from which a text is called a paragraph."""

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
    samples, floors = _samples(examples)
    learned = [_calibrated(samples, floors, category) for category in CATEGORIES]
    numbers = sorted({number for _, weights in learned for number in weights})
    return Weights(
        CATEGORIES,
        tuple(round(bias, 4) for bias, _ in learned),
        {number: tuple(weights.get(number, 0.0) for _, weights in learned) for number in numbers},
    )


def _samples(examples: Sequence[Example]) -> tuple[list[_Sample], Mapping[int, float]]:
    """A sample for each window of each text, alone and amid harmless words; and the floor of each feature."""
    sure = [Example(word, (_SURE[name],)) for word, name in lexicon().items() if name in _SURE]
    texts = [*(example for example in examples if not example.held_out), *sure]
    harmless = [words(example.text) for example in texts if not example.labels]
    found = [
        ({feature: number_of(feature) for feature in window}, window, at)
        for at, example in enumerate(texts)
        for text in (example.text, *_amid(example.text, at, harmless))
        for window in named_windows(text)[::2]
    ]
    holders = Counter(number for number, _ in {(number, at) for known, _, at in found for number in known.values()})
    floors = {number: _floor(feature) for known, _, _ in found for feature, number in known.items()}
    samples = [
        _Sample(
            tuple(known[feature] for feature in window if holders[known[feature]] >= _RARE),
            texts[at].labels,
            zlib.crc32(b"fold " + texts[at].text.encode("utf-8")) % _FOLDS,
        )
        for known, window, at in found
    ]
    return samples, floors


def _floor(feature: str) -> float:
    """The least weight of a feature.

    What stands close to a word may say that it is harmless ("kill the process"), which takes classes in pairs to
    tell. Other words may not: or harmless ones, as many as one likes, would hide what they surround.
    """
    kind, _, name = feature.partition(":")
    if kind in {"p", "q"} or (kind == "b" and not name.islower()):
        return -math.inf
    return _CLASS_FLOOR if kind == "t" else 0.0


def _amid(text: str, number: int, harmless: Sequence[Sequence[str]]) -> list[str]:
    """`text` in the middle of one window of harmless words: they must not hide it. None when it fills a window."""
    own = words(text)
    room = 2 * BLOCK - len(own)
    if room < 2 or not harmless:
        return []
    picks = [harmless[(number * step + 7) % len(harmless)] for step in (31, 101, 211, 401)]
    before = [*picks[0], *picks[1]][-(room // 2) :]
    after = [*picks[2], *picks[3]][: room - len(before)]
    return [" ".join([*before, *own, *after])]


def _calibrated(samples: Sequence[_Sample], floors: Mapping[int, float], category: str) -> _Model:
    """The model of one category, its bias moved to where the threshold serves best."""
    judged: list[tuple[float, bool]] = []
    for fold in range(_FOLDS):
        model = _learn([sample for sample in samples if sample.fold != fold], floors, category)
        judged += [(_logit(model, each), category in each.labels) for each in samples if each.fold == fold]
    bias, weights = _learn(samples, floors, category)
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


def _learn(samples: Sequence[_Sample], floors: Mapping[int, float], category: str) -> _Model:
    """Bias and weights of one category."""
    weights: dict[int, float] = {}
    squares: dict[int, float] = {}
    boosts = _boosts()
    bias, bias_square = -1.0, 1e-6
    order = list(range(len(samples)))
    asleep = [0] * len(samples)
    for epoch in range(_EPOCHS):
        order.sort(key=lambda at: zlib.crc32(f"{epoch} {at}".encode()))
        for at in order:
            if asleep[at] > epoch:
                continue
            sample = samples[at]
            slope = probability(_logit((bias, weights), sample)) - (category in sample.labels)
            if abs(slope) < _SURE_ENOUGH:
                asleep[at] = epoch + _SLEEP
                continue
            bias_square += slope * slope
            bias -= _RATE * slope / math.sqrt(bias_square)
            for number in sample.features:
                before = weights.get(number, 0.0)
                boost = boosts.get(number, 1.0)
                pull = slope + _PENALTY / (boost * boost) * before
                square = squares.get(number, 1e-6) + pull * pull
                squares[number] = square
                weights[number] = max(floors[number], before - boost * _RATE * pull / math.sqrt(square))
    return bias, {number: weight for number, weight in weights.items() if abs(weight) >= _LEAST}


def measure(weights: Weights, examples: Sequence[Example], *, held_out_only: bool = True) -> Evaluation:
    """What `weights` reach on the examples, or on those that are held out."""
    chosen = [example for example in examples if example.held_out or not held_out_only]
    return evaluate(BuiltinScorer(weights), chosen, CATEGORIES, THRESHOLD)


def _surrounded(example: Example) -> Example:
    return Example(f"{_HARMLESS}{example.text} {_HARMLESS}", example.labels)


def page(weights: Weights, examples: Sequence[Example]) -> str:
    """The reference page: figures, sizes and limits."""
    held_out = [example for example in examples if example.held_out]
    harmless = sum(not example.labels for example in examples)
    return _PAGE.format(
        threshold=THRESHOLD,
        size=len(weights.encode()),
        features=len(weights.features),
        all=len(examples),
        held_out=len(held_out),
        held_out_harmless=sum(not example.labels for example in held_out),
        harmless=harmless,
        prose=sum(len(example.text) > _PARAGRAPH for example in examples if not example.labels),
        unwanted=len(examples) - harmless,
        table=table(measure(weights, examples)),
        amid=table(measure(weights, [_surrounded(example) for example in held_out], held_out_only=False), only="any"),
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

The same texts, each with 32 harmless words before it and after it:

{amid}

What it calls the texts of each kind; a text may be of several kinds and be called several things:

{confusion}

## What it was trained on

{all:,} English texts: {unwanted} unwanted ones and {harmless} harmless ones. Of the harmless ones {prose} are
paragraphs of prose or code, and most others use the words of unwanted ones in another sense. A text is held out
when the CRC-32 of its UTF-8 bytes is a multiple of four.

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
