"""How good a scorer is: counts at a threshold, for each category, and the page that publishes them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headgate.kit.safety.corpus import Example
from headgate.kit.safety.judgement import Scorer


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the examples with regard to one category."""

    found: int
    false_alarms: int
    missed: int
    passed: int

    @property
    def precision(self) -> float:
        """The part of the alarms that are right; 1 when there was none."""
        return self.found / (self.found + self.false_alarms) if self.found + self.false_alarms else 1.0

    @property
    def recall(self) -> float:
        """The part of the unwanted texts that is found; 1 when there was none."""
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a scorer reached: for each category, and `overall`, where a text is unwanted or not."""

    threshold: float
    categories: Mapping[str, Counts]
    overall: Counts


def evaluate(
    scorer: Scorer, examples: Sequence[Example], categories: Sequence[str], threshold: float = 0.8
) -> Evaluation:
    """Score every example and count. Runs a loop of its own."""
    wanted = [set(example.labels) for example in examples]
    given = _given(scorer, examples, categories, threshold)
    return Evaluation(
        threshold,
        {
            category: _count([category in labels for labels in wanted], [category in found for found in given])
            for category in categories
        },
        _count([bool(labels) for labels in wanted], [bool(found) for found in given]),
    )


def _given(scorer: Scorer, examples: Sequence[Example], categories: Sequence[str], threshold: float) -> list[set[str]]:
    """The categories given to each example."""

    async def scores() -> list[Mapping[str, float]]:
        return [await scorer.score(example.text) for example in examples]

    return [
        {category for category in categories if answer.get(category, 0.0) >= threshold}
        for answer in asyncio.run(scores())
    ]


def _count(wanted: Sequence[bool], given: Sequence[bool]) -> Counts:
    pairs = list(zip(wanted, given, strict=True))
    return Counts(
        found=pairs.count((True, True)),
        false_alarms=pairs.count((False, True)),
        missed=pairs.count((True, False)),
        passed=pairs.count((False, False)),
    )


def table(result: Evaluation, *, only: str = "") -> str:
    """The figures as a Markdown table, one row for each category and one for all of them; or `only` one row."""
    rows = [*((f"`{name}`", counts) for name, counts in result.categories.items()), ("any", result.overall)]
    lines = [
        "| category | precision | recall | F1 | found | false alarms | missed | rightly passed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {each.precision:.3f} | {each.recall:.3f} | {each.f1:.3f} "
        f"| {each.found} | {each.false_alarms} | {each.missed} | {each.passed} |"
        for name, each in rows
        if only in {"", name}
    ]
    return "\n".join(lines)


def confusion(scorer: Scorer, examples: Sequence[Example], categories: Sequence[str], threshold: float) -> str:
    """How many texts of each kind (rows, the last one harmless) are called what (columns), as a Markdown table."""
    given = _given(scorer, examples, categories, threshold)
    lines = [
        f"| texts of | {' | '.join(f'`{name}`' for name in categories)} | nothing |",
        "|---" * (len(categories) + 2) + "|",
    ]
    for name in (*categories, ""):
        called = [
            found
            for found, example in zip(given, examples, strict=True)
            if (name in example.labels if name else not example.labels)
        ]
        cells = [sum(other in found for found in called) for other in categories]
        cells.append(sum(not found for found in called))
        lines.append(f"| {f'`{name}`' if name else 'harmless'} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
