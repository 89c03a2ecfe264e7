"""An event loop whose clock jumps: when nothing can happen now, it is at once the time when something will.

    with virtual_time(seed=7) as loop:
        loop.run_until_complete(story())            # an hour of sleeping takes no time

`time.monotonic`, `random` and `uuid.uuid4` follow the loop and the seed meanwhile. Sockets and processes live in real
time and have no place here; work in threads is waited for before the clock jumps.
"""

import asyncio
import random
import selectors
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

START: Final = 1_000.0
"""What the clock says at first, in seconds."""

MOST_SHOWN: Final = 20


class StuckError(AssertionError):
    """Everybody waits, and nothing will ever happen; says who waits where."""


class _Jumping(selectors.DefaultSelector):
    """Waits by letting the loop's clock jump."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> Any:
        if self.loop.threads:
            return super().select(timeout if timeout is not None and timeout <= 0 else None)
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:
            raise StuckError(_who_waits(self.loop))
        self.loop.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module. `threads` is how many pieces of work are under way in threads."""

    def __init__(self, start: float = START) -> None:
        self.now = start
        self.threads = 0
        selector = _Jumping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds on the clock."""
        return self.now

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
        """As always; the clock stands until it is done."""
        self.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._back)
        return future

    async def shutdown_default_executor(self) -> None:
        """As always."""
        self.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self.threads -= 1

    def _back(self, _future: Any) -> None:
        self.threads -= 1


@contextmanager
def virtual_time(seed: int, loop: VirtualLoop | None = None) -> Iterator[VirtualLoop]:
    """A loop of its own, or `loop`, with clock and chance of the process following it; closed and undone at the end."""
    loop = loop or VirtualLoop()
    chance = random.Random(seed)  # noqa: S311 - shown again, not secret
    state = random.getstate()
    before: tuple[Callable[[], float], Any] = time.monotonic, uuid.uuid4
    random.seed(seed)
    time.monotonic, uuid.uuid4 = loop.time, lambda: uuid.UUID(int=chance.getrandbits(128), version=4)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.get_loop()
            yield loop
    finally:
        time.monotonic, uuid.uuid4 = before
        random.setstate(state)


def _who_waits(loop: asyncio.AbstractEventLoop) -> str:
    tasks = sorted(asyncio.all_tasks(loop), key=lambda each: each.get_name())
    lines = [f"nothing will ever happen: {len(tasks)} tasks wait for each other, or for a socket"]
    for task in tasks[:MOST_SHOWN]:
        frames = task.get_stack(limit=1)
        where = f"{frames[-1].f_code.co_filename}:{frames[-1].f_lineno}" if frames else "nowhere"
        lines.append(f"  {task.get_name()} at {where}")
    return "\n".join(lines)
