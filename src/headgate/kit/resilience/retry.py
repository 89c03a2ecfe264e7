"""Retries for coroutines: few, spread out, within a budget and never past the call's deadline.

    retry = Retry(remaining=lambda: call_time_left())
    joke = await retry.call(tell_joke, "a cat")
    joke = await breaker.call(retry.call, tell_joke, "a cat")

Retries go inside the breaker: an open circuit is asked once per call and stops all of its attempts, and
the breaker sees one outcome per call, the last. The other way round each attempt would count, and an open
circuit would be retried. One `Retry` is for one target: its budget belongs to what it calls.

After the last attempt the error of that attempt is raised, with a note of how many there were.
"""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.controls.retry import RetryBudget, RetryPolicy, delay, is_transient

P = ParamSpec("P")
T = TypeVar("T")
Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])


class RetryObserver(Protocol):
    """Is told what retries do, to count it. Must not raise."""

    def retried(self, target: str, attempt: int, wait: float) -> None:
        """The `attempt`-th attempt failed; the next one follows in `wait` seconds."""

    def gave_up(self, target: str, reason: str) -> None:
        """A transient failure is not retried: `limit` (attempts, deadline or Retry-After) or `budget`."""


@dataclass(frozen=True, slots=True)
class RetryStats:
    """What a `Retry` did so far; `tokens` is what is left of its budget."""

    calls: int
    retries: int
    out_of_budget: int
    tokens: float


class Retry:
    """Calls with retries.

    `transient(error)` says which errors may pass; an error's `retry_after` attribute (seconds) is honoured.
    `remaining()` gives the seconds left of the current call, None for no deadline. `sleep` and `spread` (a number in
    [0, 1)) are the world's, unless a test brings its own.
    """

    def __init__(
        self,
        policy: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        *,
        target: str = "",
        transient: Callable[[BaseException], bool] = is_transient,
        remaining: Callable[[], float | None] | None = None,
        observer: RetryObserver | None = None,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self.target = target
        self.budget = budget or RetryBudget()
        self._policy = policy or RetryPolicy()
        self._transient = transient
        self._remaining = remaining
        self._observer = observer
        self._sleep = sleep
        self._spread = spread
        self._calls = self._retries = self._out_of_budget = 0

    async def call(self, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `function(...)`, again when it fails in a way that may pass."""
        self._calls += 1
        self.budget.deposit()
        try:
            return await function(*args, **kwargs)
        except Exception as error:
            if not self._transient(error):
                raise
            return await self._again(function, error, args, kwargs)

    def wrap(self, function: Wrapped) -> Wrapped:
        """Decorate a coroutine function. A stream cannot be retried once a part of it was handed on."""
        if inspect.isasyncgenfunction(function):
            raise InvalidArgument(
                f"{function.__qualname__} is an async generator: its chunks cannot be taken back for a retry",
                hint="retry the call that opens the stream",
            )

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self.call(function, *args, **kwargs)

        return cast("Wrapped", call)

    def stats(self) -> RetryStats:
        """The counts so far."""
        return RetryStats(self._calls, self._retries, self._out_of_budget, self.budget.tokens)

    async def _again(
        self, function: Callable[..., Awaitable[T]], failed: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> T:
        attempt = 1
        while (wait := self._wait(attempt, failed)) is not None:
            await self.before_retry(failed)
            await self._sleep(wait)
            attempt += 1
            try:
                return await function(*args, **kwargs)
            except Exception as error:
                if not self._transient(error):
                    raise
                failed = error
        if attempt > 1:
            failed.add_note(f"attempts made: {attempt}")
        try:
            raise failed
        finally:
            # Its traceback holds this frame, which must not hold it in turn.
            del failed

    async def before_retry(self, error: Exception) -> None:
        """Let go of what the failed attempt holds; a subclass that holds something overrides this."""

    def patience(self, error: Exception) -> float | None:
        """Seconds for which the other side asks; a subclass that asks somebody else next need not wait."""
        return getattr(error, "retry_after", None)

    def _wait(self, attempt: int, failed: Exception) -> float | None:
        """Seconds until the next attempt, paid for; None when there is none."""
        wait = delay(
            self._policy,
            attempt=attempt,
            spread=self._spread(),
            retry_after=self.patience(failed),
            remaining=None if self._remaining is None else self._remaining(),
        )
        if wait is None or not self.budget.withdraw():
            self._out_of_budget += wait is not None
            if self._observer is not None:
                self._observer.gave_up(self.target, "limit" if wait is None else "budget")
            return None
        self._retries += 1
        if self._observer is not None:
            self._observer.retried(self.target, attempt, wait)
        return wait
