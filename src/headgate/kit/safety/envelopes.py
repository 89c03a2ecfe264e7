"""A running text that comes in envelopes: server-sent events, messages of a stream.

Each envelope waits until all of its own text was judged, and goes out whole, in order, with its text as it may be
passed on. Those without text keep their place.
"""

from collections import deque
from collections.abc import AsyncGenerator, Iterator
from typing import Generic, TypeVar

from headgate.kit.controls.window import Piece
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Side
from headgate.kit.safety.refusals import unjudged
from headgate.kit.safety.session import Session

E = TypeVar("E")


class Envelopes(Generic[E]):
    """Envelopes judged by `gate`; at most `most` bytes of them wait."""

    def __init__(self, gate: Gate, side: Side, *, most: int) -> None:
        self._session = Session(gate, side)
        self._most = most
        self._held = 0
        self._queue: deque[_Waiting[E]] = deque()

    @property
    def empty(self) -> bool:
        """Whether none waits."""
        return not self._queue

    async def push(self, envelope: E, text: str, size: int) -> AsyncGenerator[tuple[E, str], None]:
        """Take an envelope of `size` bytes with this text; yields those that may go out, and their texts.

        Raises as `Gate.check_output`; Unavailable (`content_unjudged`) when too much waits.
        """
        self._queue.append(_Waiting(envelope, len(text), size))
        self._held += size
        async for piece in self._session.feed(text):
            self._fill(piece)
            for ready in self._ready():
                yield ready
        for ready in self._ready():
            yield ready
        if self._held > self._most:
            raise unjudged(f"more than {self._most} bytes wait for text to judge")

    async def finish(self) -> AsyncGenerator[tuple[E, str], None]:
        """Judge the end of the text; yields all envelopes that are left."""
        async for piece in self._session.finish():
            self._fill(piece)
        for ready in self._ready():
            yield ready

    def _fill(self, piece: Piece) -> None:
        """Share a piece out among the envelopes it came in; what was redacted goes into the first."""
        at, replacement = 0, "" if piece.untouched else piece.text
        for waiting in self._queue:
            if at == len(piece.original):
                break
            end = min(len(piece.original), at + waiting.missing)
            if end == at:
                continue
            waiting.text += piece.original[at:end] if piece.untouched else replacement
            waiting.missing -= end - at
            at, replacement = end, ""

    def _ready(self) -> Iterator[tuple[E, str]]:
        while self._queue and not self._queue[0].missing:
            waiting = self._queue.popleft()
            self._held -= waiting.size
            yield waiting.envelope, waiting.text


class _Waiting(Generic[E]):
    __slots__ = ("envelope", "missing", "size", "text")

    def __init__(self, envelope: E, missing: int, size: int) -> None:
        self.envelope = envelope
        self.missing = missing
        self.size = size
        self.text = ""
