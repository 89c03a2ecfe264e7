"""Handing events to a handler: so many at a time, each key once, tried again when it fails.

    handing = Handing(terms, handler, give_up)
    handing.offer(delivery)                 # False when there is no room
    await handing.drain(10.0)

Brokers that keep what failed (JetStream) use `once` and see to the retries themselves. Times are those of the event
loop's clock.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from enum import Enum
from typing import Final

import structlog

from headgate.kit.controls.faults import Fault
from headgate.service.broker.base import DEAD, Delivery, Handler, Rejected, Terms

LONGEST_BACKOFF: Final = 60.0
_log = structlog.get_logger("headgate.service")

GiveUp = Callable[[Delivery, str], Awaitable[None]]


class Verdict(Enum):
    """What came of handing an event out once."""

    DONE = "done"
    AGAIN = "again"
    NEVER = "never"


def backoff_of(terms: Terms, attempt: int) -> float:
    """Seconds before the attempt after this one: doubled each time, up to a minute, from half to all of it."""
    full = min(LONGEST_BACKOFF, terms.backoff * 2.0 ** min(attempt - 1, 30))
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, protects nothing


def reason_of(error: BaseException) -> str:
    """What a dead letter says of why it is one; a defect's text stays in the log."""
    if isinstance(error, Rejected):
        return str(error) or "rejected"
    return (
        f"{error.code}: {error.message}" if isinstance(error, Fault) else f"the handler failed: {type(error).__name__}"
    )


class Keys:
    """Which keys were handled within the last `window` seconds; the oldest go when there are too many."""

    def __init__(self, window: float, most: int) -> None:
        self._window = window
        self._most = most
        self._until: OrderedDict[str, float] = OrderedDict()
        self._busy: dict[str, asyncio.Event] = {}

    async def begin(self, key: str) -> bool:
        """Whether it may be handled now; waits for another one with the same key that is being handled."""
        if not key or not self._window:
            return True
        while (busy := self._busy.get(key)) is not None:
            await busy.wait()
        now = asyncio.get_running_loop().time()
        while self._until and next(iter(self._until.values())) <= now:
            self._until.popitem(last=False)
        if key in self._until:
            return False
        self._busy[key] = asyncio.Event()
        return True

    def end(self, key: str, *, handled: bool) -> None:
        """It was handled, or it was not and may come again."""
        if not key or not self._window:
            return
        busy = self._busy.pop(key, None)
        if busy is not None:
            busy.set()
        if handled:
            self._until[key] = asyncio.get_running_loop().time() + self._window
            self._until.move_to_end(key)
            if len(self._until) > self._most:
                self._until.popitem(last=False)


class Handing:
    """See the module. `most_waiting` events wait for the handler, those being tried again included."""

    def __init__(self, terms: Terms, handler: Handler, give_up: GiveUp, *, most_waiting: int = 1_024) -> None:
        self.terms = terms
        self._handler = handler
        self._give_up = give_up
        self._most_waiting = most_waiting
        self._keys = Keys(terms.window, terms.most_keys)
        self._waiting: deque[Delivery] = deque()
        self._resting: dict[int, tuple[asyncio.TimerHandle, Delivery]] = {}
        self._resting_last = 0
        self._running: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return len(self._waiting) + len(self._resting) >= self._most_waiting

    async def room(self) -> None:
        """Wait until there is room, or the end."""
        while self.full and not self._closed:
            self._room.clear()
            await self._room.wait()

    def offer(self, delivery: Delivery) -> bool:
        """Take an event. False when it is not taken: there is no room, or it is the end."""
        if self._closed or self.full:
            return False
        self._take(delivery)
        return True

    async def once(self, delivery: Delivery) -> tuple[Verdict, str]:
        """Hand it out one time. Returns what came of it, and why."""
        if not await self._keys.begin(delivery.key):
            return Verdict.DONE, ""
        handled = False
        try:
            await self._handler(delivery)
            handled = True
        except Rejected as error:
            handled = True
            _log.warning("an event is rejected", subject=delivery.subject, reason=reason_of(error))
            return Verdict.NEVER, reason_of(error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises
            final = delivery.attempt > self.terms.retries
            _log.warning(
                "an event could not be handled",
                subject=delivery.subject,
                attempt=delivery.attempt,
                final=final,
                exc_info=error,
            )
            return (Verdict.NEVER if final else Verdict.AGAIN), reason_of(error)
        finally:
            self._keys.end(delivery.key, handled=handled)
        return Verdict.DONE, ""

    async def given_up(self, delivery: Delivery, reason: str) -> None:
        """Make it a dead letter, where the subscription wants that."""
        if self.terms.dead_letter and not delivery.subject.endswith(DEAD):
            await self._give_up(delivery, reason)
        else:
            _log.error("an event is lost", subject=delivery.subject, reason=reason, attempts=delivery.attempt)

    async def drain(self, grace: float) -> None:
        """Finish what there is within `grace` seconds, retries at once, then cancel the rest."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        for number, (timer, _) in list(self._resting.items()):
            timer.cancel()
            self._again(number)
        try:
            async with asyncio.timeout_at(until):
                await self._idle.wait()
        except TimeoutError:
            _log.warning("events are given up although they were not handled", waiting=len(self._waiting))
        await self.close()

    async def close(self) -> None:
        """Cancel what is under way and forget what waits."""
        self._closed = True
        self._waiting.clear()
        for timer, _ in self._resting.values():
            timer.cancel()
        self._resting.clear()
        self._room.set()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)
        self._idle.set()

    def _take(self, delivery: Delivery) -> None:
        self._idle.clear()
        if len(self._running) < self.terms.concurrency:
            task = asyncio.create_task(self._work(delivery))
            self._running.add(task)
            task.add_done_callback(self._worked)
        else:
            self._waiting.append(delivery)

    async def _work(self, delivery: Delivery) -> None:
        verdict, reason = await self.once(delivery)
        if verdict is Verdict.AGAIN and not self._closed:
            self._rest(replace(delivery, attempt=delivery.attempt + 1), backoff_of(self.terms, delivery.attempt))
        elif verdict is Verdict.NEVER:
            try:
                await self.given_up(delivery, reason)
            except Fault as fault:
                _log.error("a dead letter could not be sent", subject=delivery.subject, code=fault.code)

    def _rest(self, delivery: Delivery, seconds: float) -> None:
        self._resting_last += 1
        number = self._resting_last
        timer = asyncio.get_running_loop().call_later(seconds, self._again, number)
        self._resting[number] = (timer, delivery)

    def _worked(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("handing an event out failed", exc_info=error)
        while self._waiting and len(self._running) < self.terms.concurrency:
            self._take(self._waiting.popleft())
        if not self.full:
            self._room.set()
        if not (self._running or self._waiting or self._resting):
            self._idle.set()

    def _again(self, number: int) -> None:
        _, delivery = self._resting.pop(number)
        if not self._closed:
            self._take(delivery)
