"""What is the same for requests and sockets: one deadline timer, a watch on the caller, exact cancellation.

A call costs no timer and no task of its own while it is young: a ticker looks at all calls of its loop that
have been running for a while, with one timer for all of them. Only those get a timer, re-armed for whichever
deadline is next when it fires, and an inbox that notices when the caller leaves.
"""

import asyncio
import math
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final

from starlette.types import Message, Receive, Scope, Send

from headgate.kit.asgi.inbox import DISCONNECTS, Inbox
from headgate.kit.controls.call import Budget, Call
from headgate.kit.controls.faults import Cancelled, DeadlineExceeded, Fault, Unavailable

if TYPE_CHECKING:
    from headgate.kit.asgi.shell import Shell

STOPPING: Final = "headgate.stopping"
"""The extension of a scope that holds the event set when calls under way are cancelled because serving ends."""

_FOREVER: Final = math.inf
_HURRIED_SECONDS: Final = 1.0


class Ticker:
    """Calls the `tick` of supervised calls once they are between `period` and twice that many seconds old."""

    __slots__ = ("_loop", "_old", "_thread", "_timer", "_young", "budget", "near", "period")

    def __init__(self, period: float) -> None:
        self.period = period
        self.budget = Budget()
        self.near = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._young: set[Supervised] = set()
        self._old: set[Supervised] = set()

    def add(self, supervised: "Supervised") -> asyncio.Task[Any]:
        """Take a call in, which is taken out of `bucket` when it is over. Returns the task it runs in."""
        task = None
        if get_ident() == self._thread:  # a thread runs one loop at a time: cheaper than to ask which
            task = asyncio.current_task(self._loop)
        if task is None:
            task = self._adopt()
        if self._timer is None:
            self._timer = task.get_loop().call_later(self.period, self._turn, self._loop)
        supervised.bucket = young = self._young
        young.add(supervised)
        return task

    def _adopt(self) -> asyncio.Task[Any]:
        """Serve the loop that runs now. What another one's calls still need is theirs."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("the shell must run in a task")
        loop = task.get_loop()
        if loop is not self._loop:
            self._loop, self._timer, self._young, self._old = loop, None, set(), set()
        self._thread = get_ident()
        return task

    def learn(self, budget: Budget) -> None:
        """Most calls have the same budget: whether it is `near`, sooner up than the ticker looks, is found out once."""
        limits = (budget.first_byte, budget.idle, budget.total)
        self.near = any(limit is not None and limit < 2 * self.period for limit in limits)
        self.budget = budget

    def _turn(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is None or loop is not self._loop:
            return
        due, self._old, self._young = self._old, self._young, set()
        self._timer = loop.call_later(self.period, self._turn, loop) if self._old else None
        while due:
            due.pop().tick()


class Supervised:
    """A call under way. Subclasses speak HTTP or WebSocket."""

    verdict: Fault | None = None
    """Why the shell ends this call; from then on nothing the application sends goes out."""
    gone = False
    """Whether the caller went away."""
    patience: float | None = None
    """How long the caller has to take the end of the call, where that is not the shell's `last_words`."""
    bucket: "set[Supervised]"
    """Where the ticker keeps it."""

    # Defaults on the class: making one must cost next to nothing.
    _inbox: Inbox | None = None
    _timer: asyncio.TimerHandle | None = None
    _touched = 0.0
    _direct = 0
    _cancels = 0
    _over = False

    def __init__(self, shell: "Shell", scope: Scope, receive: Receive, send: Send, call: Call) -> None:
        self.shell = shell
        self.scope = scope
        self.call = call
        self._receive = receive
        self._send = send
        self._task = task = shell.ticker.add(self)
        self._cancels_before = task.cancelling()

    def begun(self) -> bool:
        """Whether the answer has begun, so that the deadline for its first byte is kept."""
        return self.call.status != 0

    def settled(self) -> bool:
        """Whether nothing more can come: deadlines and the caller no longer matter."""
        return self.call.complete

    def may_watch(self) -> bool:
        """Whether the inbox may read ahead now."""
        return self._direct == 0

    def admitted(self) -> None:
        """The budget is known now. Deadlines too near for the ticker get their timer at once."""
        call, ticker = self.call, self.shell.ticker
        if call.budget is not ticker.budget:
            ticker.learn(call.budget)
        if ticker.near or (call.deadline is not None and call.deadline < call.started + 2 * ticker.period):
            self._arm()

    def tick(self) -> None:
        """Look after the call: end it when its time is up, else come back at the next deadline."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._over or self.settled():
            return
        if self._cancels or self.gone:
            self.verdict = self.verdict or gone()
            self._cancel()  # it did not obey yet, or did not end after it was told that its caller left
            self._timer = self._task.get_loop().call_later(self.shell.grace, self.tick)
            return
        due, why = self._next()
        if due <= self.shell.clock():
            self.verdict = DeadlineExceeded(why, code="request_timeout", hint="ask for less at a time")
            self.call.refused_by = "deadline"
            self._cancel()
            self._timer = self._task.get_loop().call_later(self.shell.grace, self.tick)
            return
        self._arm(due)
        if self._inbox is None:
            self._inbox = Inbox(self._receive, self.left)
        if self.may_watch():
            self._inbox.start()

    def left(self, message: Message | None, heard: bool) -> None:
        """The caller went away, as the server's `message` says, if it has one for it, and somebody `heard`.

        An application that was told may tidy up for a while; another is cancelled.
        """
        if self._over or self.gone or self.settled():
            return
        self.gone = True
        self.bucket.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._task.get_loop().call_later(self.shell.grace, self.tick)
        self.went(message, heard)

    def went(self, message: Message | None, heard: bool) -> None:
        """What that means at once; the application is cancelled after the time of grace in any case."""
        raise NotImplementedError

    async def receive(self) -> Message:
        """Give the application what the server has to say; through the inbox once there is one."""
        if self._inbox is not None and self._direct == 0:
            self._inbox.start()
            message = await self._inbox.receive()
        else:
            message = await self._receive_directly()
        self.took(message)
        return message

    async def _receive_directly(self) -> Message:
        gone = False
        self._direct += 1
        try:
            message = await self._receive()
            gone = message["type"] in DISCONNECTS
        finally:
            self._direct -= 1
            if self._inbox is not None and self._direct == 0 and not gone:
                self._inbox.start()
        if gone:
            if self._inbox is not None:
                self._inbox.gone(message, heard=True)
            self.left(message, True)
        return message

    def took(self, message: Message) -> None:
        """Count a message that the application is about to get. Raises the fault it gets instead."""
        raise NotImplementedError

    def close(self) -> None:
        """Supervise no more."""
        self._over = True
        self.bucket.discard(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._inbox is not None:
            self._inbox.stop()

    def release(self, error: BaseException | None) -> None:
        """The application is done, or raised `error`. Raises what is not ours: another's cancellation, an exit."""
        self.close()
        task = self._task
        for _ in range(self._cancels):
            task.uncancel()
        self._cancels = 0
        foreign = task.cancelling() > self._cancels_before
        if foreign and self._stopping():
            task.uncancel()
            foreign = task.cancelling() > self._cancels_before
            if self.verdict is None and isinstance(error, asyncio.CancelledError):
                self.verdict = stopping()
                self.patience = _HURRIED_SECONDS
        if error is not None and not isinstance(error, Exception):
            if foreign or self.verdict is None or not isinstance(error, asyncio.CancelledError):
                raise error
        elif foreign:
            raise asyncio.CancelledError

    def _stopping(self) -> bool:
        extensions = self.scope.get("extensions")
        event: asyncio.Event | None = extensions.get(STOPPING) if extensions else None
        return event is not None and event.is_set()

    def _cancel(self) -> None:
        self._cancels += 1
        self._task.cancel()

    def _arm(self, due: float | None = None) -> None:
        """Come back when the next deadline is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is None:
            due, _ = self._next()
        if due < _FOREVER:
            self._timer = self._task.get_loop().call_later(max(0.0, due - self.shell.clock()), self.tick)

    def _next(self) -> tuple[float, str]:
        """When the next deadline is, and what to say when it is missed."""
        call, budget = self.call, self.call.budget
        due, why = _FOREVER, ""
        if not self.begun():
            if budget.first_byte is not None:
                due, why = call.started + budget.first_byte, f"no answer within {budget.first_byte:g} s"
        elif budget.idle is not None:
            due, why = self._touched + budget.idle, f"nothing was sent for {budget.idle:g} s"
        if budget.total is not None and call.started + budget.total < due:
            due, why = call.started + budget.total, f"not done within {budget.total:g} s"
        if call.deadline is not None and call.deadline < due:
            due, why = call.deadline, "not done within the time the caller gave"
        return due, why


def gone() -> Fault:
    """What ends the call of a caller who left."""
    return Cancelled("the caller went away")


def stopping() -> Fault:
    """What ends the calls that go on when serving does."""
    return Unavailable("the server is stopping", code="stopping", retry_after=1.0)
