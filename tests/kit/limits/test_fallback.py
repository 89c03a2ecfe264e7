"""A shared store that is down: what is decided meanwhile, who is told, and how it is found again."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

import pytest

from headgate.kit.controls.faults import Unavailable
from headgate.kit.controls.rate import Charge, Decisions, Quota, Rate
from headgate.kit.limits.fallback import FallbackStore, StoreDown
from headgate.kit.limits.limiter import open_store
from headgate.kit.limits.memory import MemoryStore
from headgate.testing.clock import FakeClock
from headgate.testing.valkey import Valkey
from tests.kit.limits.conftest import Open

QUOTA = Quota("requests", Rate.parse("10/day"))
ONE = (Charge(QUOTA),)


class Told:
    """What the observer was told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def store_down(self) -> None:
        self.events.append("down")

    def store_up(self) -> None:
        self.events.append("up")

    def without_store(self, policy: StoreDown) -> None:
        self.events.append(policy)


class Switched:
    """A shared store that works while it is `up`, and counts how often it is asked."""

    def __init__(self, clock: FakeClock) -> None:
        self.store = MemoryStore(clock=clock)
        self.up = True
        self.asked = 0
        self.wait: Callable[[], asyncio.Future[None]] | None = None

    async def take(self, key: str, charges: Sequence[Charge]) -> Decisions:
        self.asked += 1
        up = self.up
        if self.wait is not None:
            await self.wait()
        if not up:
            raise Unavailable("down", code="limit_store_down", internal="switched off")
        return self.store.take(key, charges)


class Setup:
    """A fallback on a switched store and a clock of its own."""

    def __init__(self, policy: StoreDown = "local") -> None:
        self.clock = FakeClock()
        self.told = Told()
        self.shared = Switched(self.clock)
        self.store = FallbackStore(
            self.shared,
            MemoryStore(clock=self.clock),
            store_down=policy,
            observer=self.told,
            first_wait=1.0,
            longest_wait=8.0,
            clock=self.clock,
            jitter=lambda: 1.0,
        )

    async def left(self) -> int:
        """Take one and return what is left."""
        (decision,) = await self.store.take("k", ONE)
        return decision.remaining if decision.allowed else -1


async def test_local_goes_on_where_the_store_stopped() -> None:
    """During an outage this process counts on from what the store said last."""
    setup = Setup()
    assert [await setup.left() for _ in range(4)] == [9, 8, 7, 6]
    setup.shared.up = False
    assert [await setup.left() for _ in range(7)] == [5, 4, 3, 2, 1, 0, -1]
    assert setup.told.events == ["down", *["local"] * 7]


async def test_open_admits_everything() -> None:
    """With the policy `open` nobody is limited during an outage."""
    setup = Setup("open")
    setup.shared.up = False
    assert [await setup.left() for _ in range(30)] == [10] * 30
    assert setup.told.events.count("open") == 30


async def test_closed_refuses_everything() -> None:
    """With the policy `closed` limited calls are refused as unavailable, and told when to try again."""
    setup = Setup("closed")
    setup.shared.up = False
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            await setup.left()
        assert (refused.value.code, refused.value.retry_after) == ("limit_store_down", 1.0)
    assert await setup.store.take("k", (Charge(QUOTA, -5), Charge(QUOTA, 3, force=True)))


async def test_nobody_pays_for_a_known_outage() -> None:
    """While the store is known to be down it is asked once per wait, and the waits double up to the longest."""
    setup = Setup()
    setup.shared.up = False
    asked = []
    for _ in range(640):
        await setup.left()
        asked.append(setup.shared.asked)
        setup.clock.advance(0.1)
    moments = [number for number, count in enumerate(asked) if number == 0 or count > asked[number - 1]]
    waits = [round((later - earlier) / 10) for earlier, later in pairwise(moments)]
    assert waits[:5] == [1, 2, 4, 8, 8]
    assert max(waits) == 8


