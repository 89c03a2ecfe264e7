"""Server-sent events: encoded safely, kept alive while idle, ended with an error event, resumable.

    async def tokens():
        async for token in model.stream(prompt):
            yield Event({"token": token})

    StreamingResponse(event_stream(tokens()), headers=HEADERS)          # Starlette, FastAPI
    Response(event_stream(tokens()), headers=HEADERS)                   # Quart
    Stream(event_stream(tokens()), headers=HEADERS)                     # Litestar

Source: the HTML standard, section 9.2.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from headgate.kit.asgi.inputs import fault_of
from headgate.kit.asgi.problems import defect, tell
from headgate.kit.asgi.refusals import error_event
from headgate.kit.controls.faults import Cancelled
from headgate.kit.current import current_call, current_request_id

HEADERS: Final[Mapping[str, str]] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
"""Headers of an event stream. The last one keeps nginx from holding events back."""

HEARTBEAT: Final = b":\n\n"
RESET: Final = b"event: reset\ndata: {}\n\n"
"""Sent first when events are missing between the one the caller had last and those still kept."""

_UNSAFE: Final = str.maketrans("", "", "\r\n\0")


@dataclass(frozen=True, slots=True)
class Event:
    """One event. `data` is text, or what becomes JSON; `name` is what browsers listen for, "message" without one."""

    data: Any
    name: str = ""
    id: str = ""


class Replay:
    """The latest events of one stream, for callers who come back with `Last-Event-ID`.

    Keeps at most `most` events and `most_bytes` of them; the oldest goes first. An event without an id gets a
    number. Share one between the connections of a stream, and not between streams.
    """

    def __init__(self, most: int = 256, most_bytes: int = 1024 * 1024) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: deque[tuple[str, bytes]] = deque()
        self._ids: set[str] = set()
        self._bytes = 0
        self._count = 0

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, event: Event) -> bytes:
        """Keep an event, unless it is kept already. Returns it encoded."""
        self._count += 1
        event_id = event.id.translate(_UNSAFE) or str(self._count)
        encoded = encode(Event(event.data, event.name, event_id))
        if event_id not in self._ids:
            self._kept.append((event_id, encoded))
            self._ids.add(event_id)
            self._bytes += len(encoded)
            while len(self._kept) > self._most or self._bytes > self._most_bytes:
                old, dropped = self._kept.popleft()
                self._ids.discard(old)
                self._bytes -= len(dropped)
        return encoded

    def ids(self) -> frozenset[str]:
        """Those that are kept."""
        return frozenset(self._ids)

    def after(self, event_id: str) -> Iterator[bytes]:
        """The events after that one, encoded; all that are kept after a `reset` when it is no longer known."""
        known = event_id in self._ids
        if not known:
            yield RESET
        for each, encoded in list(self._kept):
            if not known:
                yield encoded
            elif each == event_id:
                known = False


def encode(event: Event) -> bytes:
    """An event as bytes. Line breaks in the data make more `data` lines; in names and ids they are taken out."""
    lines = []
    if event.name:
        lines.append(f"event: {event.name.translate(_UNSAFE)}")
    if event.id:
        lines.append(f"id: {event.id.translate(_UNSAFE)}")
    text = _text(event.data).replace("\r\n", "\n").replace("\r", "\n")
    lines += [f"data: {line}" for line in text.split("\n")]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


async def event_stream(
    source: AsyncIterator[Any],
    *,
    heartbeat: float = 15.0,
    retry_ms: int | None = None,
    last_event_id: str = "",
    replay: Replay | None = None,
) -> AsyncIterator[bytes]:
    """The body of an event stream: each item of `source`, an `Event` or its data, encoded.

    A comment is sent whenever nothing else was for `heartbeat` seconds (0: never). `retry_ms` tells the caller how
    long to wait before coming back. With `replay` events are kept, and a caller who had `last_event_id` gets those
    since then first. When the source fails, the last event is `error` with the problem (an unknown exception's text
    stays in the log); when the caller leaves, the source is closed.
    """
    if retry_ms is not None:
        yield b"retry: %d\n\n" % retry_ms
    had: frozenset[str] = frozenset()
    if replay is not None and last_event_id:
        had = replay.ids()
        for encoded in replay.after(last_event_id):
            yield encoded
    async with aclosing(_Ahead(source, heartbeat)) as items:
        try:
            async for item in items:
                if item is _IDLE:
                    yield HEARTBEAT
                    continue
                event = item if isinstance(item, Event) else Event(item)
                if event.id and event.id in had:
                    continue
                yield encode(event) if replay is None else replay.add(event)
        except Exception as error:  # noqa: BLE001 - told to the caller as the last event
            yield _failed(error)


def _failed(error: Exception) -> bytes:
    fault = fault_of(error) or defect()
    tell(fault, error)
    call = current_call()
    if call is not None:
        call.fault, call.code = fault, fault.kind
    return error_event(fault, call.path if call is not None else "", current_request_id())


def _text(data: Any) -> str:
    if isinstance(data, str):
        return data
    if isinstance(data, bytes):
        return data.decode("utf-8", "replace")
    if isinstance(data, BaseModel):
        return data.model_dump_json()
    return json.dumps(data, separators=(",", ":"))


_IDLE: Final = object()
_END: Final = object()


class _Ahead:
    """Reads a source one item ahead, in one task, so that the wait for it can be interrupted."""

    def __init__(self, source: AsyncIterator[Any], patience: float) -> None:
        self._source = source
        self._patience = patience or None
        self._items: asyncio.Queue[Any] = asyncio.Queue(1)
        self._task: asyncio.Task[None] | None = None

    def __aiter__(self) -> "_Ahead":
        return self

    async def __anext__(self) -> Any:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._read())
            self._task.add_done_callback(self._wake)
        elif self._items.empty() and self._task.done():
            raise self._outcome(self._task)
        try:
            async with asyncio.timeout(self._patience):
                item = await self._items.get()
        except TimeoutError:
            return _IDLE
        if item is _END:
            raise self._outcome(self._task)
        return item

    async def aclose(self) -> None:
        """Stop reading, and close the source."""
        if self._task is None:
            await _close(self._source)
        elif not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _read(self) -> None:
        try:
            async for item in self._source:
                await self._items.put(item)
        finally:
            await _close(self._source)

    def _wake(self, _task: asyncio.Task[None]) -> None:
        if self._items.empty():
            self._items.put_nowait(_END)

    @staticmethod
    def _outcome(task: asyncio.Task[None]) -> BaseException:
        if task.cancelled():
            return Cancelled("the source was cancelled")
        return task.exception() or StopAsyncIteration()


async def _close(source: AsyncIterator[Any]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()
