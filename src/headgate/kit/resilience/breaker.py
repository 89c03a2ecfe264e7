"""Circuit breakers for coroutines: stop calling what does not answer, and try again with one call.

    breaker = Breaker("models.example.com")
    joke = await breaker.call(tell_joke, "a cat")       # retries go inside: breaker.call(retry.call, tell_joke)

    async with breaker.guard() as guard:                # a stream: its first chunk proves the target alive
        async for chunk in model.stream(prompt):
            guard.respond()
            ...

    breakers = Breakers()                               # one breaker per target, bounded
    await breakers["models.example.com"].call(tell_joke, "a cat")

An open circuit raises `Unavailable(code="circuit_open", retry_after=...)`, which every protocol answers
with its 503 and the time to wait. Errors the caller is to blame for count neither way, nor does being
cancelled: a cancelled probe gives its lease back. One breaker belongs to one event loop.
"""

import inspect
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from functools import wraps
from types import TracebackType
from typing import Any, Final, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from headgate.kit.controls.breaker import CLOSED, BreakerPolicy, Circuit, CircuitStats, State
from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.resilience.registry import Registry

P = ParamSpec("P")
T = TypeVar("T")
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])

Outcome: TypeAlias = Literal["success", "failure", "neutral"]

BLAMELESS: Final = frozenset(
    {
        "CANCELLED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
    }
)
"""The kinds of fault which say that the target answered: they do not count against it."""


class BreakerObserver(Protocol):
    """Is told what breakers do, to count it. Must not raise."""

    def changed(self, target: str, before: State, after: State) -> None:
        """The circuit changed its state."""

    def rejected(self, target: str) -> None:
        """A call was refused because the circuit is open."""

    def finished(self, target: str, outcome: Outcome, seconds: float) -> None:
        """An admitted call ended."""


def counts_against(error: BaseException) -> bool:
    """Whether an error speaks against the target: every exception except the faults in `BLAMELESS`."""
    if isinstance(error, Fault):
        return error.kind not in BLAMELESS
    return isinstance(error, Exception)


