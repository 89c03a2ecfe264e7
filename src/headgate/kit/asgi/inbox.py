"""What a caller sends, read ahead by one message, so that their leaving is noticed while nobody listens.

An application that is busy does not wait in `receive()`, and nothing else tells it that its caller went away.
The inbox does: it reads one message ahead, hands it over when it is asked for, and shares the news of a
disconnect with everybody who waits.

    inbox = Inbox(receive, left=lambda heard: ...)
    inbox.start()
    message = await inbox.receive()
"""

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Receive

DISCONNECTS: Final = frozenset(("http.disconnect", "websocket.disconnect"))


class Inbox:
    """Wraps a server's `receive`. `left` is told once that the caller went away, and whether somebody heard it."""

    __slots__ = ("_gone", "_left", "_message", "_pump", "_receive", "_room", "_waiters")

    def __init__(self, receive: Receive, left: Callable[[bool], None]) -> None:
        self._receive = receive
        self._left = left
        self._message: Message | None = None
        self._gone: Message | None = None
        self._room: asyncio.Future[None] | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._pump: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to read ahead, unless that is so already."""
        if self._pump is None and self._gone is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        """Read no more."""
        if self._pump is not None:
            self._pump.cancel()

    async def retire(self) -> Message | None:
        """Stop, and wait until the server's `receive` is free again. Returns the message that nobody took."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        return self._message or self._gone

    def gone(self, message: Message) -> None:
        """The caller went away, as `message` says; `receive` gives it from now on."""
        if self._gone is None:
            self._gone = message
            heard = bool(self._waiters)
            self._wake()
            self._left(heard)

    async def receive(self) -> Message:
        """The next message. Any number of callers may wait; a cancelled one loses nothing."""
        while True:
            message = self._message
            if message is not None:
                self._message = None
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                return message
            if self._gone is not None:
                return self._gone
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            message = await self._receive()
            if message["type"] in DISCONNECTS:
                self.gone(message)
                return
            self._message = message
            self._wake()
            while self._message is not None:
                self._room = loop.create_future()
                await self._room

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
