"""What breakers, retries and caches cost a call that works, over awaiting the same function bare."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

from benchmarks.report import at_most, exactly, observed, publish
from headgate.kit.resilience.breaker import Breaker
from headgate.kit.resilience.cache import FlowCache
from headgate.kit.resilience.keys import cache_key
from headgate.kit.resilience.retry import Retry
from headgate.kit.resilience.stream_cache import StreamCache

CALLS = 50_000
REPEATS = 7
MICROSECONDS = 1e6
ARGUMENTS = {"text": "hello", "language": "French"}


async def answer() -> dict[str, str]:
    """The call that works."""
    return {"text": "bonjour"}


async def once(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Microseconds of processor time of one call: others on the machine do not count."""
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls * MICROSECONDS


async def each(call: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """Microseconds of one call, the median of the repeats."""
    return median([await once(call, calls) for _ in range(REPEATS)])


async def added(call: Callable[[], Awaitable[object]]) -> float:
    """Microseconds of one call over the bare one measured beside it, the median of the repeats."""
    return median([await once(call, CALLS) - await once(lambda: answer(), CALLS) for _ in range(REPEATS)])  # noqa: PLW0108


async def misses(callers: int, *, fails: bool) -> int:
    """How often upstream is called by so many callers at once."""
    calls = 0

    async def slow() -> dict[str, str]:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.02)
        if fails:
            raise OSError("down")
        return await answer()

    cache = FlowCache()
    await asyncio.gather(*(cache.get_or_call("n:k", slow) for _ in range(callers)), return_exceptions=True)
    return calls


async def measure() -> int:
    """Measure and print the figures."""
    breaker, retry, cache, streams = Breaker("target"), Retry(), FlowCache(), StreamCache()
    key = cache_key("translate", ARGUMENTS, tenant="t")

    async def chunks():
        for _ in range(100):
            yield "a chunk of text"

    async def guarded() -> None:
        async with breaker.guard():
            await answer()

    async def keyed() -> None:
        cache_key("translate", ARGUMENTS, tenant="t")

    async def replayed() -> None:
        async for _ in streams.stream_or_call("n:k", chunks):
            pass

    return publish(
        "kit_resilience",
        [
            at_most("breaker.call, added", await added(lambda: breaker.call(answer)), "us", 1),
            observed("breaker.guard, added", await added(guarded), "us"),
            observed("retry.call, added", await added(lambda: retry.call(answer)), "us"),
            observed("both, added", await added(lambda: breaker.call(retry.call, answer)), "us"),
            observed("cache hit with a fresh value", await each(lambda: cache.get_or_call(key, answer)), "us"),
            observed("cache key of two arguments", await each(keyed), "us"),
            observed("a chunk of a replayed stream", await each(replayed, 500) / 100, "us"),
            exactly("upstream calls of 50 misses at once", await misses(50, fails=False), "calls", 1),
            exactly("upstream calls of 20 failing at once", await misses(20, fails=True), "calls", 1),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
