"""Middleware that services often want, each for one method or for all of a service.

    class Orders(Service, middleware=[told_when_slow(0.5)]):
        @rpc(middleware=[limited("5/minute"), bulkhead(10, waiting=20)])
        async def export(self) -> AsyncIterator[Order]: ...

One's own is a function of the same form:

    async def measured(invocation: Invocation, following: Following) -> Any:
        began = time.monotonic()
        try:
            return await following(invocation)          # a response, or the iterator of a stream
        finally:
            TOOK.observe(time.monotonic() - began)

What holds a stream wraps it (`UntilClosed`), for the method has only begun when its iterator is there.

    ResourceExhausted
    └── rate_limited        this caller asked for this method too often
    Unavailable
    └── method_full         as many calls of it run, and wait, as may
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import structlog

from headgate.kit.controls.faults import Unavailable
from headgate.kit.controls.limits import budget_key, refusal
from headgate.kit.controls.rate import Charge, Quota, Rate, Store
from headgate.kit.limits.memory import MemoryStore
from headgate.service.invoke import Following, Invocation, Middleware

Clock = Callable[[], float]

_log = structlog.get_logger("headgate.service")


def limited(rate: str, *, store: Store | None = None, clock: Clock = time.monotonic) -> Middleware:
    """Let each caller call each method so often, such as `5/minute`; besides the limits of the whole application.

    `store` is where that is counted, `kit.store` for one that replicas share; else in this process.
    """
    allowed, counted = Rate.parse(rate), store or MemoryStore(clock=clock)
    charges: dict[str, tuple[Charge]] = {}

    async def limit(invocation: Invocation, following: Following) -> Any:
        context = invocation.context
        name = f"{context.service}.{context.method}"
        charge = charges.get(name)
        if charge is None:
            charge = charges[name] = (Charge(Quota(name, allowed)),)
        decisions = counted.take(budget_key(context.call), charge)
        if not isinstance(decisions, tuple):
            decisions = await decisions
        if not decisions[0].allowed:
            raise refusal(charge[0], decisions[0])
        return await following(invocation)

    return _called(limit, "limited")


def bulkhead(most: int, *, waiting: int = 0, patience: float = 1.0, retry_after: float = 1.0) -> Middleware:
    """Let at most `most` calls run, and `waiting` more wait `patience` seconds for a place; streams hold theirs.

    What shares the middleware shares the places: one for a service, or one for each method.
    """
    places = asyncio.Semaphore(most)
    in_line = 0

    async def enter() -> None:
        nonlocal in_line
        if places.locked():
            if in_line >= waiting:
                raise _full(retry_after)
            in_line += 1
            try:
                async with asyncio.timeout(patience) as limit:
                    await places.acquire()
            except TimeoutError:
                if limit.expired():
                    raise _full(retry_after) from None
                raise
            finally:
                in_line -= 1
        else:
            await places.acquire()

    async def hold(invocation: Invocation, following: Following) -> Any:
        await enter()
        try:
            result = await following(invocation)
        except BaseException:
            places.release()
            raise
        if invocation.method.kind.streams_out:
            return UntilClosed(result, places.release)
        places.release()
        return result

    return _called(hold, "bulkhead")


def told_when_slow(seconds: float, *, clock: Clock = time.monotonic) -> Middleware:
    """Log each call that takes longer, with its method, request id and time; a stream's time is until its end."""

    async def tell(invocation: Invocation, following: Following) -> Any:
        began, context = clock(), invocation.context

        def ended() -> None:
            took = clock() - began
            if took > seconds:
                method = f"{context.service}.{context.method}"
                _log.warning("slow", method=method, seconds=round(took, 3), request_id=context.request_id)

        try:
            result = await following(invocation)
        except BaseException:
            ended()
            raise
        if invocation.method.kind.streams_out:
            return UntilClosed(result, ended)
        ended()
        return result

    return _called(tell, "told_when_slow")


class UntilClosed:
    """The same stream; `ended` is called once when it is over, breaks, or is closed.

    A generator would not do: one that is closed before it was read is told nothing.
    """

    def __init__(self, responses: AsyncIterator[Any], ended: Callable[[], None]) -> None:
        self._responses = responses
        self._ended: Callable[[], None] | None = ended

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self._responses)
        except BaseException:
            self._end()
            raise

    async def aclose(self) -> None:
        """Close the stream below."""
        try:
            close = getattr(self._responses, "aclose", None)
            if close is not None:
                await close()
        finally:
            self._end()

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


def _called(middleware: Middleware, name: str) -> Middleware:
    """The middleware under the name that `skip` knows it by."""
    middleware.__name__ = name
    return middleware


def _full(retry_after: float) -> Unavailable:
    return Unavailable(
        "too many calls of this method run",
        code="method_full",
        hint="try again shortly",
        retry_after=retry_after,
        refused=True,
    )
