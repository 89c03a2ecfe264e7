"""What it costs to judge a text, and what the built-in scorer reaches on texts it was not trained on."""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from benchmarks.report import Measure, at_least, at_most, observed, publish
from headgate.kit.safety import Gate, Scorer, corpus
from headgate.kit.safety.builtin import CATEGORIES, BuiltinScorer, shipped
from headgate.kit.safety.export import tflite
from headgate.kit.safety.patterns import PatternScorer
from headgate.kit.safety.tflite import TfliteScorer
from headgate.kit.safety.train import measure as reached

ROUNDS = 9


async def took(make: Callable[[], Scorer], text: str, times: int) -> float:
    """Microseconds to score a text once: the best of several rounds, as others use this machine too."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(times):
            await make().score(text)
        best = min(best, (time.perf_counter() - start) / times)
    return best * 1e6


async def streamed(gate: Gate, text: str) -> float:
    """Microseconds to pass a text through a gate in chunks of a token's length."""

    async def chunks() -> AsyncIterator[str]:
        for at in range(0, len(text), 4):
            yield text[at : at + 4]

    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        async for _ in gate.stream(chunks()):
            pass
        best = min(best, time.perf_counter() - start)
    return best * 1e6


async def costs(texts: dict[int, str]) -> list[Measure]:
    """What scoring costs."""
    builtin, patterns = BuiltinScorer(), PatternScorer()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.tflite"
        model.write_bytes(tflite(shipped()))
        lite = TfliteScorer(model, CATEGORIES)
        gate = Gate([builtin], action="flag")
        return [
            observed("builtin, 100 characters", await took(lambda: builtin, texts[100], 200), "us"),
            at_most("builtin, 1,000 characters", await took(lambda: builtin, texts[1000], 50), "us", 1000),
            observed("builtin, 1,000 characters of new words", await took(BuiltinScorer, texts[1000], 10), "us"),
            observed("builtin, 10,000 characters", await took(lambda: builtin, texts[10_000], 5), "us"),
            observed("tflite, 100 characters", await took(lambda: lite, texts[100], 50), "us"),
            observed("tflite, 1,000 characters", await took(lambda: lite, texts[1000], 5), "us"),
            observed("patterns, 1,000 characters", await took(lambda: patterns, texts[1000], 50), "us"),
            observed("gate on a stream, 1,000 characters by 4", await streamed(gate, texts[1000]), "us"),
        ]


def main() -> int:
    """Measure and print."""
    examples = corpus.read()
    prose = " ".join(example.text for example in examples if not example.labels)
    texts = {length: prose[:length] for length in (100, 1000, 10_000)}
    result = reached(shipped(), examples)
    return publish(
        "kit_safety",
        [
            *asyncio.run(costs(texts)),
            at_most("weights", len(shipped().encode()), "bytes", 500_000),
            at_least("precision on held-out texts of the same hand, any", result.overall.precision, "", 0.9),
            at_least("recall on held-out texts of the same hand, any", result.overall.recall, "", 0.7),
            *(observed(f"F1 of {name}", counts.f1, "") for name, counts in result.categories.items()),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
