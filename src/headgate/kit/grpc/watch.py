"""Keeps a call within its time: until the first message, between messages, in all.

    watch = Watch(ticker, call, clock)
    watch.start()
    ...            # watch.progress() with every message sent
    watch.stop()

When time is up the task that made the watch is cancelled, and `expired` says why. A call that is over at once
costs no timer: one ticker looks at all that have been running for a while, and only those get timers of
their own. A message that is sent only notes the time; the timer looks at it when it fires.
"""

import asyncio
import math
from collections.abc import Callable
from typing import Any

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import DeadlineExceeded


class Ticker:
    """Calls `look` of the watches that are between `period` seconds old and twice that; one timer for all."""

    __slots__ = ("_loop", "_old", "_young", "period")

    def __init__(self, period: float = 0.1) -> None:
        self.period = period
        self._loop: asyncio.AbstractEventLoop | None = None
        self._young: set[Watch] = set()
        self._old: set[Watch] = set()

    def add(self, watch: "Watch") -> "set[Watch]":
        """Take a watch in. Returns the set to take it out of when it stops."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._young, self._old = loop, set(), set()
            loop.call_later(self.period, self._turn, loop)
        self._young.add(watch)
        return self._young

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return
        due, self._old, self._young = self._old, self._young, set()
        if self._old:
            loop.call_later(self.period, self._turn, loop)
        else:
            self._loop = None
        for watch in tuple(due):
            # One that is cancelled may be the end of others, which leave the set at once.
            if watch in due:
                watch.look()


class Watch:
    """The limits of one call, on the clock of `call.started`. Cancels the task that starts it."""

    _task: "asyncio.Task[Any] | None" = None
    _bucket: "set[Watch] | None" = None
    _handle: asyncio.TimerHandle | None = None
    _last = 0.0
    _timed = False
    expired: DeadlineExceeded | None = None
    """Why the task was cancelled, if this did it."""

    def __init__(self, ticker: Ticker, call: Call, clock: Callable[[], float]) -> None:
        self._ticker = ticker
        self._call = call
        self._clock = clock

    def start(self) -> None:
        """Begin to watch, with what the call's budget and its caller's deadline leave."""
        call = self._call
        budget = call.budget
        first, idle, total = budget.first_byte, budget.idle, budget.total
        started, near = call.started, 2 * self._ticker.period
        end = call.deadline
        if total is not None and (end is None or started + total < end):
            end = call.deadline = started + total
        self._timed = idle is not None or first is not None
        if not self._timed and end is None:
            return
        self._task = asyncio.current_task()
        if (
            (end is not None and end - started <= near)
            or (first is not None and first <= near)
            or (idle is not None and idle <= near)
        ):
            self.look()
        else:
            self._bucket = self._ticker.add(self)

    def progress(self) -> None:
        """A message was sent."""
        if not self._timed:
            return
        first = not self._last
        self._last = self._clock()
        if first and self._handle is not None:
            # Until now the limit was that of the first message: the next gap's may be nearer.
            self.look()

    def stop(self) -> None:
        """Watch no longer."""
        if self._bucket is not None:
            self._bucket.discard(self)
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def look(self) -> None:
        """End the call when its time is up, else come back when it may be."""
        self.stop()
        now, gap, end = self._clock(), self._gap(), self._call.deadline
        if end is not None and end <= now:
            self._expire(f"not done within {end - self._call.started:.3g} s")
        elif gap is not None and gap <= now:
            budget = self._call.budget
            self._expire(
                f"nothing further within {budget.idle:g} s"
                if self._last
                else f"no answer within {budget.first_byte:g} s"
            )
        else:
            due = min(each for each in (end, gap, math.inf) if each is not None)
            if due < math.inf:
                self._handle = asyncio.get_running_loop().call_later(due - now, self.look)

    def _gap(self) -> float | None:
        """When the next message is due."""
        budget = self._call.budget
        if self._last:
            return None if budget.idle is None else self._last + budget.idle
        return None if budget.first_byte is None else self._call.started + budget.first_byte

    def _expire(self, message: str) -> None:
        self.expired = DeadlineExceeded(
            message, code="request_timeout", hint="ask for less at a time, or allow more time"
        )
        if self._task is not None:
            self._task.cancel()
