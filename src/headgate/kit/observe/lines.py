r"""Where lines go: one JSON document each, straight to a stream, or by way of a thread that may fall behind.

    sink = DirectLines(sys.stderr)                              # the caller waits for the stream
    sink = BackgroundLines(sys.stderr, most_bytes=4_194_304)    # the caller never waits; lines may be dropped
    sink.write(encode({"event": "ready"}) + b"\n")

A pipe whose reader stands still blocks whoever writes to it once it is full (64 KiB on Linux). With
`DirectLines` that is the event loop, and every request with it. `BackgroundLines` keeps so many bytes
waiting, drops what comes after them, counts it, and goes on serving. Neither raises: a stream that is gone
loses lines, not requests.
"""

import atexit
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, TextIO
from weakref import WeakSet

try:
    import orjson
except ImportError:  # the standard library's is slower, and as good
    orjson = None  # type: ignore[assignment,unused-ignore]

_BATCH_BYTES: Final = 256 * 1024
_LAST_WAIT: Final = 1.0


def encode(document: Any) -> bytes:
    """`document` as compact JSON on one line. Total: what JSON does not know becomes its `repr`."""
    if orjson is not None:
        try:
            return orjson.dumps(document)
        except TypeError:  # a lone surrogate, an integer beyond 64 bits, a type JSON does not know
            pass
    try:
        return json.dumps(document, separators=(",", ":"), default=repr).encode()
    except (TypeError, ValueError, RecursionError):
        return json.dumps(repr(document)).encode()


class LineSink(Protocol):
    """Takes whole lines, line break included, from any thread."""

    def write(self, line: bytes) -> None:
        """Send the line on its way. Never raises."""

    def close(self) -> None:
        """Write what still waits."""


class DirectLines:
    """Writes at once to a text stream, past its text layer when it has one of bytes below."""

    def __init__(self, stream: TextIO, *, dropped: Callable[[int], None] = lambda _count: None) -> None:
        self._stream = stream
        self._bytes = getattr(stream, "buffer", None)
        self._dropped = dropped

    def write(self, line: bytes) -> None:
        """Write and flush; a stream that takes nothing loses the line."""
        try:
            if self._bytes is not None:
                self._bytes.write(line)
                self._bytes.flush()
            else:
                self._stream.write(line.decode("utf-8", "backslashreplace"))
                self._stream.flush()
        except (OSError, ValueError, RuntimeError):  # gone, full and not blocking, closed, or in a signal handler
            self._dropped(1)

    def close(self) -> None:
        """Nothing waits."""


class BackgroundLines:
    """Hands lines to a thread which writes them to `sink`, many at a time; drops what exceeds `most_bytes`.

    The thread starts with the first line, again in a child that was forked. A process that ends waits up to
    one second for what is left.
    """

    def __init__(
        self, sink: LineSink, *, most_bytes: int = 4 * 1024 * 1024, dropped: Callable[[int], None] = lambda _count: None
    ) -> None:
        self._sink = sink
        self._most = most_bytes
        self._dropped = dropped
        self.start_over()
        _OPEN.add(self)

    def start_over(self) -> None:
        """Begin with an empty queue and no thread, as a forked child must: what waits is its parent's to write."""
        self._lock = threading.RLock()  # a signal handler may log in the middle of this
        self._wake = threading.Semaphore(0)
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._busy = False
        self._thread: threading.Thread | None = None

    def write(self, line: bytes) -> None:
        """Put the line in the queue, or drop it when that is full."""
        with self._lock:
            fits = self._bytes + len(line) <= self._most
            if fits:
                self._waiting.append(line)
                self._bytes += len(line)
            idle, self._busy = not self._busy, True
        if idle:
            self._wake_thread()
        if not fits:
            self._dropped(1)

    def close(self) -> None:
        """Wait, one second at most, until everything is written, and end the thread. A later line starts another."""
        patience = time.monotonic() + _LAST_WAIT
        while self._busy and time.monotonic() < patience:
            time.sleep(0.002)
        self._thread = None
        self._wake.release()

    def _wake_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="headgate-lines", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is shutting down
                self._thread = None
                self._drain()
        self._wake.release()

    def _run(self) -> None:
        while self._thread is threading.current_thread():
            self._wake.acquire()
            self._drain()

    def _drain(self) -> None:
        while batch := self._take():
            self._sink.write(batch)
            with self._lock:
                self._bytes -= len(batch)

    def _take(self) -> bytes:
        with self._lock:
            lines, size = [], 0
            while self._waiting and size < _BATCH_BYTES:
                lines.append(self._waiting.popleft())
                size += len(lines[-1])
            self._busy = bool(lines)
        return b"".join(lines)


_OPEN: Final[WeakSet[BackgroundLines]] = WeakSet()


def _close_all() -> None:
    for lines in list(_OPEN):
        lines.close()


def _start_over_all() -> None:
    for lines in list(_OPEN):
        lines.start_over()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_start_over_all)
