"""A WebSocket between its gates: text frames of both sides are judged, as one conversation each.

Frames with JSON are judged by their strings, binary frames when they are UTF-8. A socket that is refused is gone, as
far as the application can tell: it hears `websocket.disconnect`, and what it sends raises OSError. The
fault is raised once it has ended, for the shell outside to tell. Source: ASGI 3.0, WebSocket.
"""

from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.controls.faults import Fault
from headgate.kit.safety import documents, sse
from headgate.kit.safety.conversation import Conversation
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.refusals import note

_POLICY: Final = 1008


async def serve_socket(
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    input_gate: Gate | None,
    output_gate: Gate | None,
    text_at: Sequence[str] = sse.TEXT_AT,
) -> None:
    """Serve one socket inside the gates. Raises the fault that it is refused with."""
    socket = _Socket(receive, send, input_gate, output_gate, text_at)
    try:
        await app(scope, socket.receive, socket.send)
    except Exception:
        # What an application makes of a caller who is gone is of no interest.
        if socket.refusal is None:
            raise
    if socket.refusal is not None:
        note(socket.refusal)
        raise socket.refusal


class _Socket:
    """The two ends of a socket as the application has them."""

    def __init__(
        self, receive: Receive, send: Send, heard: Gate | None, said: Gate | None, text_at: Sequence[str]
    ) -> None:
        self.refusal: Fault | None = None
        self._receive = receive
        self._send = send
        self._heard = Conversation(heard, "input") if heard is not None else None
        self._said = Conversation(said, "output") if said is not None else None
        self._text_at = text_at

    async def receive(self) -> Message:
        """What the caller sent, as the application may see it."""
        message = await self._receive() if self.refusal is None else {}
        if self.refusal is None and self._heard is not None and message["type"] == "websocket.receive":
            try:
                message = await self._judged(self._heard, message)
            except Fault as fault:
                self.refusal = fault.with_traceback(None)
        # It may have been refused while the next message was waited for.
        return message if self.refusal is None else {"type": "websocket.disconnect", "code": _POLICY}

    async def send(self, message: Message) -> None:
        """What the application says, as the caller may hear it."""
        if self.refusal is None and self._said is not None and message["type"] == "websocket.send":
            try:
                message = await self._judged(self._said, message)
            except Fault as fault:
                self.refusal = fault.with_traceback(None)
        if self.refusal is not None:
            raise OSError("the socket was refused")
        await self._send(message)

    async def _judged(self, conversation: Conversation, message: Message) -> Message:
        text, binary = message.get("text"), False
        if text is None:
            try:
                text, binary = (message.get("bytes") or b"").decode("utf-8"), True
            except UnicodeDecodeError:
                return message
        new = await self._said_as(conversation, text)
        if new == text:
            return message
        return {**message, "bytes": new.encode("utf-8")} if binary else {**message, "text": new}

    async def _said_as(self, conversation: Conversation, text: str) -> str:
        document, running, _ = sse.texts_of(text, self._text_at)
        if running is None:
            return (await conversation.check({"": text})).get("", text)
        redacted = await conversation.check(documents.texts(document), running)
        return documents.render(documents.replaced(document, redacted)).decode("ascii") if redacted else text
