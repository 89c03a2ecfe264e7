"""A shared store that may be down, and what limits do meanwhile.

    store = FallbackStore(RedisStore(url), MemoryStore(), store_down="local")

`local` counts in this process, going on from what the shared store said last; `open` admits everything; `closed`
refuses everything with Unavailable (`limit_store_down`). An outage is logged once. While it lasts, nobody waits for
the store but one call now and then, after waits that double up to `longest_wait`; when that one
succeeds the outage is over. The right to try expires by itself, so a cancelled caller takes nothing with it.
"""

import logging
import random
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from headgate.kit.controls.faults import Unavailable
from headgate.kit.controls.rate import Charge, Decisions, Store, granted
from headgate.kit.limits.memory import MemoryStore

StoreDown: TypeAlias = Literal["local", "open", "closed"]

_log: Final = logging.getLogger("headgate.limits")
_MEANWHILE: Final = {
    "local": "each process counts for itself",
    "open": "nobody is limited",
    "closed": "limited calls are refused",
}


class StoreObserver(Protocol):
    """Told of outages of the shared store."""

    def store_down(self) -> None:
        """An outage began."""

    def store_up(self) -> None:
        """It is over."""

    def without_store(self, policy: StoreDown) -> None:
        """A call was decided by the policy."""


class FallbackStore:
    """Charges `shared` while it answers; follows `store_down` while it does not. Waits are in seconds."""

    def __init__(
        self,
        shared: Store,
        local: MemoryStore,
        *,
        store_down: StoreDown = "local",
        observer: StoreObserver | None = None,
        first_wait: float = 0.5,
        longest_wait: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._shared = shared
        self._local = local
        self._policy: StoreDown = store_down
        self._observer = observer
        self._first, self._longest = first_wait, longest_wait
        self._clock, self._jitter = clock, jitter
        self._down_since: float | None = None
        self._wait = 0.0
        self._try_at = 0.0
        self._turn = 0
        """Grows with each change: what was asked before the last one has no say any more."""

    @property
    def down(self) -> bool:
        """Whether the shared store is known to be down."""
        return self._down_since is not None

    async def take(self, key: str, charges: Sequence[Charge]) -> Decisions:
        """Charge a caller; see `headgate.kit.controls.rate.Store.take`."""
        if self._down_since is not None:
            now = self._clock()
            if now < self._try_at:
                return self._without(key, charges)
            self._try_at = now + self._next_wait()
        turn = self._turn
        try:
            outcome = self._shared.take(key, charges)
            decisions = outcome if isinstance(outcome, tuple) else await outcome
        except Unavailable as fault:
            if turn == self._turn:
                self._failed(fault)
            return self._without(key, charges)
        if self._down_since is not None and turn == self._turn:
            self._recovered()
        if self._policy == "local":
            self._local.learn(key, charges, decisions)
        return decisions

    async def aclose(self) -> None:
        """Close the shared store."""
        close = getattr(self._shared, "aclose", None)
        if close is not None:
            await close()

    def _without(self, key: str, charges: Sequence[Charge]) -> Decisions:
        if self._observer is not None:
            self._observer.without_store(self._policy)
        if self._policy == "local":
            return self._local.take(key, charges)
        if self._policy == "open" or all(force or cost < 0 for _, cost, force in charges):
            return tuple(granted(quota, 0) for quota, _, _ in charges)
        raise Unavailable(
            "the limits cannot be checked now",
            code="limit_store_down",
            hint="try again shortly",
            retry_after=max(self._try_at - self._clock(), self._first),
        )

    def _next_wait(self) -> float:
        return self._wait * (0.5 + self._jitter() / 2)

    def _failed(self, fault: Unavailable) -> None:
        now = self._clock()
        self._turn += 1
        if self._down_since is None:
            self._down_since, self._wait = now, self._first
            _log.warning(
                "the store of the limits is down (%s); %s until it answers", fault.internal, _MEANWHILE[self._policy]
            )
            if self._observer is not None:
                self._observer.store_down()
        else:
            self._wait = min(self._wait * 2, self._longest)
        self._try_at = now + self._next_wait()

    def _recovered(self) -> None:
        seconds = self._clock() - (self._down_since or 0.0)
        self._turn += 1
        self._down_since = None
        _log.warning("the store of the limits answers again after %.1f s", seconds)
        if self._observer is not None:
            self._observer.store_up()
