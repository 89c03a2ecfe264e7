"""Limits for whoever needs one, and the store behind them with a policy for its outages.

    store = open_store("redis://10.0.0.5:6379/0", store_down="local")
    limiter = Limiter("100000/hour", store, name="tokens")

    async with await limiter.reserve(key, 800) as held:     # raises ResourceExhausted when 800 are not there
        answer = await model(prompt)
        await held.settle(answer.tokens)                    # the rest is given back, or the excess charged

A reservation that is left by an error, or cancelled, before it is settled is given back whole.
"""

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Final, Self

from headgate.kit.controls.limits import refusal
from headgate.kit.controls.rate import Charge, Decision, Decisions, Quota, Rate, Store
from headgate.kit.limits.fallback import FallbackStore, StoreDown, StoreObserver
from headgate.kit.limits.memory import MemoryStore
from headgate.kit.limits.redis import RedisStore

_RUNNING: Final[set[asyncio.Future[Any]]] = set()
"""Charges that go on although nobody waits for them any more; the event loop itself holds them only weakly."""


def open_store(
    url: str = "",
    *,
    store_down: StoreDown = "local",
    timeout: float = 0.25,
    max_keys: int = 100_000,
    observer: StoreObserver | None = None,
) -> MemoryStore | FallbackStore:
    """The store behind `url`, with a policy for its outages; without a URL one in this process.

    Raises what `RedisStore` does. Nothing is connected before the first charge.
    """
    local = MemoryStore(max_keys)
    if not url:
        return local
    return FallbackStore(RedisStore(url, timeout=timeout), local, store_down=store_down, observer=observer)


class Limiter:
    """One quota in a store. `key` names the caller; limiters of one name, rate and store share its budget."""

    def __init__(self, rate: Quota | Rate | str, store: Store, *, name: str = "default") -> None:
        parsed = Rate.parse(rate) if isinstance(rate, str) else rate
        self.quota = parsed if isinstance(parsed, Quota) else Quota(name, parsed)
        self._store = store

    async def take(self, key: str, cost: int = 1) -> Decision:
        """Take `cost` units when they are there; the decision says whether."""
        decisions = self._store.take(key, (Charge(self.quota, cost),))
        return (decisions if isinstance(decisions, tuple) else await decisions)[0]

    async def require(self, key: str, cost: int = 1) -> Decision:
        """The same; raises ResourceExhausted (`rate_limited`) or InvalidArgument (`cost_exceeds_limit`)."""
        return self._admitted(cost, await self.take(key, cost))

    async def charge(self, key: str, units: int) -> None:
        """Take units for work that is done already, whatever is left; negative ones are given back.

        Completes even when the caller is cancelled meanwhile.
        """
        if units:
            decisions = self._store.take(key, (Charge(self.quota, units, force=True),))
            if not isinstance(decisions, tuple):
                await asyncio.shield(_to_the_end(decisions))

    async def reserve(self, key: str, estimate: int) -> "Reservation":
        """Take `estimate` units until it is known how many are used. Raises what `require` does."""
        decisions = self._store.take(key, (Charge(self.quota, estimate),))
        if isinstance(decisions, tuple):
            decided = decisions[0]
        else:
            running = _to_the_end(decisions)
            try:
                decided = (await asyncio.shield(running))[0]
            except asyncio.CancelledError:
                running.add_done_callback(lambda done: self._undo(key, estimate, done))
                raise
        self._admitted(estimate, decided)
        return Reservation(estimate, self, key)

    def _admitted(self, cost: int, decision: Decision) -> Decision:
        if not decision.allowed:
            raise refusal(Charge(self.quota, cost), decision)
        return decision

    def _undo(self, key: str, units: int, done: "asyncio.Future[Decisions]") -> None:
        if not done.cancelled() and done.exception() is None and done.result()[0].allowed:
            _to_the_end(self.charge(key, -units))


class Reservation:
    """Units held for work whose cost is not known yet. Without a limiter it holds nothing, and settling is free."""

    def __init__(self, units: int, limiter: Limiter | None = None, key: str = "") -> None:
        self.units = units
        self._limiter = limiter
        self._key = key
        self._settled = False

    async def settle(self, used: int) -> None:
        """Give back what was not used, or charge what was used beyond it. Only the first time counts."""
        if not self._settled:
            self._settled = True
            if self._limiter is not None:
                await self._limiter.charge(self._key, used - self.units)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            await self.settle(0)


def _to_the_end(work: Awaitable[Any]) -> "asyncio.Future[Any]":
    """Run `work` in a task of its own."""
    running = asyncio.ensure_future(work)
    _RUNNING.add(running)
    running.add_done_callback(_ended)
    return running


def _ended(running: "asyncio.Future[Any]") -> None:
    _RUNNING.discard(running)
    if not running.cancelled():
        running.exception()
