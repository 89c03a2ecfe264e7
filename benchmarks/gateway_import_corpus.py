"""A directory of OpenAPI documents through a real gateway: `python -m benchmarks.gateway_import_corpus [DIR]`.

Every document (JSON or YAML, also gzipped, anywhere below DIR) is imported, and every operation that is
routed is asked for through Envoy; an upstream that echoes tells whether method, path and query arrived.
Without DIR it is the corpus of the tests.
"""

import asyncio
import gzip
import logging
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import structlog

from benchmarks.report import exactly, observed, publish
from headgate.testing.corpus import Result, reach

CORPUS = Path(__file__).parent.parent / "tests" / "corpus"
SUFFIXES = (".json", ".yaml", ".yml")
BATCH_BYTES = 24_000_000
BATCH_DOCUMENTS = 40
MOST_SHOWN = 20


def documents(directory: Path) -> dict[str, bytes]:
    """Every document below a directory by its path, unzipped."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_file() and name.removesuffix(".gz").endswith(SUFFIXES):
            raw = path.read_bytes()
            raw = gzip.decompress(raw) if name.endswith(".gz") else raw
            if raw.lstrip()[:1] != b"[":
                found[name] = raw
    return found


def batches(found: dict[str, bytes]) -> list[dict[str, bytes]]:
    """As many documents together as one gateway takes at ease."""
    made: list[dict[str, bytes]] = [{}]
    for name, raw in found.items():
        if made[-1] and (len(made[-1]) >= BATCH_DOCUMENTS or sum(map(len, made[-1].values())) + len(raw) > BATCH_BYTES):
            made.append({})
        made[-1][name] = raw
    return made


async def measure(directory: Path) -> int:
    """Import and replay every document, and print the counts."""
    results: list[Result] = []
    start = time.perf_counter()
    for batch in batches(documents(directory)):
        with tempfile.TemporaryDirectory(prefix="headgate-bench-") as scratch:
            results += await reach(batch, Path(scratch), log_level="error")
        print(f"  {len(results)} documents, {sum(result.reached for result in results)} operations reached", flush=True)
    took = time.perf_counter() - start
    _tell(results)
    operations = sum(result.operations for result in results)
    routed = sum(result.routed for result in results)
    return publish(
        "gateway_import_corpus",
        [
            observed("documents", len(results), "documents"),
            exactly("documents refused", sum(bool(result.refusal) for result in results), "documents", 0),
            observed("operations", operations, "operations"),
            exactly("operations accounted for", sum(result.accounted for result in results), "operations", operations),
            observed("operations routed", routed, "operations"),
            exactly("routed operations reached", sum(result.reached for result in results), "operations", routed),
            observed("time in all", took, "s"),
        ],
    )


def _tell(results: list[Result]) -> None:
    unrouted = Counter[str]()
    for result in results:
        unrouted.update(result.unrouted)
        if result.refusal:
            print(f"  refused: {result.name}: {result.refusal}")
        for failure in result.failures[:MOST_SHOWN]:
            print(f"  not reached: {result.name}: {failure.exchange.method} {failure.exchange.path}: {failure.how}")
    for code, count in unrouted.most_common():
        print(f"  not routed: {count} {code}")


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    sys.exit(asyncio.run(measure(Path(sys.argv[1]) if len(sys.argv) > 1 else CORPUS)))
