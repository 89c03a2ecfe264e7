"""What a limit costs: in this process, in Valkey against a PING of the same client, and in memory over time.

Two processes that share one Valkey must admit the limit between them, and a million clients must leave memory flat.
"""

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

import psutil

from benchmarks.report import Measure, at_most, exactly, observed, publish
from headgate.kit.controls.call import Call
from headgate.kit.controls.concurrency import Concurrency
from headgate.kit.controls.limits import RateLimit
from headgate.kit.controls.rate import Charge, Quota, Rate
from headgate.kit.limits.memory import MemoryStore
from headgate.kit.limits.redis import RedisStore
from headgate.testing.valkey import running_valkey

ROUNDS = 250
HITS = 400
TRIPS = 100
TURNS = 75
CLIENTS = 1_000_000
WARM = 600_000
LIMIT = 5_000
WIDE = Quota("requests", Rate.parse("1000000/second"))
TOKENS = Quota("tokens", Rate.parse("1000000/second"))


def _call(peer: str = "203.0.113.9") -> Call:
    return Call("http", "GET", "/orders", [(b"host", b"shop.example")], peer, 0.0)


def _fastest(acts: Sequence[Callable[[], object]]) -> list[float]:
    """Microseconds of each act in its fastest round, in turns so that noise meets all of them."""
    fastest = [float("inf")] * len(acts)
    for _ in range(ROUNDS):
        for position, act in enumerate(acts):
            started = time.perf_counter()
            for _ in range(HITS):
                act()
            fastest[position] = min(fastest[position], (time.perf_counter() - started) / HITS * 1e6)
    return fastest


def _in_memory() -> list[Measure]:
    store, one, two = MemoryStore(), (Charge(WIDE),), (Charge(WIDE), Charge(TOKENS, 0))
    control = RateLimit(MemoryStore(), requests=WIDE.rate)
    places = Concurrency(total=1_000, per_caller=100)

    def made() -> None:
        _call()

    def limited() -> None:
        call = _call()
        control.admit(call)
        control.respond(call, [])

    def placed() -> None:
        call = _call()
        places.admit(call)
        places.settle(call)

    def hit() -> None:
        store.take("client:203.0.113.9", one)

    def both() -> None:
        store.take("client:203.0.113.9", two)

    bare, once, twice, limit, place = _fastest((made, hit, both, limited, placed))
    return [
        at_most("hit in memory, against making a Call", once / bare, "times", 5.0),
        at_most("rate limit and its headers, against making a Call", (limit - bare) / bare, "times", 12.0),
        at_most("a place taken and given back, against making a Call", (place - bare) / bare, "times", 5.0),
        observed("making a Call", bare, "us"),
        observed("hit in memory", once, "us"),
        observed("hit of two budgets in memory", twice, "us"),
        observed("rate limit and its headers, per call", limit - bare, "us"),
        observed("a place taken and given back, per call", place - bare, "us"),
    ]


async def _trips(acts: Sequence[Callable[[], Awaitable[object]]]) -> list[float]:
    """Median microseconds of each act, measured in turns so that noise meets all of them."""
    rounds: list[list[float]] = [[] for _ in acts]
    for _ in range(TURNS):
        for act, times in zip(acts, rounds, strict=True):
            started = time.perf_counter()
            for _ in range(TRIPS):
                await act()
            times.append((time.perf_counter() - started) / TRIPS * 1e6)
    return [statistics.median(times) for times in rounds]


async def _in_valkey(url: str) -> list[Measure]:
    store = RedisStore(url, timeout=10)
    one, two = (Charge(WIDE),), (Charge(WIDE), Charge(TOKENS, 0))
    ping, hit, both = await _trips((store.ping, lambda: store.take("k", one), lambda: store.take("k", two)))

    async def some() -> None:
        for _ in range(100):
            await store.take("k", one)

    started = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(50)))
    rate = 5_000 / (time.perf_counter() - started)
    await store.aclose()
    return [
        at_most("hit in Valkey, against PING", hit / ping, "times", 3.0),
        at_most("two budgets at once, against one", both / hit, "times", 1.8),
        observed("hit in Valkey", hit, "us"),
        observed("hits a second, 50 at a time", rate, "/s"),
    ]


CLIENT = """
import asyncio, json, sys
from headgate.kit.controls.rate import Charge, Quota, Rate
from headgate.kit.limits.redis import RedisStore

async def main():
    store, charges = RedisStore(sys.argv[1], timeout=60), (Charge(Quota("requests", Rate.parse(sys.argv[2]))),)
    async def some():
        return sum([(await store.take("k", charges))[0].allowed for _ in range(200)])
    print(json.dumps(sum(await asyncio.gather(*(some() for _ in range(20))))))
    await store.aclose()

asyncio.run(main())
"""


def _two_processes(url: str) -> Measure:
    command = [sys.executable, "-c", CLIENT, url, f"{LIMIT}/day"]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    admitted = sum(json.loads(client.communicate(timeout=120)[0]) for client in clients)
    return exactly("admitted by two processes that ask 8,000 times", admitted, "requests", LIMIT)


def _soak() -> list[Measure]:
    control = RateLimit(MemoryStore(max_keys=50_000), requests=Rate.parse("2/day"), tokens=Rate.parse("10/day"))
    places, process, resident = Concurrency(total=10_000, per_caller=10), psutil.Process(), 0
    for number in range(WARM + CLIENTS):
        call = _call(f"{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}.7")
        places.admit(call)
        control.admit(call)
        places.settle(call)
        if number == WARM:
            gc.collect()
            resident = process.memory_info().rss
    gc.collect()
    return [
        at_most("memory grown over a million more clients", (process.memory_info().rss - resident) / 1e6, "MB", 4.0),
        observed("resident memory then", process.memory_info().rss / 1e6, "MB"),
    ]


def measure() -> int:
    """Run all and print the figures."""
    measures = _in_memory()
    with running_valkey() as valkey:
        measures += asyncio.run(_in_valkey(valkey.url))
        measures.append(_two_processes(valkey.url))
    return publish("kit_limits", [*measures, *_soak()])


if __name__ == "__main__":
    sys.exit(measure())
