"""What caches of answers and caches of streams have in common: two levels, what happened, and forgetting.

The first level is memory, bounded by number and bytes. The second, a `SharedStore`, is optional; when it does
not answer the first goes on alone. Used through `FlowCache` and `StreamCache`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias

from headgate.kit.resilience.keys import check_namespace
from headgate.kit.resilience.memory import MemoryStore
from headgate.kit.resilience.shared import SharedStore, StoreDown

CacheEvent: TypeAlias = Literal[
    "hit",  # answered from memory
    "stale",  # answered from memory while a new answer is made
    "joined",  # waited for a call another caller had begun
    "miss",  # nothing here: looked further
    "shared_hit",  # answered from the shared store
    "shared_error",  # another process's call failed
    "remembered_error",  # the error of a call not long ago
    "call",  # called upstream
    "error",  # the call failed
    "refresh_failed",  # the call for a new answer failed, the stale one stays
    "too_large",  # the answer was handed on and not kept
    "evicted",  # an answer gave way to others
    "abandoned",  # the last reader left a stream before its end
    "cut_off",  # a reader was too slow for the others
]
CacheObserver: TypeAlias = Callable[[str, CacheEvent], None]
"""Called with the namespace ("" for evictions) and what happened. Must not raise."""


class Bounds(Protocol):
    """What a policy says of the memory."""

    @property
    def entries(self) -> int:
        """Most that are kept."""

    @property
    def size(self) -> int:
        """Most bytes of them."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """A cache at one moment: events so far by name, and what it holds. `outages` are of the shared store."""

    events: dict[str, int]
    entries: int
    size: int
    flights: int
    outages: int


class Levels:
    """The levels of one cache. Belongs to one event loop."""

    _suffix: ClassVar[str] = ""
    """Behind keys in the shared store, where caches of several kinds must not meet."""

    def __init__(
        self,
        bounds: Bounds,
        shared: SharedStore | None,
        observer: CacheObserver | None,
        clock: Callable[[], float],
    ) -> None:
        self._shared = shared
        self._observer = observer
        self._clock = clock
        self._events: dict[str, int] = {}
        self._memory = MemoryStore(entries=bounds.entries, size=bounds.size, evicted=lambda: self._count("", "evicted"))

    async def invalidate(self, key: str) -> bool:
        """Forget what is under a key, also what is being made; False when the shared store could not be told."""
        self._memory.delete(key)
        self._detach(key)
        try:
            if self._shared is not None:
                await self._shared.delete(key + self._suffix)
        except StoreDown:
            return False
        return True

    async def clear(self, namespace: str = "") -> bool:
        """Forget everything in a namespace, or all there is; False when the shared store could not be told."""
        if namespace:
            check_namespace(namespace)
        prefix = f"{namespace}:" if namespace else ""
        self._memory.clear(prefix)
        self._detach_all(prefix)
        try:
            if self._shared is not None:
                await self._shared.clear(prefix)
        except StoreDown:
            return False
        return True

    def stats(self) -> CacheStats:
        """The cache at this moment; `flights` are the calls, or streams, under way."""
        outages = 0 if self._shared is None else self._shared.outages
        return CacheStats(dict(self._events), len(self._memory), self._memory.size, self._under_way(), outages)

    def _detach(self, key: str) -> None:
        """Keep nothing of what is being made under a key."""
        raise NotImplementedError

    def _detach_all(self, prefix: str) -> None:
        """The same for all keys that begin so."""
        raise NotImplementedError

    def _under_way(self) -> int:
        """How much is being made."""
        raise NotImplementedError

    def _count(self, key: str, event: CacheEvent) -> None:
        self._events[event] = self._events.get(event, 0) + 1
        if self._observer is not None:
            self._observer(key.partition(":")[0], event)
