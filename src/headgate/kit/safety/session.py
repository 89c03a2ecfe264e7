"""Running texts: units are judged in pairs of neighbours, and released when both their pairs are clean.

`Session` is for text of which nobody waits for an answer before more of it comes: a generated response. `Trail`
is for conversations, where holding back would stop both sides: it judges each message with the end of the last.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING, Final

from headgate.kit.controls.window import Piece, Segmenter, sentences
from headgate.kit.safety.judgement import Judgement, Side
from headgate.kit.safety.refusals import blocked

if TYPE_CHECKING:
    from headgate.kit.safety.gate import Gate

_PAUSE_AFTER: Final = 8
"""Units of one chunk after which other tasks have their turn: a long text in one piece has thousands."""


class Session:
    """One text that is judged by `gate` as it comes. `side` is None for a text that was reported already."""

    def __init__(self, gate: "Gate", side: Side | None) -> None:
        self._gate = gate
        self._side = side
        self._segmenter = Segmenter(gate.hold_back // 2)
        self._waiting: list[Piece] = []
        self._judged = False
        self._told: frozenset[str] = frozenset()

    @property
    def held(self) -> int:
        """Characters taken in and not released yet; never more than the gate's `hold_back`."""
        return self._segmenter.held + sum(len(piece.original) for piece in self._waiting)

    async def feed(self, chunk: str) -> AsyncGenerator[Piece, None]:
        """Take the next part of the text; yields what may be passed on. Raises as `Gate.check_output`."""
        for at, unit in enumerate(self._segmenter.feed(chunk)):
            if at % _PAUSE_AFTER == _PAUSE_AFTER - 1:
                await asyncio.sleep(0)
            for piece in await self._admit(unit):
                yield piece

    async def finish(self) -> AsyncGenerator[Piece, None]:
        """Judge the end of the text; yields what is left of it."""
        for unit in self._segmenter.finish():
            for piece in await self._admit(unit):
                yield piece
        if self._waiting and not self._judged:
            await self._judge([], self._waiting)
        for piece in self._waiting:
            yield piece
        self._waiting = []

    async def _admit(self, unit: str) -> list[Piece]:
        """Judge a unit with the one before it, which is then released."""
        before, self._waiting = self._waiting, [Piece(unit, unit)]
        if before:
            await self._judge(before, self._waiting)
        self._judged = bool(before)
        return before

    async def _judge(self, before: list[Piece], after: list[Piece]) -> None:
        """Raise, or leave in both lists what may be passed on."""
        judgement = await self._gate.judge(_plain(before) + _plain(after))
        self._report(judgement)
        if judgement.verdict == "block":
            raise blocked(self._side or "output", judgement.categories)
        if judgement.verdict == "redact":
            await self._redact(before)
            await self._redact(after)
            if not (await self._gate.judge(_plain(before) + _plain(after))).clean:
                # What neither holds alone is spread over both.
                self._remove(before)
                self._remove(after)

    async def _redact(self, unit: list[Piece]) -> None:
        if (await self._gate.judge(_plain(unit))).clean:
            return
        parts = [
            Piece(part, part) if piece.untouched else piece
            for piece in unit
            for part in (sentences(piece.original) if piece.untouched else [piece.original])
        ]
        unit[:] = [part if await self._is_clean(part) else self._marked(part) for part in parts]
        if not (await self._gate.judge(_plain(unit))).clean:
            self._remove(unit)

    async def _is_clean(self, piece: Piece) -> bool:
        return not piece.untouched or (await self._gate.judge(piece.original)).clean

    def _remove(self, unit: list[Piece]) -> None:
        whole = "".join(piece.original for piece in unit)
        unit[:] = [self._marked(Piece(whole, whole))] if whole else []

    def _marked(self, piece: Piece) -> Piece:
        space = piece.original[len(piece.original.rstrip()) :]
        return Piece(piece.original, self._gate.marker + space)

    def _report(self, judgement: Judgement) -> None:
        """Tell of a finding once, though it is in two windows."""
        found = frozenset(judgement.categories)
        if self._side is not None and not (found and found <= self._told):
            self._gate.report(self._side, judgement)
        self._told = found


class Trail:
    """The messages of one side of a conversation. None is held back: what is out already stays out."""

    def __init__(self, gate: "Gate", side: Side) -> None:
        self._gate = gate
        self._side: Side = side
        self._tail = ""

    async def check(self, text: str) -> str:
        """`text` as it may be passed on. Raises as `Gate.check_output`."""
        # Nothing is put between the two: it would part a word that was sent in two messages.
        judgement = await self._gate.judge(self._tail + text)
        self._gate.report(self._side, judgement)
        if judgement.verdict == "block":
            raise blocked(self._side, judgement.categories)
        rest = text
        if judgement.verdict == "redact":
            text = text if (await self._gate.judge(text)).clean else await self._gate.redacted(text)
            rest = text.replace(self._gate.marker, " ")
            if not (await self._gate.judge(self._tail + rest)).clean:
                text, rest = self._gate.marker, ""
        # What was flagged has been told of, and would be told of again.
        self._tail = "" if judgement.verdict == "flag" else (self._tail + rest)[-(self._gate.hold_back // 2) :]
        return text


def _plain(pieces: Iterable[Piece]) -> str:
    """The text to judge: what was taken out leaves a gap, lest its neighbours become one word."""
    return "".join(piece.text if piece.untouched else " " for piece in pieces)
