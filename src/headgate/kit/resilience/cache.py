"""A cache for calls that cost: one call for all who ask at once, here and in other processes.

    cache = FlowCache(CachePolicy(seconds=300), shared=SharedStore(url))

    @cache.cached("translate", tenant=current_team, version="prompt-3")
    async def translate(text: str, language: str) -> Translation: ...

    await translate("hello", "French")              # 20 at once: 1 call, 20 answers of their own
    await translate.invalidate("hello", "French")

Answers are kept as JSON, so nobody holds a value that another can change. Errors are shared by those who
wait for the same call and are not kept, unless `error_seconds` says so. Who stops waiting harms nobody;
when all have, the call is cancelled. An answer that was invalidated while it was made is not kept.

The first level is this process, bounded by number and bytes. The second, a `SharedStore`, is optional; when
it does not answer the first goes on alone.
"""

import time
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.kit.resilience.codec import JSON, Codec
from headgate.kit.resilience.decorate import Cached, Keys
from headgate.kit.resilience.errors import decode_error, encode_error
from headgate.kit.resilience.flight import Flight, Flights
from headgate.kit.resilience.levels import CacheObserver, Levels
from headgate.kit.resilience.shared import SharedStore
from headgate.kit.resilience.together import Answer, SharedError, Together

P = ParamSpec("P")
T = TypeVar("T")

_REFRESH_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class CachePolicy:
    """How long answers live and how much of them. Times in seconds, sizes in bytes. Raises InvalidArgument.

    An answer is fresh for `seconds`, and for `stale_seconds` more it is given while a new one is made. An
    error is remembered for `error_seconds`. `entries` and `size` bound the memory, `largest` one answer.

    With a shared store: memory is asked for `memory_seconds` before the store is (so long an answer may
    live on here after another process invalidated it); a process that dies holds others up for
    `lease_seconds`; those who wait learn of an error within `told_seconds`.
    """

    seconds: float = 300.0
    stale_seconds: float = 0.0
    error_seconds: float = 0.0
    entries: int = 1024
    size: int = 64_000_000
    largest: int = 1_000_000
    memory_seconds: float = 10.0
    lease_seconds: float = 5.0
    told_seconds: float = 5.0

    def __post_init__(self) -> None:
        positive = ("seconds", "entries", "size", "largest", "memory_seconds", "lease_seconds", "told_seconds")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        wrong += [name for name in ("stale_seconds", "error_seconds") if getattr(self, name) < 0]
        if wrong:
            raise InvalidArgument(
                "a cache cannot work like this: " + ", ".join(wrong),
                violations=[Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in wrong],
                hint="times and sizes are positive; stale_seconds and error_seconds may be 0",
            )


