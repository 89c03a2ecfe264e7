"""Calls of one subject: so many run, so many wait, and one that never waits for anything costs no task of its own.

    calls = Calls(serve, most=64, most_waiting=1_024)
    accepted = calls.came(Running(reply, data, head, time.monotonic()))

What came within one turn of the event loop is begun by one task, one call after the other, each in a context of its
own. A call that waits keeps the task, and another task goes on with those behind it: so each call is in the task that
`asyncio.current_task` names from its first step to its last, and may be cancelled there. While a call waits its time is
kept: `until` is when it is cancelled, on the clock of `time.monotonic`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine as coroutine_of
from typing import Any, Final

import structlog

_AT_A_TIME: Final = 16
"""So many are begun before what they answered is sent, and whoever else waits for the loop has it."""
_BROKE: Final = "a call broke its wire"
_log = structlog.get_logger("headgate.service")

Serve = Callable[["Running"], Coroutine[Any, Any, None]]


class Running:
    """A call: what came, and once it waits the task it is in."""

    __slots__ = ("data", "head", "late", "left", "reply", "started", "task", "until")

    def __init__(self, reply: bytes, data: bytes, head: bytes, started: float) -> None:
        self.reply = reply
        self.data = data
        self.head = head
        self.started = started
        self.task: asyncio.Task[None] | None = None
        self.until: float | None = None
        self.late = False
        self.left = False
        """Whether its caller is gone."""

    def expire(self) -> None:
        """Its time is up."""
        if self.task is not None:
            self.late = True
            self.task.cancel("the time ran out")


class Calls:
    """See the module. `serve` answers one call; what it raises is logged."""

    __slots__ = ("_beginning", "_context", "_loop", "_most", "_serve", "_total", "running", "tasks", "waiting")

    def __init__(self, serve: Serve, most: int, most_waiting: int) -> None:
        self._serve = serve
        self._most = most
        self._total = most + most_waiting
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._beginning: asyncio.Task[None] | None = None
        self.running: set[Running] = set()
        """Those that wait for something."""
        self.waiting: deque[Running] = deque()
        """Those not begun."""
        self.tasks: set[asyncio.Task[None]] = set()

    def came(self, call: Running) -> bool:
        """Take one more; False when there are too many."""
        if len(self.waiting) + len(self.running) >= self._total:
            return False
        self.waiting.append(call)
        if self._beginning is None:
            self._go_on()
        return True

    def cancel(self, reply: bytes) -> None:
        """Cancel the calls that would be answered there."""
        for call in [each for each in self.waiting if each.reply == reply]:
            self.waiting.remove(call)
        for call in self.running:
            if call.reply == reply and call.task is not None:
                call.left = True
                call.task.cancel("its caller left")

    def _go_on(self) -> None:
        """Begin what waits, as far as it may run."""
        if self._beginning is None and self.waiting and len(self.running) < self._most:
            task = self._beginning = asyncio.Task(self._begin(), loop=self._loop)
            self.tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """A task is over, perhaps before its first step."""
        self.tasks.discard(task)
        if self._beginning is task:
            self._beginning = None
            self._go_on()

    async def _begin(self) -> None:
        task = asyncio.current_task()
        waiting, running, context, serve = self.waiting, self.running, self._context, self._serve
        begun = 0
        try:
            while waiting and len(running) < self._most:
                call = waiting.popleft()
                coroutine, own = serve(call), context.copy()
                try:
                    awaited = own.run(coroutine.send, None)
                except StopIteration:
                    if task is not None and task.cancelling():
                        return
                    begun += 1
                    if begun % _AT_A_TIME == 0:
                        await asyncio.sleep(0)
                    continue
                except Exception:  # noqa: BLE001 - outermost
                    _log.exception(_BROKE)
                    continue
                self._waits(call, task)
                try:
                    await _rest(call, coroutine, own, awaited)
                except Exception:  # noqa: BLE001 - outermost
                    _log.exception(_BROKE)
                finally:
                    running.discard(call)
                    call.task = None
                return
        finally:
            if self._beginning is task:
                self._beginning = None
            self._go_on()

    def _waits(self, call: Running, task: "asyncio.Task[None] | None") -> None:
        """A call keeps the task it is in."""
        call.task = task
        self.running.add(call)
        if self._beginning is task:
            self._beginning = None
        self._go_on()


@coroutine_of
def _rest(
    call: Running, coroutine: Coroutine[Any, Any, None], context: Context, awaited: Any
) -> Generator[Any, Any, None]:
    """Hand on what the call waits for until it is over, and cancel it when its time is up."""
    timer: asyncio.TimerHandle | None = None
    try:
        while True:
            if timer is None and call.until is not None:
                left = max(0.0, call.until - time.monotonic())
                timer = asyncio.get_running_loop().call_later(left, call.expire)
            try:
                yield awaited
            except GeneratorExit:
                context.run(coroutine.close)
                raise
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is for the call
                awaited = context.run(coroutine.throw, error)
            else:
                awaited = context.run(coroutine.send, None)
    except StopIteration:
        return
    finally:
        if timer is not None:
            timer.cancel()