class Breaker:
    """The circuit breaker of one target.

    `counts(error)` says whether an error speaks against the target. `clock` gives seconds, monotonic;
    `jitter` a number in [0, 1).
    """

    __slots__ = ("_admit", "_circuit", "_clock", "_counts", "_observer", "_succeed", "target")

    def __init__(
        self,
        target: str,
        policy: BreakerPolicy | None = None,
        *,
        counts: Callable[[BaseException], bool] = counts_against,
        observer: BreakerObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.target = target
        self._counts = counts
        self._observer = observer
        self._clock = clock
        self._circuit = Circuit(policy or BreakerPolicy(), jitter=jitter, changed=self._changed if observer else None)
        self._admit = self._circuit.admit
        self._succeed = self._circuit.succeed

    @property
    def state(self) -> State:
        """`closed`, `open` or `half_open`; an open circuit stays so until a call tries it."""
        return self._circuit.state

    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function(...)` if the circuit lets it. Raises what it raises, or Unavailable (circuit_open)."""
        clock = self._clock
        started = clock()
        ticket = self._admit(started)
        if not ticket:
            raise self._refusal(started)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._settle(ticket, started, error)
            raise
        now = clock()
        self._succeed(ticket, now, now - started)
        if self._observer is not None:
            self._observer.finished(self.target, "success", now - started)
        return result

    def guard(self) -> "Guard":
        """`async with breaker.guard():` around one call, stream or exchange."""
        return Guard(self)

    def wrap(self, function: Wrapped) -> Wrapped:
        """Decorate a coroutine function, or an async generator function, with this breaker."""
        if inspect.isasyncgenfunction(function):

            @wraps(function)
            async def stream(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
                async with self.guard() as guard, aclosing(function(*args, **kwargs)) as chunks:
                    async for chunk in chunks:
                        guard.respond()
                        yield chunk

            return cast("Wrapped", stream)

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.call(function, *args, **kwargs)

        return cast("Wrapped", call)

    def stats(self) -> CircuitStats:
        """The circuit at this moment."""
        return self._circuit.stats(self._clock())

    def reset(self) -> None:
        """Close the circuit and forget what was."""
        self._circuit.reset()

    def _refusal(self, now: float) -> Unavailable:
        if self._observer is not None:
            self._observer.rejected(self.target)
        return Unavailable(
            "a service that this one needs does not answer",
            code="circuit_open",
            hint="try again after the time given",
            retry_after=self._circuit.retry_after(now),
            internal=f"the circuit to {self.target} is {self.state}",
        )

    def _settle(self, ticket: int, started: float, error: BaseException | None, seconds: float | None = None) -> None:
        now = self._clock()
        taken = now - started if seconds is None else seconds
        outcome: Outcome
        if error is None:
            outcome = "success"
            self._circuit.succeed(ticket, now, taken)
        elif self._counts(error):
            outcome = "failure"
            self._circuit.fail(ticket, now, taken)
        else:
            outcome = "neutral"
            self._circuit.release(ticket, now, taken)
        if self._observer is not None:
            self._observer.finished(self.target, outcome, now - started)

    def _changed(self, before: State, after: State) -> None:
        if self._observer is not None:
            self._observer.changed(self.target, before, after)


class Guard:
    """One guarded call, for use once. `enter` and `leave` do what `async with` does."""

    __slots__ = ("_breaker", "_error", "_seconds", "_started", "_ticket")

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._ticket = 0
        self._started = 0.0
        self._seconds: float | None = None
        self._error: BaseException | None = None

    def enter(self) -> None:
        """Ask to be admitted. Raises Unavailable (circuit_open)."""
        breaker = self._breaker
        self._started = now = breaker._clock()  # noqa: SLF001 - one concern in two classes
        self._ticket = breaker._admit(now)  # noqa: SLF001
        if not self._ticket:
            raise breaker._refusal(now)  # noqa: SLF001

    def respond(self) -> None:
        """The target began to answer: how long the rest takes does not make the call slow. Idempotent."""
        if self._seconds is not None:
            return
        breaker = self._breaker
        now = breaker._clock()  # noqa: SLF001
        self._seconds = now - self._started
        self._ticket = breaker._circuit.respond(self._ticket, now, self._seconds)  # noqa: SLF001

    def fail(self, error: BaseException) -> None:
        """The call ends well for the caller, and is to count as if `error` had been raised."""
        self._error = error

    def leave(self, error: BaseException | None = None) -> None:
        """The call is over. Only the first time counts."""
        if self._ticket >= 0:
            self._breaker._settle(self._ticket, self._started, error or self._error, self._seconds)  # noqa: SLF001
            self._ticket = -1

    async def __aenter__(self) -> "Guard":
        self.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave(error)


class Breakers:
    """A breaker for each target, all with one policy. At most `limit` targets; the least used is forgotten."""

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        limit: int = 1024,
        counts: Callable[[BaseException], bool] = counts_against,
        observer: BreakerObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        def make(target: str) -> Breaker:
            return Breaker(target, policy, counts=counts, observer=observer, clock=clock, jitter=jitter)

        self._breakers = Registry(make, limit=limit)

    def __getitem__(self, target: str) -> Breaker:
        return self._breakers[target]

    def __len__(self) -> int:
        return len(self._breakers)

    def stats(self) -> dict[str, CircuitStats]:
        """Every target's circuit."""
        return {target: breaker.stats() for target, breaker in self._breakers.items()}

    def open_targets(self) -> list[str]:
        """The targets which calls are held back from."""
        return [target for target, breaker in self._breakers.items() if breaker.state != CLOSED]

    def reset(self) -> None:
        """Close every circuit."""
        for breaker in self._breakers.values():
            breaker.reset()
