"""Knobs of calls to others: breaker, retry, cache, connections."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.resilience.breaker import Breaker
from headgate.kit.resilience.cache import FlowCache
from tests.kit.knobs import Place, knob
from tests.kit.resilience.hosts import OK, Host, answer

BUSY = answer(503)


def breaker(**settings: Any) -> Breaker:
    """The breaker of one target."""
    return Kit(HardeningSettings(**settings)).breakers()["payments"]


async def does(what: str) -> None:
    """`f`ails, or `s`lowly does, or does."""
    if what == "s":
        await asyncio.sleep(0.08)
    if what == "f":
        raise Unavailable("down")


async def after(story: str, circuit: Breaker) -> bool:
    """Whether the circuit is open after calls that went so; `.` lets some time pass."""
    for what in story:
        if what == ".":
            await asyncio.sleep(0.4)
            continue
        try:
            await circuit.call(does, what)
        except Fault as fault:
            if fault.code == "circuit_open":
                return True
    return circuit.state == "open"


@knob("cb_enabled")
async def breaks(_place: Place) -> None:
    """Failures open a circuit, unless that is switched off."""
    assert await after("ffffff", breaker())
    assert not await after("f" * 30, breaker(cb_enabled=False))


@knob("cb_failure_rate")
async def share_of_failures(_place: Place) -> None:
    """A circuit opens from that share of failures on."""
    assert await after("fofofofofofo", breaker(cb_failure_rate=0.4))
    assert not await after("fofofofofofo", breaker(cb_failure_rate=0.9))


@knob("cb_failure_threshold")
async def fewest_calls(_place: Place) -> None:
    """A circuit stays closed with fewer calls than that."""
    assert await after("ff", breaker(cb_failure_threshold=2))
    assert not await after("ff", breaker(cb_failure_threshold=3))


@knob("cb_window")
async def how_long_failures_count(_place: Place) -> None:
    """Failures count that long."""
    assert await after("ffff.f", breaker(cb_window=60))
    assert not await after("ffff.f", breaker(cb_window=0.2))


@knob("cb_slow_call")
async def what_is_slow(_place: Place) -> None:
    """Calls that take longer are slow, and open a circuit; 0 calls none slow."""
    assert await after("sssss", breaker(cb_slow_call=0.02))
    assert not await after("sssss", breaker(cb_slow_call=0))


@knob("cb_slow_rate")
async def share_of_slow(_place: Place) -> None:
    """A circuit opens from that share of slow calls on."""
    assert await after("sososososo", breaker(cb_slow_call=0.05, cb_slow_rate=0.4))
    assert not await after("sososososo", breaker(cb_slow_call=0.05, cb_slow_rate=1))


async def wait_of(circuit: Breaker) -> float:
    """The time to retry that an open circuit tells."""
    with pytest.raises(Unavailable) as refused:
        await circuit.call(does, "o")
    return refused.value.retry_after or 0.0


@knob("cb_recovery_timeout")
async def first_open_time(_place: Place) -> None:
    """A circuit is open about that long at first."""
    for seconds in (10, 200):
        circuit = breaker(cb_recovery_timeout=seconds)
        await after("fffff", circuit)
        assert seconds * 0.3 <= await wait_of(circuit) <= seconds * 1.7


@knob("cb_recovery_max")
async def longest_open_time(_place: Place) -> None:
    """However often probes fail, a circuit is open no longer than that."""
    for longest in (0.05, 60):
        circuit = breaker(cb_recovery_timeout=0.05, cb_recovery_max=longest)
        await after("fffff", circuit)
        for _ in range(3):
            while circuit.state == "open":
                await asyncio.sleep(0.02)
                with pytest.raises(Unavailable):
                    await circuit.call(does, "f")
                if circuit.stats().retry_after > 0.03:
                    break
            await asyncio.sleep(circuit.stats().retry_after + 0.01)
            with pytest.raises(Unavailable):
                await circuit.call(does, "f")
        assert (circuit.stats().retry_after <= 0.1) is (longest == 0.05)


async def sent(answers: Callable[[bytes], bytes | None], times: int = 1, **settings: Any) -> int:
    """How many requests reach a host when so many are made."""
    kit = Kit(HardeningSettings(**settings))
    async with Host(answers) as host:
        for _ in range(times):
            with pytest.MonkeyPatch.context():
                await kit.http().client().get(host.url)
        await kit.aclose()
        return len(host.requests)


@knob("retry_attempts")
async def attempts(_place: Place) -> None:
    """A call is made that often at most."""
    for most in (1, 3):
        assert await sent(lambda _: BUSY, retry_attempts=most) == most


@knob("retry_budget")
async def retries_in_all(_place: Place) -> None:
    """Retries are no more than that share of calls, beyond a reserve."""
    for share, most in ((0.0, 12 + 10), (1.0, 12 + 12)):
        assert await sent(lambda _: BUSY, 12, retry_attempts=2, retry_budget=share, cb_enabled=False) == most


@knob("retry_after_max")
async def patience_with_others(_place: Place) -> None:
    """A longer Retry-After is not waited for."""
    later = answer(503, "retry-after: 1")
    for longest, most in ((0.5, 1), (5, 2)):
        assert await sent(lambda _: later, retry_attempts=2, retry_after_max=longest) == most


@knob("httpx_timeout")
async def silence(_place: Place) -> None:
    """A silent host is given up after that time."""
    kits = [Kit(HardeningSettings(httpx_timeout=seconds, retry_attempts=1)) for seconds in (0.05, 60)]
    async with Host(lambda _: None) as host:
        asked = [asyncio.ensure_future(kit.http().client().get(host.url)) for kit in kits]
        with pytest.raises((Fault, httpx.HTTPError)):
            await asked[0]
        assert not asked[1].done()
        asked[1].cancel()
        await asyncio.gather(asked[1], return_exceptions=True)
    for kit in kits:
        await kit.aclose()


@knob("httpx_pool_max")
async def connections(_place: Place) -> None:
    """No more connections than that are open."""
    for most in (1, 3):
        kit = Kit(HardeningSettings(httpx_pool_max=most))
        async with Host() as host, asyncio.timeout(60):
            host.hold.clear()
            asked = [asyncio.ensure_future(kit.http().client().get(host.url)) for _ in range(3)]
            while len(host.requests) < most:
                await asyncio.sleep(0.01)
            host.hold.set()
            await asyncio.gather(*asked)
            assert host.most == most
        await kit.aclose()


@knob("httpx_pool_max_keepalive")
async def idle_connections(_place: Place) -> None:
    """No more idle connections than that are kept for reuse."""
    for most, accepted in ((0, 2), (5, 1)):
        kit = Kit(HardeningSettings(httpx_pool_max_keepalive=most))
        async with Host(lambda _: OK) as host:
            for _ in range(2):
                await kit.http().client().get(host.url)
            assert host.accepted == accepted
        await kit.aclose()


class Counted:
    """A call that answers with how often it was made, and so many letters."""

    def __init__(self, letters: int = 0) -> None:
        self.times = 0
        self._letters = "x" * letters

    async def __call__(self) -> str:
        """Answer."""
        self.times += 1
        return f"{self.times}{self._letters}"


async def asked(story: str, call: Callable[[], Awaitable[str]], *caches: FlowCache) -> list[str]:
    """The answers for keys in this order, from the caches in turn; `.` lets some time pass."""
    answers = []
    for number, key in enumerate(story):
        if key == ".":
            await asyncio.sleep(0.15)
        else:
            answers.append(await caches[number % len(caches)].get_or_call(key, call))
    return answers


async def cached(story: str, letters: int = 0, **settings: Any) -> list[str]:
    """What one cache answers, by the first letter."""
    kit = Kit(HardeningSettings(**settings))
    answers = await asked(story, Counted(letters), kit.cache())
    await kit.aclose()
    return [each[0] for each in answers]


@knob("cache_enabled")
async def remembers(_place: Place) -> None:
    """Results are cached, unless that is switched off."""
    assert await cached("aa") == ["1", "1"]
    assert await cached("aa", cache_enabled=False) == ["1", "2"]


@knob("cache_ttl")
async def freshness(_place: Place) -> None:
    """A result is made anew once it is that old."""
    assert await cached("a.a", cache_ttl=60) == ["1", "1"]
    assert await cached("a.a", cache_ttl=0.05) == ["1", "2"]


@knob("cache_stale")
async def staleness(_place: Place) -> None:
    """A result that is a little too old is served while a new one is made."""
    assert await cached("a.a.", cache_ttl=0.05, cache_stale=60) == ["1", "1"]


@knob("cache_max_size")
async def entries(_place: Place) -> None:
    """No more results than that are kept."""
    assert await cached("aba", cache_max_size=1) == ["1", "2", "3"]
    assert await cached("aba", cache_max_size=2) == ["1", "2", "1"]


@knob("cache_max_bytes")
async def size(_place: Place) -> None:
    """No more bytes than that are kept."""
    assert await cached("aba", 600, cache_max_bytes=1_100) == ["1", "2", "3"]
    assert await cached("aba", 600, cache_max_bytes=10_000) == ["1", "2", "1"]


@knob("cache_max_item")
async def largest(_place: Place) -> None:
    """A larger result is not kept."""
    assert await cached("aa", 4_000, cache_max_item=2_000) == ["1", "2"]
    assert await cached("aa", 4_000, cache_max_item=8_000) == ["1", "1"]


@knob("cache_error_ttl")
async def failures_are_remembered(_place: Place) -> None:
    """A failure is told again for so long, without asking."""
    for seconds, most in ((0, 3), (60, 1)):
        kit, times = Kit(HardeningSettings(cache_error_ttl=seconds)), 0

        async def fails() -> str:
            nonlocal times
            times += 1
            raise Unavailable("down")

        cache = kit.cache()
        for _ in range(3):
            with pytest.raises(Unavailable):
                await cache.get_or_call("a", fails)
        assert times == most
        await kit.aclose()


@knob("cache_redis_url")
async def shared_results(place: Place) -> None:
    """Two processes share results in the store."""
    for url, answers in ((None, ["1", "2"]), (place.valkey().url, ["1", "1"])):
        kits = [Kit(HardeningSettings(cache_redis_url=url)) for _ in range(2)]
        assert await asked("aa", Counted(), *(kit.cache() for kit in kits)) == answers
        for kit in kits:
            await kit.aclose()
