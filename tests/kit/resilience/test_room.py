"""The room as a whole: what importing it costs, and what it keeps after a million of everything."""

import subprocess
import sys
import tracemalloc

import pytest

from headgate.kit.controls.breaker import BreakerPolicy
from headgate.kit.resilience.breaker import Breakers
from headgate.kit.resilience.cache import CachePolicy, FlowCache
from headgate.kit.resilience.stream_cache import StreamCache, StreamPolicy

MILLION = 1_000_000


def test_clients_are_imported_late():
    """Importing breakers, retries, caches and the HTTP client's factory imports neither httpx nor redis."""
    rooms = ("breaker", "retry", "cache", "stream_cache", "shared", "http")
    code = f"import {', '.join(f'headgate.kit.resilience.{room}' for room in rooms)}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert not {"httpx", "redis", "h2"} & set(loaded)


class Growth:
    """How many bytes of Python objects were added."""

    def __enter__(self) -> "Growth":
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def now(self) -> int:
        return tracemalloc.get_traced_memory()[0] - self._before

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_d09_a_million_keys_leave_memory_flat():
    """After a million keys the caches hold as much as after ten thousand."""
    flow = FlowCache(CachePolicy(entries=1000))
    streams = StreamCache(StreamPolicy(entries=1000))

    async def call() -> dict:
        return {"a": 1}

    async def stream():
        yield "a"

    with Growth() as growth:
        early = 0
        for number in range(MILLION):
            await flow.get_or_call(f"n:{number}", call)
            if number % 10 == 0:
                assert [chunk async for chunk in streams.stream_or_call(f"n:{number}", stream)] == ["a"]
            if number == 10_000:
                early = growth.now()
        assert growth.now() < early * 1.2 + 100_000


@pytest.mark.soak
@pytest.mark.timeout(1200)
async def test_d09_a_million_targets_leave_memory_flat():
    """After a million targets the breakers hold as much as after ten thousand."""
    breakers = Breakers(BreakerPolicy(), limit=1000)

    async def call() -> int:
        return 1

    with Growth() as growth:
        early = 0
        for number in range(MILLION):
            await breakers[f"target-{number}"].call(call)
            if number == 10_000:
                early = growth.now()
        assert growth.now() < early * 1.2 + 100_000
