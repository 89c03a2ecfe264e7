"""Knobs of limits and places."""

import asyncio
from typing import Any

from headgate.kit.controls.concurrency import Concurrency
from tests.kit.controls.calls import call_of
from tests.kit.knobs import Place, Service, ask, knob, service

NOWHERE = "redis://127.0.0.1:1/0"
ONCE = {"rate_limit_default": "1/day"}


async def statuses(times: int, path: str = "/orders", **settings: Any) -> list[int]:
    """The statuses of so many requests of one caller."""
    async with service(**settings) as made:
        return [await made.status(path) for _ in range(times)]


@knob("rate_limit_default")
async def requests(_place: Place) -> None:
    """A caller has as many requests as the rate says; `off` is all."""
    assert await statuses(3, rate_limit_default="2/day") == [200, 200, 429]
    assert await statuses(70, rate_limit_default="off") == [200] * 70


@knob("rate_limit_tokens")
async def tokens(_place: Place) -> None:
    """A caller whose handlers spent all tokens is refused."""
    assert await statuses(3, "/work") == [200] * 3
    assert await statuses(3, "/work", rate_limit_tokens="100/day") == [200, 200, 429]


@knob("rate_limit_headers")
async def told(_place: Place) -> None:
    """Answers tell what is left, or do not."""
    assert "ratelimit" in (await ask()).headers
    assert "ratelimit" not in (await ask(settings={"rate_limit_headers": False})).headers


@knob("exempt_paths")
async def exempt(_place: Place) -> None:
    """Paths named are not limited."""
    assert await statuses(3, **ONCE) == [200, 429, 429]
    assert await statuses(3, **ONCE, exempt_paths=("/orders",)) == [200] * 3


@knob("rate_limit_redis_url")
async def shared_budgets(place: Place) -> None:
    """Two processes share budgets in the store, and have their own without it."""
    url = place.valkey().url
    for settings, second in ((ONCE, 200), ({**ONCE, "rate_limit_redis_url": url, "rate_limit_store_timeout": 20}, 429)):
        async with service(**settings) as one, service(**settings) as other:
            assert (await one.status(), await other.status()) == (200, second)


@knob("rate_limit_store_down")
async def during_an_outage(_place: Place) -> None:
    """While the store is down, each policy decides in its way."""
    settings = {**ONCE, "rate_limit_redis_url": NOWHERE, "rate_limit_store_timeout": 20}
    expected = {"local": [200, 429], "open": [200, 200], "closed": [503, 503]}
    for policy, answers in expected.items():
        assert await statuses(2, **settings, rate_limit_store_down=policy) == answers


@knob("rate_limit_store_timeout")
async def patience_with_the_store(place: Place) -> None:
    """A store that does not answer in time is down."""
    valkey = place.valkey()
    valkey.pause()
    settings = {"rate_limit_redis_url": valkey.url, "rate_limit_store_down": "closed"}
    async with service(**settings, rate_limit_store_timeout=0.05) as hasty:
        assert await hasty.status() == 503
    async with service(**settings, rate_limit_store_timeout=60) as patient:
        waiting = asyncio.create_task(patient.status())
        assert not (await asyncio.wait({waiting}, timeout=0.5))[0]
        valkey.resume()
        assert await waiting == 200


@knob("rate_limit_max_keys")
async def callers_remembered(_place: Place) -> None:
    """More callers than that are not remembered."""
    for most, again in ((1, 200), (10, 429)):
        async with service(**ONCE, rate_limit_max_keys=most) as made:
            peers = ("192.0.2.1", "192.0.2.2", "192.0.2.1")
            assert [await made.status(peer=peer) for peer in peers] == [200, 200, again]


async def at_once(*peers: str, **settings: Any) -> list[int]:
    """The statuses of slow requests that are made together."""
    async with service(**settings) as made:
        return sorted(await asyncio.gather(*(made.status("/pause", peer=peer) for peer in peers)))


@knob("max_concurrent")
async def places(_place: Place) -> None:
    """More calls at a time are turned away."""
    assert await at_once("192.0.2.1", "192.0.2.2", max_concurrent=1) == [200, 503]
    assert await at_once("192.0.2.1", "192.0.2.2") == [200, 200]


@knob("max_concurrent_per_caller")
async def places_of_one(_place: Place) -> None:
    """More calls of one caller at a time are turned away."""
    assert await at_once("192.0.2.1", "192.0.2.1", "192.0.2.2", max_concurrent_per_caller=1) == [200, 200, 429]


@knob("load_shedding")
def fewer_places(_place: Place) -> None:
    """With load shedding, slow answers take places away."""
    for shedding in (True, False):
        made = Service(load_shedding=shedding, max_concurrent=100)
        (control,) = (each for each in made.kit.controls if isinstance(each, Concurrency))
        for seconds in (0.01, 5.0):
            for _ in range(320):
                call = call_of()
                control.admit(call)
                call.status, call.ended = 200, call.started + seconds
                control.settle(call)
        assert (control.places < 100) is shedding
