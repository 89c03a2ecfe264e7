"""`make up` with everything installed and data present, until the first proxied 200."""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.platform import free_ports, platform, until_answered
from benchmarks.report import at_most, observed, publish

RUNS = 5


async def _start(state: Path, ports: dict[str, int]) -> float:
    start = time.perf_counter()
    async with platform(state, demo=True, command=("make", "-s", "up"), ports=ports) as running:
        return await until_answered(running.gateway_port, "/books") - start


async def measure() -> int:
    """Start once cold, then several times warm, and print the figures."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
        state = Path(directory)
        ports = free_ports()
        first = await _start(state, ports)
        warm = [await _start(state, ports) for _ in range(RUNS)]
    return publish(
        "gateway_start",
        [
            at_most("make up, warm, until the first proxied 200 (slowest)", max(warm), "s", 5),
            observed("the same, median", statistics.median(warm), "s"),
            observed("with an empty state directory", first, "s"),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
