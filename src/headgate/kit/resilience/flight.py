"""Single flight: callers who want the same thing at the same time share one call, its answer and its error.

    flights = Flights()
    data = await flights.join(key, lambda flight: ask_upstream())

The call runs in a task of its own, so no caller's leaving harms the others; when the last one leaves it is
cancelled. A flight is forgotten the moment it ends: nothing stays behind under its key. The task runs in a
copy of the first caller's context, or in the one that `context` makes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from functools import partial
from typing import Generic, TypeVar

from headgate.kit.controls.faults import Aborted

T = TypeVar("T")


class Flight(Generic[T]):
    """One call under way. `current` turns False when its answer is no longer wanted under the key."""

    __slots__ = ("current", "task", "waiting")

    task: asyncio.Task[T]

    def __init__(self) -> None:
        self.current = True
        self.waiting = 0


class Flights(Generic[T]):
    """The calls under way, by key. Belongs to one event loop."""

    def __init__(self, context: Callable[[], Context] | None = None) -> None:
        self._flights: dict[str, Flight[T]] = {}
        # Those whose key is free again, though they have not ended.
        self._detached: set[Flight[T]] = set()
        self._context = context

    def __len__(self) -> int:
        return len(self._flights) + len(self._detached)

    def __contains__(self, key: str) -> bool:
        return key in self._flights

    async def join(self, key: str, start: Callable[[Flight[T]], Awaitable[T]]) -> T:
        """The answer of the call under way for `key`, which `start(flight)` begins when there is none.

        Raises what the call raises, and Aborted (shared_call_cancelled) when it was cancelled from inside.
        """
        flight = self._flights.get(key) or self._begin(key, start)
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if not flight.task.cancelled() or _being_cancelled():
                raise
            raise Aborted(
                "the call this one was waiting for was cancelled", code="shared_call_cancelled", hint="try again"
            ) from None
        finally:
            self._leave(key, flight)

    def begin(self, key: str, start: Callable[[Flight[T]], Awaitable[T]]) -> bool:
        """Begin a call that nobody waits for, unless one is under way; its error is nobody's.

        Once callers have joined it, it is like any other: when the last of them leaves it is cancelled.
        """
        if key in self._flights:
            return False
        self._begin(key, start)
        return True

    def detach(self, key: str) -> None:
        """Let the call under way end for those who wait, and the next caller begin a new one."""
        flight = self._flights.pop(key, None)
        if flight is not None:
            flight.current = False
            self._detached.add(flight)

    def detach_all(self, prefix: str = "") -> None:
        """Detach every call whose key begins with `prefix`."""
        for key in [key for key in self._flights if key.startswith(prefix)]:
            self.detach(key)

    async def aclose(self) -> None:
        """Cancel what is under way and wait until it is over."""
        tasks = [flight.task for flight in (*self._flights.values(), *self._detached)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, start: Callable[[Flight[T]], Awaitable[T]]) -> Flight[T]:
        flight: Flight[T] = Flight()
        context = None if self._context is None else self._context()
        flight.task = asyncio.get_running_loop().create_task(_run(start, flight), context=context)
        flight.task.add_done_callback(partial(self._landed, key, flight))
        self._flights[key] = flight
        return flight

    def _leave(self, key: str, flight: Flight[T]) -> None:
        flight.waiting -= 1
        if flight.waiting == 0 and not flight.task.done():
            # At once and not when it has ended: who comes now must not join what is being cancelled.
            if self._flights.get(key) is flight:
                self.detach(key)
            flight.task.cancel()

    def _landed(self, key: str, flight: Flight[T], task: asyncio.Task[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        self._detached.discard(flight)
        if not task.cancelled():
            # Whoever is left to hear of it has; asyncio need not complain that nobody did.
            task.exception()


async def _run(start: Callable[[Flight[T]], Awaitable[T]], flight: Flight[T]) -> T:
    return await start(flight)


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
