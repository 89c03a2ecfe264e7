"""What a caller sends, read a little ahead, so that their leaving is noticed while nobody listens.

An application that is busy does not wait in `receive()`, and nothing else tells it that its caller went away.
The inbox does: it reads ahead as far as little memory goes, hands over what it read when it is asked, and
shares the news of a disconnect with everybody who waits.

    inbox = Inbox(receive, left=lambda message, heard: ...)
    inbox.start()
    message = await inbox.receive()
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from starlette.types import Message, Receive

DISCONNECTS: Final = frozenset(("http.disconnect", "websocket.disconnect"))

_MOST_BYTES: Final = 65_536
_MOST_MESSAGES: Final = 16


class Inbox:
    """Wraps a server's `receive`. `left` is told once that the caller went away, and whether somebody heard it."""

    __slots__ = ("_gone", "_left", "_messages", "_pump", "_receive", "_room", "_waiters")

    def __init__(self, receive: Receive, left: Callable[[Message, bool], None]) -> None:
        self._receive = receive
        self._left = left
        self._messages: deque[Message] = deque()
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

    async def retire(self) -> list[Message]:
        """Stop, and wait until the server's `receive` is free again. Returns the messages that nobody took."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
        return [*self._messages, self._gone] if self._gone is not None else [*self._messages]

    def gone(self, message: Message, *, heard: bool = False) -> None:
        """The caller went away, as `message` says; `receive` gives it from now on."""
        if self._gone is None:
            self._gone = message
            heard = heard or bool(self._waiters)
            self._wake()
            self._left(message, heard)

    async def receive(self) -> Message:
        """The next message. Any number of callers may wait; a cancelled one loses nothing."""
        while True:
            if self._messages:
                message = self._messages.popleft()
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
            self._messages.append(message)
            self._wake()
            while self._full():
                self._room = loop.create_future()
                await self._room

    def _full(self) -> bool:
        messages = self._messages
        return len(messages) >= _MOST_MESSAGES or sum(map(_size, messages)) >= _MOST_BYTES

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


def _size(message: Message) -> int:
    return len(message.get("body") or message.get("bytes") or message.get("text") or b"")