async def test_it_is_found_again() -> None:
    """The first call that reaches the store again ends the outage; the shared count holds from then on."""
    setup = Setup()
    assert await setup.left() == 9
    setup.shared.up = False
    assert await setup.left() == 8
    setup.shared.up = True
    assert await setup.left() == 7
    assert setup.store.down
    setup.clock.advance(1.5)
    assert await setup.left() == 8
    assert not setup.store.down
    assert await setup.left() == 7
    assert setup.told.events == ["down", "local", "local", "up"]


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """However many calls it meets, an outage is two lines of the log: why and what now, and its end."""
    setup = Setup()
    with caplog.at_level(logging.INFO, logger="headgate.limits"):
        for up in (True, False, True):
            setup.shared.up = up
            for _ in range(20):
                await setup.left()
                setup.clock.advance(1.0)
    assert len(caplog.messages) == 2
    assert "is down (switched off); each process counts for itself" in caplog.messages[0]
    assert "answers again" in caplog.messages[1]


async def test_calls_that_fail_together_are_one_outage() -> None:
    """Many calls that are under way when the store goes down count as one failure, not as many."""
    setup = Setup()
    gate = asyncio.get_running_loop().create_future()
    setup.shared.up, setup.shared.wait = False, lambda: gate
    calls = [asyncio.create_task(setup.left()) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set_result(None)
    assert sorted(await asyncio.gather(*calls)) == sorted([*range(10), *[-1] * 10])
    assert setup.told.events.count("down") == 1
    setup.shared.up, setup.shared.wait = True, None
    setup.clock.advance(1.0)
    await setup.left()
    assert not setup.store.down


async def test_a_cancelled_attempt_does_not_keep_the_store_out() -> None:
    """The caller that tries the store may be cancelled: another tries when the wait is over."""
    setup = Setup()
    setup.shared.up = False
    await setup.left()
    setup.shared.up = True
    setup.clock.advance(1.0)
    setup.shared.wait = asyncio.get_running_loop().create_future
    attempt = asyncio.create_task(setup.left())
    await asyncio.sleep(0)
    attempt.cancel()
    await asyncio.gather(attempt, return_exceptions=True)
    setup.shared.wait = None
    asked = setup.shared.asked
    await setup.left()
    assert (setup.shared.asked, setup.store.down) == (asked, True)
    setup.clock.advance(1.0)
    await setup.left()
    assert (setup.shared.asked, setup.store.down) == (asked + 1, False)


async def test_an_answer_from_before_the_outage_does_not_end_it() -> None:
    """A call that set out before the outage and succeeds late says nothing about the store now."""
    setup = Setup()
    gate = asyncio.get_running_loop().create_future()
    setup.shared.wait = lambda: gate
    early = asyncio.create_task(setup.left())
    await asyncio.sleep(0)
    setup.shared.up, setup.shared.wait = False, None
    await setup.left()
    gate.set_result(None)
    assert await early == 9
    assert setup.store.down


async def until(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Act until the condition holds, for half a minute at most."""
    deadline = asyncio.get_running_loop().time() + 30
    while not condition():
        assert asyncio.get_running_loop().time() < deadline
        result = act()
        if asyncio.iscoroutine(result):
            await result
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("policy", ["local", "open", "closed"])
async def test_a_server_that_is_killed_and_comes_back(policy: StoreDown, valkey: Valkey, opened: Open) -> None:
    """With a real server the outage is bridged by the policy and ends by itself, and nobody gets another error."""
    told = Told()
    store = FallbackStore(opened(), MemoryStore(), store_down=policy, observer=told, first_wait=0.02, longest_wait=0.1)
    assert [(await store.take("k", ONE))[0].remaining for _ in range(3)] == [9, 8, 7]
    valkey.stop()
    if policy == "closed":
        with pytest.raises(Unavailable):
            await store.take("k", ONE)
    else:
        assert (await store.take("k", ONE))[0].remaining == {"local": 6, "open": 10}[policy]
    assert (store.down, told.events) == (True, ["down", policy])
    valkey.start()

    async def ask() -> None:
        with suppress(*([Unavailable] if policy == "closed" else [])):
            await store.take("other", ONE)

    await until(lambda: not store.down, ask)
    assert (await store.take("k", ONE))[0].remaining == 9
    assert told.events.count("up") == told.events.count("down") == 1


async def test_a_store_is_opened_by_its_url(valkey: Valkey) -> None:
    """Without a URL limits are counted in this process, with one in the server."""
    assert isinstance(open_store(), MemoryStore)
    told = Told()
    store = open_store(valkey.url, store_down="open", timeout=20.0, observer=told)
    assert isinstance(store, FallbackStore)
    assert (await store.take("k", ONE))[0].remaining == 9
    await store.aclose()
    assert told.events == []
