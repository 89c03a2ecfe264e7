"""A cache for streams: the first caller's is shared live, the next ones read along, later ones hear it again.

    streams = StreamCache(StreamPolicy(seconds=300), shared=SharedStore(url))

    async for chunk in streams.stream_or_call(key, lambda: model.stream(prompt)):
        await send(chunk)

    @streams.cached("tell_story", tenant=current_team, version="prompt-3")
    async def tell_story(topic: str) -> AsyncIterator[str]: ...

The chunks are the same for everybody, in the same pieces. Who comes while the stream runs reads it from
its beginning, then live. Only a stream that came to its end without an error is kept; an error goes to all
who read along, after the chunks before it. When the last reader leaves, the producer is cancelled, unless
`finish_alone` is set. One that outgrows `largest` is handed on and not kept (`headgate.kit.resilience.live`
has the rules for slow readers). A reader leaves by `aclose()`, by being cancelled, or by being dropped.

Complete streams also go to the `SharedStore`, for other processes.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, TypeVar

from headgate.kit.controls.faults import Aborted, InvalidArgument, Violation
from headgate.kit.resilience.codec import JSON, Codec
from headgate.kit.resilience.decorate import CachedStream, Keys
from headgate.kit.resilience.levels import CacheObserver, Levels
from headgate.kit.resilience.live import Live
from headgate.kit.resilience.shared import SharedStore, StoreDown

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamPolicy:
    """How long streams live and how much of them. Times in seconds, sizes in bytes. Raises InvalidArgument.

    A complete stream is kept for `seconds`; `entries` and `size` bound the memory, `largest` one stream and
    what is unread of one that is not kept. At most `streams` are shared while they run, which take up to
    `streams` times `largest`; any over that go straight to their caller. With a shared store, memory is
    asked for `memory_seconds` before the store is.
    """

    seconds: float = 300.0
    entries: int = 1024
    size: int = 64_000_000
    largest: int = 1_000_000
    streams: int = 256
    stall_seconds: float = 10.0
    finish_alone: bool = False
    memory_seconds: float = 10.0

    def __post_init__(self) -> None:
        positive = ("seconds", "entries", "size", "largest", "streams", "stall_seconds", "memory_seconds")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        if wrong:
            raise InvalidArgument(
                "a cache of streams cannot work like this: " + ", ".join(wrong),
                violations=[Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in wrong],
                hint="times, counts and sizes are positive",
            )


class StreamCache(Levels):
    """A cache for the chunks of asynchronous iterators. Belongs to one event loop.

    `context()` gives the context that producers run in; without it a copy of the first caller's.
    """

    _suffix: ClassVar[str] = ":stream"

    def __init__(
        self,
        policy: StreamPolicy | None = None,
        *,
        shared: SharedStore | None = None,
        observer: CacheObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        context: Callable[[], Context] | None = None,
    ) -> None:
        self._policy = policy = policy or StreamPolicy()
        super().__init__(policy, shared, observer, clock)
        self._context = context
        self._live: dict[str, Live] = {}
        self._producers: dict[Live, asyncio.Task[None]] = {}

    async def stream_or_call(
        self,
        key: str,
        produce: Callable[[], AsyncIterator[T]],
        *,
        codec: Codec[T] = JSON,
        seconds: float | None = None,
    ) -> AsyncGenerator[T, None]:
        """The chunks kept or under way for `key` (of `cache_key`), or those of `produce()`, kept for `seconds`.

        Each chunk is the reader's own. Raises what the producer raises, Aborted (shared_stream_cancelled)
        when it was cancelled from inside, and ResourceExhausted (stream_too_slow).
        """
        entry = self._memory.get(key, self._clock())
        if entry is not None:
            self._count(key, "hit")
            for chunk in split(entry.data):
                yield codec.decode(chunk)
            return
        live = self._live.get(key)
        if live is not None and not live.recording:
            # Its beginning is gone.
            live = None
        self._count(key, "miss" if live is None else "joined")
        if live is None and len(self._producers) >= self._policy.streams:
            self._count(key, "call")
            async with _closing(produce()) as chunks:
                async for value in chunks:
                    yield codec.decode(codec.encode(value))
            return
        if live is None:
            live = self._begin(key, produce, codec, self._policy.seconds if seconds is None else seconds)
        reader = live.attach()
        try:
            while (data := await reader.next()) is not None:
                yield codec.decode(data)
        finally:
            live.detach(reader)
            self._left(key, live)

    def cached(
        self,
        namespace: str,
        *,
        tenant: Callable[[], str] | None,
        version: str = "",
        seconds: float | None = None,
        ignore: tuple[str, ...] = (),
    ) -> Callable[[Callable[P, AsyncIterator[T]]], CachedStream[P, T]]:
        """Decorate an async generator function; the arguments are those of `FlowCache.cached`."""

        def decorate(function: Callable[P, AsyncIterator[T]]) -> CachedStream[P, T]:
            keys = Keys(function, namespace, tenant=tenant, version=version, ignore=ignore)

            def ask(key: str, produce: Callable[[], AsyncIterator[T]]) -> AsyncGenerator[T, None]:
                return self.stream_or_call(key, produce, codec=keys.codec, seconds=seconds)

            return CachedStream(function, keys, ask, self.invalidate)

        return decorate

    async def aclose(self) -> None:
        """Cancel what is under way and wait until it is over."""
        tasks = list(self._producers.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, produce: Callable[[], AsyncIterator[T]], codec: Codec[T], seconds: float) -> Live:
        live = self._live[key] = Live(largest=self._policy.largest, stall=self._policy.stall_seconds)
        task = asyncio.get_running_loop().create_task(
            self._produce(key, live, produce, codec, seconds),
            context=None if self._context is None else self._context(),
        )
        self._producers[live] = task
        task.add_done_callback(lambda _: self._ended(key, live))
        return live

    async def _produce(
        self, key: str, live: Live, produce: Callable[[], AsyncIterator[T]], codec: Codec[T], seconds: float
    ) -> None:
        try:
            found = await self._find(key, live, codec)
            if not found:
                await self._call(key, live, produce, codec)
        except Exception as error:  # noqa: BLE001 - it is the readers' to raise
            self._count(key, "error")
            self._forget(key, live)
            live.end(error)
            return
        if not live.recording:
            self._count(key, "too_large")
        keep = not found and live.recording and self._live.get(key) is live
        data = join(live.chunks()) if keep else b""
        if keep:
            here = seconds if self._shared is None else min(seconds, self._policy.memory_seconds)
            self._memory.put(key, data, now=self._clock(), fresh=here)
        self._forget(key, live)
        live.end()
        if keep and self._shared is not None:
            try:
                await self._shared.put(key + self._suffix, data, seconds)
            except StoreDown:
                return

    async def _call(self, key: str, live: Live, produce: Callable[[], AsyncIterator[T]], codec: Codec[T]) -> None:
        self._count(key, "call")
        async with _closing(produce()) as chunks:
            async for value in chunks:
                await live.put(codec.encode(value))
                if not (live.recording or live.readers):
                    return

    async def _find(self, key: str, live: Live, codec: Codec[T]) -> bool:
        """Whether the shared store had the stream; its chunks are handed on."""
        if self._shared is None:
            return False
        try:
            found = await self._shared.get(key + self._suffix)
        except StoreDown:
            return False
        if found is None:
            return False
        try:
            chunks = list(split(found.data))
            for chunk in chunks:
                codec.decode(chunk)
        except ValueError:
            return False
        self._count(key, "shared_hit")
        if self._live.get(key) is live:
            here = min(found.left, self._policy.memory_seconds)
            self._memory.put(key, found.data, now=self._clock(), fresh=here)
        for chunk in chunks:
            await live.put(chunk)
        return True

    def _left(self, key: str, live: Live) -> None:
        """A reader left."""
        if live.readers or live.ended or (self._policy.finish_alone and live.recording):
            return
        self._count(key, "abandoned")
        self._forget(key, live)
        self._producers[live].cancel()

    def _ended(self, key: str, live: Live) -> None:
        self._producers.pop(live, None)
        self._forget(key, live)
        for _ in range(live.cut):
            self._count(key, "cut_off")
        if not live.ended:
            live.end(
                Aborted(
                    "the stream this one read along was cancelled", code="shared_stream_cancelled", hint="try again"
                )
            )

    def _forget(self, key: str, live: Live) -> None:
        if self._live.get(key) is live:
            del self._live[key]

    def _detach(self, key: str) -> None:
        self._live.pop(key, None)

    def _detach_all(self, prefix: str) -> None:
        for key in [key for key in self._live if key.startswith(prefix)]:
            del self._live[key]

    def _under_way(self) -> int:
        return len(self._producers)


@asynccontextmanager
async def _closing(chunks: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """Close an iterator that can be closed."""
    try:
        yield chunks
    finally:
        aclose: Any = getattr(chunks, "aclose", None)
        if aclose is not None:
            await aclose()


def join(chunks: list[bytes]) -> bytes:
    """Chunks as one, each after its length in four bytes."""
    return b"".join(part for chunk in chunks for part in (len(chunk).to_bytes(4, "big"), chunk))


def split(data: bytes) -> Iterator[bytes]:
    """The chunks again. Raises ValueError when they are not whole."""
    position = 0
    while position < len(data):
        start = position + 4
        position = start + int.from_bytes(data[position:start], "big")
        if position > len(data):
            raise ValueError("a chunk is cut short")
        yield data[start:position]
