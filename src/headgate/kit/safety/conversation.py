"""One side of a conversation, message by message: WebSocket frames, and RPCs in which both sides stream.

Nothing is held back. The running text of the messages is judged as one text, each with the end of those before; where
no field is known to hold it, all texts of a message count as the running one.
"""

from collections.abc import Mapping

from headgate.kit.safety.gate import Gate
from headgate.kit.safety.judgement import Side
from headgate.kit.safety.session import Trail


class Conversation:
    """The messages of `side`, judged by `gate`."""

    def __init__(self, gate: Gate, side: Side) -> None:
        self._gate = gate
        self._side: Side = side
        self._trail = Trail(gate, side)

    async def check(self, texts: Mapping[str, str], running: str = "") -> dict[str, str]:
        """Judge a message with these texts by pointer; returns those that were redacted.

        `running` is the pointer of the running text, when it is known. Raises as `Gate.check_all`.
        """
        if not running:
            return await self._together({pointer: text for pointer, text in texts.items() if text})
        beside = {pointer: text for pointer, text in texts.items() if text and pointer != running}
        redacted = await self._gate.check_all(beside, self._side) if beside else {}
        text = texts.get(running, "")
        new = await self._trail.check(text) if text else text
        return redacted if new == text else redacted | {running: new}

    async def _together(self, texts: Mapping[str, str]) -> dict[str, str]:
        text = "\n".join(texts.values())
        new = await self._trail.check(text) if text else text
        if new == text:
            return {}
        if len(texts) == 1:
            return dict.fromkeys(texts, new)
        found = {
            pointer: await self._gate.redacted(each)
            for pointer, each in texts.items()
            if not (await self._gate.judge(each)).clean
        }
        return found or dict.fromkeys(texts, self._gate.marker)
