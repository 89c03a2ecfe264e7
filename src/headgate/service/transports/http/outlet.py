"""An answer that is a stream, on its way out.

    outlet = Outlet(send, status, form.headers, idle=EVENTS.idle, opening=0.25, heartbeat=15.0)
    await outlet.put(frame)
    await outlet.put(last_frame, more=False)
    outlet.close()

The answer begins with its first frame, so that a fault before it still has a status, but after `opening` seconds in
any case, so that a caller knows that it was heard. While nothing comes, `idle` is sent every `heartbeat` seconds.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from starlette.types import Send

TURN: Final = 32
"""Frames that are put before others have their turn: servers take all that is sent to a caller who left at once."""


class Outlet:
    """See the module. One task puts frames. With `heartbeat` 0 `idle` only opens an answer that is slow to come."""

    def __init__(
        self,
        send: Send,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        idle: bytes,
        opening: float,
        heartbeat: float,
    ) -> None:
        self.begun = False
        self._send = send
        self._status = status
        self._headers = headers
        self._idle = idle
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._touched = 0.0
        self._busy = False
        self._put = 0
        self._beating: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = self._loop.call_later(opening, self._due)

    async def put(self, data: bytes, *, more: bool = True) -> None:
        """Send a frame, with the start of the answer if it is the first; returns when there is room for another."""
        if self._beating is not None:
            await asyncio.wait([self._beating])
        self._busy = True
        try:
            await self._start()
            await self._send({"type": "http.response.body", "body": data, "more_body": more})
        finally:
            self._busy = False
            self._touched = self._loop.time()
        self._put += 1
        if not self._put % TURN:
            await asyncio.sleep(0)

    def close(self) -> None:
        """Send nothing more by itself."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._beating is not None:
            self._beating.cancel()

    async def _start(self) -> None:
        if not self.begun:
            self.begun = True
            headers = list(self._headers)
            await self._send({"type": "http.response.start", "status": self._status, "headers": headers})

    def _due(self) -> None:
        """The timer's turn: say something, unless that was done, or is being done."""
        left = self._touched + self._heartbeat - self._loop.time() if self.begun else 0.0
        if self._busy or left > 0:
            self._again(max(left, 0.0) or self._heartbeat)
            return
        self._beating = self._loop.create_task(self._beat())
        self._beating.add_done_callback(self._beaten)

    async def _beat(self) -> None:
        with suppress(OSError):  # the caller left, which is noticed elsewhere
            await self._start()
            if self._idle:
                await self._send({"type": "http.response.body", "body": self._idle, "more_body": True})

    def _beaten(self, task: asyncio.Task[None]) -> None:
        self._beating = None
        self._touched = self._loop.time()
        if not task.cancelled() and task.exception() is None:
            self._again(self._heartbeat)

    def _again(self, seconds: float) -> None:
        wanted = seconds > 0 and bool(self._idle)
        if self._timer is not None:
            self._timer = self._loop.call_later(seconds, self._due) if wanted else None