class FlowCache(Levels):
    """A cache for the answers of coroutines. Belongs to one event loop.

    `context()` gives the context that calls run in; without it a copy of the first caller's.
    """

    def __init__(
        self,
        policy: CachePolicy | None = None,
        *,
        shared: SharedStore | None = None,
        observer: CacheObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        context: Callable[[], Context] | None = None,
    ) -> None:
        self._policy = policy = policy or CachePolicy()
        super().__init__(policy, shared, observer, clock)
        self._flights: Flights[bytes] = Flights(context)
        self._together: Together | None = None
        if shared is not None:
            self._together = Together(
                shared, lease=policy.lease_seconds, told=policy.told_seconds, error=policy.error_seconds
            )

    async def get_or_call(
        self,
        key: str,
        call: Callable[[], Awaitable[T]],
        *,
        codec: Codec[T] = JSON,
        seconds: float | None = None,
    ) -> T:
        """The answer kept under `key` (of `cache_key`), or that of `call()`, kept for `seconds`.

        What is returned is the caller's own. Raises what `call` raises.
        """
        now = self._clock()
        entry = self._memory.get(key, now)
        if entry is not None and now < entry.fresh_until and not entry.failed:
            self._count(key, "hit")
            return codec.decode(entry.data)
        fill = partial(self._fill, key, call, codec, self._policy.seconds if seconds is None else seconds)
        if entry is None:
            self._count(key, "joined" if key in self._flights else "miss")
            data = await self._flights.join(key, fill)
            if self._shared is not None:
                self._renew_if_stale(key, partial(fill, renew=True))
            return codec.decode(data)
        if entry.failed:
            self._count(key, "remembered_error")
            raise decode_error(entry.data)
        self._count(key, "stale")
        self._flights.begin(key, partial(fill, renew=True))
        return codec.decode(entry.data)

    def cached(
        self,
        namespace: str,
        *,
        tenant: Callable[[], str] | None,
        version: str = "",
        seconds: float | None = None,
        ignore: tuple[str, ...] = (),
    ) -> Callable[[Callable[P, Awaitable[T]]], Cached[P, T]]:
        """Decorate a coroutine function, whose annotations say what it returns.

        `tenant()` is who may see the answer; None lets every tenant see it. `version` is of what makes the
        answer. Parameters named in `ignore` (a client, `self`) do not tell calls apart.
        """

        def decorate(function: Callable[P, Awaitable[T]]) -> Cached[P, T]:
            keys = Keys(function, namespace, tenant=tenant, version=version, ignore=ignore)

            async def ask(key: str, call: Callable[[], Awaitable[T]]) -> T:
                return await self.get_or_call(key, call, codec=keys.codec, seconds=seconds)

            return Cached(function, keys, ask, self.invalidate)

        return decorate

    async def aclose(self) -> None:
        """Cancel calls under way and give their leases back. The shared store is its owner's to close."""
        await self._flights.aclose()
        if self._together is not None:
            await self._together.aclose()

    async def _fill(
        self,
        key: str,
        call: Callable[[], Awaitable[T]],
        codec: Codec[T],
        seconds: float,
        flight: Flight[bytes],
        *,
        renew: bool = False,
    ) -> bytes:
        """Find or make the answer, and keep it here."""

        def wanted(data: bytes) -> bool:
            return flight.current and len(data) <= self._policy.largest

        make = partial(self._make, key, call, codec)
        try:
            if self._together is None:
                answer = Answer(await make(), seconds)
            else:
                answer = await self._together.ask(
                    key,
                    make,
                    check=codec.decode,
                    wanted=wanted,
                    fresh=seconds,
                    stale=self._policy.stale_seconds,
                    renew=renew,
                )
        except SharedError as told:
            self._count(key, "shared_error")
            self._failed(key, told.fault, flight, renew=renew)
            raise told.fault from None
        except Exception as error:
            self._count(key, "refresh_failed" if renew else "error")
            self._failed(key, error, flight, renew=renew)
            raise
        if answer.found:
            self._count(key, "shared_hit")
        if wanted(answer.data):
            self._keep(key, answer)
        return answer.data

    async def _make(self, key: str, call: Callable[[], Awaitable[T]], codec: Codec[T]) -> bytes:
        self._count(key, "call")
        data = codec.encode(await call())
        # Whoever gets the answer decodes it: what cannot be is an error of this call, not of theirs.
        codec.decode(data)
        if len(data) > self._policy.largest:
            self._count(key, "too_large")
        return data

    def _keep(self, key: str, answer: Answer) -> None:
        stale = self._policy.stale_seconds
        fresh = answer.fresh
        if self._shared is not None and fresh > self._policy.memory_seconds:
            fresh, stale = self._policy.memory_seconds, 0.0
        elif fresh < 0:
            fresh, stale = 0.0, stale + fresh
        self._memory.put(key, answer.data, now=self._clock(), fresh=fresh, stale=stale)

    def _failed(self, key: str, error: Exception, flight: Flight[bytes], *, renew: bool) -> None:
        if not flight.current:
            return
        now = self._clock()
        if renew:
            # The stale answer stays, and not every caller tries anew.
            entry = self._memory.get(key, now)
            if entry is not None:
                entry.fresh_until = now + (self._policy.error_seconds or _REFRESH_PAUSE)
        elif self._policy.error_seconds > 0:
            self._memory.put(key, encode_error(error), now=now, fresh=self._policy.error_seconds, failed=True)

    def _renew_if_stale(self, key: str, fill: Callable[[Flight[bytes]], Awaitable[bytes]]) -> None:
        """What came from the shared store may be stale already."""
        now = self._clock()
        entry = self._memory.get(key, now)
        if entry is not None and not entry.failed and now >= entry.fresh_until:
            self._flights.begin(key, fill)

    def _detach(self, key: str) -> None:
        self._flights.detach(key)

    def _detach_all(self, prefix: str) -> None:
        self._flights.detach_all(prefix)

    def _under_way(self) -> int:
        return len(self._flights)
