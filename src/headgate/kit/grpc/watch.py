"""Keeps a call within its time: until the first message, between messages, in all.

    watch = Watch(task, call, clock)
    watch.start()
    ...            # watch.progress() with every message sent
    watch.stop()

When time is up the task is cancelled, and `expired` says why. One timer serves all three limits: a message
that is sent only notes the time, and the timer looks at it when it fires.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import DeadlineExceeded


class Watch:
    """The limits of one call, on the clock of `call.started`. Raises nothing: it cancels `task`."""

    __slots__ = ("_call", "_clock", "_handle", "_last", "_task", "_timed", "expired")

    def __init__(self, task: "asyncio.Task[Any] | None", call: Call, clock: Callable[[], float]) -> None:
        self._task = task
        self._call = call
        self._clock = clock
        self._handle: asyncio.TimerHandle | None = None
        self._last = 0.0
        self._timed = False
        self.expired: DeadlineExceeded | None = None

    def start(self) -> None:
        """Begin to watch, with what the call's budget and its caller's deadline leave."""
        call = self._call
        budget = call.budget
        if budget.total is not None:
            end = call.started + budget.total
            if call.deadline is None or end < call.deadline:
                call.deadline = end
        self._timed = budget.first_byte is not None or budget.idle is not None
        if self._timed or call.deadline is not None:
            self._arm(self._clock())

    def progress(self) -> None:
        """A message was sent."""
        if not self._timed:
            return
        first = not self._last
        self._last = self._clock()
        if first:
            # Until now the limit was that of the first message: the next gap's may be nearer.
            self.stop()
            self._arm(self._last)

    def stop(self) -> None:
        """Watch no longer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _gap(self) -> float | None:
        """When the next message is due."""
        budget = self._call.budget
        if self._last:
            return None if budget.idle is None else self._last + budget.idle
        return None if budget.first_byte is None else self._call.started + budget.first_byte

    def _arm(self, now: float) -> None:
        gap, end = self._gap(), self._call.deadline
        due = end if gap is None else gap if end is None else min(gap, end)
        if due is not None:
            self._handle = asyncio.get_running_loop().call_later(max(0.0, due - now), self._look)

    def _look(self) -> None:
        now, gap, end = self._clock(), self._gap(), self._call.deadline
        self._handle = None
        if end is not None and end <= now:
            self._expire(f"not done within {end - self._call.started:g} s")
        elif gap is not None and gap <= now:
            budget = self._call.budget
            self._expire(
                f"nothing further within {budget.idle:g} s"
                if self._last
                else f"no answer within {budget.first_byte:g} s"
            )
        else:
            self._arm(now)

    def _expire(self, message: str) -> None:
        self.expired = DeadlineExceeded(
            message, code="request_timeout", hint="ask for less at a time, or allow more time"
        )
        if self._task is not None:
            self._task.cancel()
