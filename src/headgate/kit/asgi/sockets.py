"""Faults over WebSocket, and one socket from its handshake to its close.

A socket that is refused before it opened gets the problem as an HTTP answer where the server can send one
(ASGI's extension `websocket.http.response`), else it is closed, which servers make a 403 of. An open one gets a
last text frame, unless it speaks a subprotocol that has no place for it, and a close code:

    {"error": {"type": "urn:headgate:problem:...", "title": ..., "status": ..., "detail": ..., "code": ...}}

| code | when |
| --- | --- |
| 1001 | serving ends |
| 1008 | the caller's fault: input, credentials, permissions |
| 1009 | a message is larger than allowed |
| 1011 | a defect here |
| 1013 | not now: limits, overload |
| 3008 | the time ran out |

Sources: RFC 6455, section 7.4; IANA's registry of WebSocket close codes.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import structlog
from starlette.types import Message

from headgate.kit.asgi.inputs import fault_of
from headgate.kit.asgi.problems import Rendered, defect, encoded, fault_document, rendered, tell
from headgate.kit.asgi.supervision import Supervised
from headgate.kit.controls.codes import code_of_status
from headgate.kit.controls.faults import Fault, ResourceExhausted
from headgate.kit.current import CURRENT

FAILURE: Final = "headgate.failure"
"""Where a framework that closes sockets itself leaves the exception, in the scope, for the shell to do it."""

CLOSE_CODE: Final = "close_code"
"""Under this name a call keeps the code its socket was closed with."""

LARGEST: Final = "largest_message"
"""Under this name a call keeps how many bytes a message may have where its application refuses large ones itself."""

CLOSE_CODES: Final[Mapping[str, int]] = {
    "CANCELLED": 1001,
    "UNKNOWN": 1011,
    "INVALID_ARGUMENT": 1008,
    "DEADLINE_EXCEEDED": 3008,
    "NOT_FOUND": 1008,
    "ALREADY_EXISTS": 1008,
    "PERMISSION_DENIED": 1008,
    "RESOURCE_EXHAUSTED": 1013,
    "FAILED_PRECONDITION": 1008,
    "ABORTED": 1013,
    "OUT_OF_RANGE": 1008,
    "UNIMPLEMENTED": 1008,
    "INTERNAL": 1011,
    "UNAVAILABLE": 1013,
    "DATA_LOSS": 1011,
    "UNAUTHENTICATED": 1008,
}
"""The code a socket is closed with, by the kind of fault."""

SWITCHED: Final = 101
_CLIENT_WENT_AWAY: Final = 499
_FORBIDDEN: Final = 403
_NO_CODE: Final = 1005
_ABNORMAL: Final = 1006
_DISCONNECTED: Final = "WebSocketDisconnect"
_CLOSER: Final[Mapping[str, int]] = {"message_too_large": 1009, "stopping": 1001}
_LONGEST_REASON: Final = 120
_DENIAL: Final = "websocket.http.response"
_log = structlog.get_logger("headgate.http")


def close_code(fault: Fault) -> int:
    """The code that a socket is closed with for this fault."""
    return _CLOSER.get(fault.code) or CLOSE_CODES[fault.kind]


def error_frame(fault: Fault, path: str, request_id: str) -> str:
    """The text frame that tells of a fault: its problem document as member `error`."""
    return encoded({"error": fault_document(fault, path, request_id)}).decode("ascii")


class Socket(Supervised):
    """One WebSocket."""

    _connected = False
    _closed = False
    _denied = False
    _subprotocol = False

    async def run(self) -> None:
        """Serve it, whatever the application does."""
        call = self.call
        token = CURRENT.set(call)
        try:
            try:
                answer = await self.shell.enter(call)
                if answer is None:
                    self._admit()
                    await self.shell.app(self.scope, self.receive, self.send)
                else:
                    await self._deny(Rendered(answer.status, list(answer.headers), answer.body), 1008)
            except BaseException as error:  # noqa: BLE001 - outermost: nothing may reach the server unanswered
                await self._end(self._judge(error))
            else:
                if not self._closed:
                    await self._end(self._judge(self.scope.pop(FAILURE, None)))
        finally:
            self._settle()
            CURRENT.reset(token)

    def settled(self) -> bool:
        """A closed socket is at its end."""
        return self._closed

    def went(self, message: Message | None, heard: bool) -> None:  # noqa: ARG002
        """To leave is a socket's usual end: what is under way may be finished within the time of grace."""
        self.call.keep(CLOSE_CODE, message.get("code", _NO_CODE) if message is not None else _ABNORMAL)

    def took(self, message: Message) -> None:
        """Count a message from the caller, and refuse one that is too large."""
        kind, call = message["type"], self.call
        if kind == "websocket.receive":
            text = message.get("text")
            size = len(text.encode("utf-8", "surrogatepass")) if text is not None else len(message.get("bytes") or b"")
            call.bytes_in += size
            self._touched = self.shell.clock()
            most = call.kept(LARGEST) or self.shell.max_message_size
            if most and size > most:
                if self.verdict is None:
                    self.verdict = ResourceExhausted(
                        f"the message is larger than {most} bytes", code="message_too_large"
                    )
                    call.refused_by = "message_limit"
                raise self.verdict
        elif kind == "websocket.connect":
            self._connected = True

    async def send(self, message: Message) -> None:
        """Pass a message of the application on."""
        if self.verdict is not None:
            return
        try:
            await self._pass(message)
        except OSError:  # how a server says that its caller is gone
            self.left(None, True)
            raise

    async def _pass(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            self._count(message)
            await self._send(message)
        elif kind == "websocket.accept":
            await self._send(self._accept(message))
        elif FAILURE in self.scope:
            return  # the framework's own way of telling of it; the shell has another
        elif kind == "websocket.close":
            self._note_close(message.get("code", 1000))
            await self._send(message)
        elif kind == f"{_DENIAL}.start":
            headers = [each for each in message.get("headers", ()) if each[0].lower() != b"server"]
            self._dress(message["status"], headers)
            self._denied = True
            await self._send({**message, "headers": headers})
        else:
            if kind == f"{_DENIAL}.body" and not message.get("more_body", False):
                self._closed = self.call.complete = True
            await self._send(message)

    def _admit(self) -> None:
        self.admitted()
        call = self.call
        if call.client != call.peer:
            self.scope["client"] = (call.client, 0)
        if call.scheme == "https" and self.scope.get("scheme") == "ws":
            self.scope["scheme"] = "wss"

    def _count(self, message: Message) -> None:
        call = self.call
        text = message.get("text")
        call.messages_out += 1
        call.bytes_out += len(text.encode("utf-8", "surrogatepass")) if text is not None else len(message["bytes"])
        self._touched = self.shell.clock()

    def _accept(self, message: Message) -> Message:
        headers = [each for each in message.get("headers", ()) if each[0].lower() != b"server"]
        self._subprotocol = bool(message.get("subprotocol"))
        self._dress(SWITCHED, headers)
        if self._timer is not None:
            self._arm()
        return {**message, "headers": headers}

    def _dress(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        call, shell = self.call, self.shell
        call.status = status
        call.route = call.route or shell.route_of(self.scope)
        for hook in shell.respond_hooks[call.protocol]:
            try:
                hook(call, headers)
            except Exception as error:  # noqa: BLE001 - it costs that control's headers, not the answer
                shell.failed(error)
        call.first_byte = self._touched = shell.clock()

    def _note_close(self, code: int) -> None:
        self._closed = self.call.complete = True
        self.call.keep(CLOSE_CODE, code)
        if not self.call.status:
            self.call.status = _FORBIDDEN  # what servers answer to a close before the handshake

    def _judge(self, error: BaseException | None) -> Fault | None:
        """What the socket ends with; None for an ordinary close. Raises what is not ours to answer."""
        self.release(error)
        if self.verdict is not None:
            return self.verdict
        if error is None and (self.call.status == SWITCHED or self.gone):
            return None
        # What frameworks and servers raise when they are used after the caller left.
        if self.gone and (isinstance(error, OSError) or type(error).__name__ == _DISCONNECTED):
            return None
        fault = fault_of(error) or defect()
        tell(fault, error)
        return fault

    async def _end(self, fault: Fault | None) -> None:
        call = self.call
        if fault is not None:
            call.fault, call.code = fault, fault.kind
        if self._closed or self.gone or call.kept(CLOSE_CODE) is not None:
            return
        try:
            async with asyncio.timeout(self.patience or self.shell.last_words):
                if fault is None:
                    await self._close(1000, "")
                elif call.status == SWITCHED:
                    await self._tell(fault)
                elif not self._denied:
                    await self._deny(rendered(fault, call.path, call.request_id), close_code(fault))
        except (TimeoutError, OSError, RuntimeError) as error:
            _log.debug("the socket was gone before its end was told", exc_info=error)

    async def _tell(self, fault: Fault) -> None:
        call = self.call
        if not self._subprotocol:
            frame: Message = {"type": "websocket.send", "text": error_frame(fault, call.path, call.request_id)}
            self._count(frame)
            await self._send(frame)
        await self._close(close_code(fault), fault.code)

    async def _close(self, code: int, reason: str) -> None:
        message: dict[str, Any] = {"type": "websocket.close", "code": code, "reason": reason[:_LONGEST_REASON]}
        await self._send(message)
        self._note_close(code)

    async def _deny(self, answer: Rendered, code: int) -> None:
        """Answer the handshake with a refusal, or what the server makes of a close."""
        if not self._connected:
            await self._receive()
        status, headers, body = answer
        if _DENIAL not in (self.scope.get("extensions") or {}):
            self.call.status = status
            await self._close(code, "")
            return
        if not any(name == b"content-length" for name, _ in headers):
            headers.append((b"content-length", str(len(body)).encode()))
        self._dress(status, headers)
        self.call.messages_out, self.call.bytes_out = 1, len(body)
        await self._send({"type": f"{_DENIAL}.start", "status": status, "headers": headers})
        await self._send({"type": f"{_DENIAL}.body", "body": body, "more_body": False})
        self._closed = self.call.complete = True

    def _settle(self) -> None:
        call, shell = self.call, self.shell
        self.close()
        call.ended = shell.clock()
        call.complete = call.complete or (call.status == SWITCHED and call.fault is None)
        if not call.status:
            call.status = _CLIENT_WENT_AWAY
            if call.code == "OK":
                call.code = "CANCELLED"
        elif call.status >= 400 and call.code == "OK":
            call.code = code_of_status(call.status)
        call.route = call.route or shell.route_of(self.scope)
        shell.settle(call, shell.failed)
