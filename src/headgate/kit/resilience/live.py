"""A stream under way that several read: from its beginning, each at their own pace.

While it is small everything is kept, so whoever attaches late reads from the start, and the producer runs
as fast as it can. Once it outgrows `largest` bytes it is no longer recorded: nobody can attach any more,
what all have read is dropped, and the producer waits for the slowest reader whenever more than `largest`
bytes are unread. A reader who keeps another that has read everything waiting for more than `stall` seconds
is cut off with ResourceExhausted (stream_too_slow); a slow reader who is alone just slows the producer.
"""

import asyncio
from collections import deque
from typing import Final

from headgate.kit.controls.faults import ResourceExhausted

CHUNK_OVERHEAD: Final = 64
"""Bytes that a chunk costs besides its own, about."""


class Reader:
    """One reader's place in a stream."""

    __slots__ = ("_live", "error", "position", "waiter")

    def __init__(self, live: "Live") -> None:
        self._live = live
        self.position = 0
        self.waiter: asyncio.Future[None] | None = None
        self.error: BaseException | None = None

    async def next(self) -> bytes | None:
        """The next chunk, None at the end. Raises what ended the stream."""
        while True:
            if self.error is not None:
                raise self.error
            chunk = self._live.take(self)
            if chunk is not None:
                return chunk
            if self._live.ended:
                self._live.raise_error()
                return None
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None

    def wake(self) -> None:
        """There is news."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)


class Live:
    """The chunks of a stream under way. One producer calls `put` and `end`."""

    def __init__(self, *, largest: int, stall: float) -> None:
        self._largest = largest
        self._stall = stall
        self._chunks: deque[bytes] = deque()
        # The number of the first chunk that is still kept.
        self._first = 0
        self._unread = 0
        self._room: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self.readers: set[Reader] = set()
        self.recording = True
        self.ended = False
        self.cut = 0

    def attach(self) -> Reader:
        """A reader at the beginning; only while the stream is recorded."""
        reader = Reader(self)
        self.readers.add(reader)
        return reader

    def detach(self, reader: Reader) -> None:
        """The reader is gone."""
        self.readers.discard(reader)
        self._make_room()

    def take(self, reader: Reader) -> bytes | None:
        """The reader's next chunk; None when it has read everything so far."""
        index = reader.position - self._first
        if index >= len(self._chunks):
            return None
        chunk = self._chunks[index]
        reader.position += 1
        if not self.recording:
            self._make_room()
        return chunk

    async def put(self, chunk: bytes) -> None:
        """Hand on a chunk, and wait while too much is unread."""
        self._chunks.append(chunk)
        self._unread += len(chunk) + CHUNK_OVERHEAD
        for reader in self.readers:
            reader.wake()
        if self.recording:
            if self._unread <= self._largest:
                return
            self.recording = False
        self._drop_read()
        while self._unread > self._largest and self.readers:
            await self._wait_for_room()

    def end(self, error: Exception | None = None) -> None:
        """There are no more chunks: the stream is complete, or it failed."""
        self.ended = True
        self._error = error
        for reader in self.readers:
            reader.wake()

    def raise_error(self) -> None:
        """Raise what the stream ended with, if anything."""
        if self._error is not None:
            # Every reader raises the same error; none adds its frames to it.
            raise self._error.with_traceback(None)

    def chunks(self) -> list[bytes]:
        """Everything, while it is recorded."""
        return list(self._chunks)

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._stall):
                await self._room
        except TimeoutError:
            self._cut_off()
        finally:
            self._room = None

    def _make_room(self) -> None:
        if self.recording:
            return
        self._drop_read()
        if self._room is not None and not self._room.done() and self._unread <= self._largest:
            self._room.set_result(None)

    def _drop_read(self) -> None:
        """Drop what all have read."""
        first = min((reader.position for reader in self.readers), default=self._first + len(self._chunks))
        while self._first < first:
            self._unread -= len(self._chunks.popleft()) + CHUNK_OVERHEAD
            self._first += 1

    def _cut_off(self) -> None:
        """Cut off the slowest readers, if somebody waits who has read everything."""
        end = self._first + len(self._chunks)
        waiting = any(reader.waiter is not None and reader.position == end for reader in self.readers)
        if self._unread <= self._largest or not waiting:
            return
        for reader in [each for each in self.readers if each.position == self._first]:
            self.cut += 1
            reader.error = ResourceExhausted(
                "this stream was read too slowly to be shared with others",
                code="stream_too_slow",
                hint="read faster, or ask again",
            )
            reader.wake()
            self.detach(reader)
