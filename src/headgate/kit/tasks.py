"""Ending tasks of one's own that run for ever.

    await end(self._following, self._writing)

A task can miss that it was cancelled: libraries swallow it, `asyncio.wait_for` before Python 3.12 among them when what
it waits for comes at the same moment. Whoever waited for such a task's end would wait for ever.
"""

import asyncio
from typing import Any

AGAIN_SECONDS = 1.0


async def end(*tasks: "asyncio.Future[Any] | None", again: float = AGAIN_SECONDS) -> None:
    """Cancel tasks, once more every `again` seconds, and return when they are over. What they raised is dropped.

    Not for tasks that run what users wrote: those may need their time to clean up, undisturbed.
    """
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        over, left = await asyncio.wait(left, timeout=again)
        for task in over:
            if not task.cancelled():
                task.exception()
