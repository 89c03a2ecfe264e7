"""The gate in front of and behind an ASGI application, on chosen routes.

    app = ContentSafety(app, input_gate=gate, output_gate=gate, paths=["/flows"])

Input: the texts of a body are judged before the application sees it (`bodies` says which). Output: JSON, and text
whose length is known, are judged before the response starts; `text/event-stream`, JSON lines and other text as they
run. WebSockets on these paths are judged frame by frame, whatever `methods` are.

A refusal is raised as a fault, before the response started or in its midst, for the shell outside to answer. Belongs
inside what compresses responses and outside what reads bodies. Source: ASGI 3.0, HTTP and WebSocket.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.safety import bodies, sse
from headgate.kit.safety.gate import Gate
from headgate.kit.safety.output import Output
from headgate.kit.safety.refusals import note
from headgate.kit.safety.sockets import serve_socket

METHODS: Final = ("POST", "PUT", "PATCH")
BUFFER: Final = 1024 * 1024

_UNSUITABLE: Final = ("http.response.pathsend", "http.response.zerocopysend")


class ContentSafety:
    """Puts gates around `app` for `methods` on `paths`, which are prefixes that end where a segment does.

    At most `buffer` bytes of a request, a response or an event are held in memory. What is larger is refused by
    a gate that fails closed, and passed on unjudged by one that fails open. `text_at` are the JSON pointers at which
    the running text of an event is looked for.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        input_gate: Gate | None = None,
        output_gate: Gate | None = None,
        methods: Sequence[str] = METHODS,
        paths: Sequence[str] = ("/",),
        pointers: Sequence[str] = (),
        text_at: Sequence[str] = sse.TEXT_AT,
        buffer: int = BUFFER,
    ) -> None:
        self.app = app
        self._input = input_gate
        self._output = output_gate
        self._methods = frozenset(method.upper() for method in methods)
        self._paths = frozenset(path.rstrip("/") for path in paths)
        self._below = tuple(path.rstrip("/") + "/" for path in paths)
        self._pointers = tuple(pointers)
        self._text_at = tuple(text_at)
        self._buffer = buffer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        kind = scope["type"]
        if kind == "websocket" and self._chosen(scope["path"]):
            await serve_socket(
                self.app,
                scope,
                receive,
                send,
                input_gate=self._input,
                output_gate=self._output,
                text_at=self._text_at,
            )
        elif kind == "http" and scope["method"] in self._methods and self._chosen(scope["path"]):
            await self._request(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._input is not None:
            try:
                receive = await self._admit(self._input, scope, receive)
            except Fault as fault:
                note(fault, always=True)
                raise
        if self._output is None:
            await self.app(scope, receive, send)
            return
        _make_readable(scope)
        output = Output(self._output, send, text_at=self._text_at, buffer=self._buffer)
        try:
            await self.app(scope, receive, output.send)
        except (Exception, asyncio.CancelledError):
            # What an application makes of being stopped is of no interest: the caller has an answer.
            if not output.cut or _is_cancelled():
                raise
        finally:
            output.forget()
        if output.refusal is not None:
            note(output.refusal)
            raise output.refusal

    def _chosen(self, path: str) -> bool:
        return path.startswith(self._below) or path in self._paths

    async def _admit(self, gate: Gate, scope: Scope, receive: Receive) -> Receive:
        """The request as the application may see it."""
        body, last = await self._read(receive)
        if last["type"] != "http.request":
            return _Replay([last], receive)
        refusal = None
        if last.get("more_body", False):
            refusal = _too_large(self._buffer)
        elif _header(scope, b"content-encoding").lower() not in {b"", b"identity"}:
            refusal = _compressed()
        if refusal is None:
            new = body and await bodies.judged(gate, body, _header(scope, b"content-type"), self._pointers)
            _resize(scope, len(new))
            return _Replay([{"type": "http.request", "body": new}], receive)
        if gate.on_error == "closed":
            raise refusal
        more = last.get("more_body", False)
        return _Replay([{"type": "http.request", "body": body, "more_body": more}], receive)

    async def _read(self, receive: Receive) -> tuple[bytes, Message]:
        """The body, at most as much as is buffered and one message more, and the last message of it."""
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"", message
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._buffer:
                return b"".join(chunks), {**message, "more_body": True}
            if not message.get("more_body", False):
                return b"".join(chunks), message


class _Replay:
    """Messages received already, then those that follow."""

    def __init__(self, messages: list[Message], receive: Receive) -> None:
        self._messages = messages
        self._receive = receive

    async def __call__(self) -> Message:
        return self._messages.pop(0) if self._messages else await self._receive()


def _is_cancelled() -> bool:
    """Whether somebody outside wants this task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _header(scope: Scope, name: bytes) -> bytes:
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value).strip()
    return b""


# A scope is changed and not copied: frameworks leave in it what the shell outside looks for, such as the route.


def _resize(scope: Scope, size: int) -> None:
    """Give the scope the length of the body that is replayed."""
    if _header(scope, b"content-length") not in {b"", str(size).encode()}:
        headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
        scope["headers"] = [*headers, (b"content-length", str(size).encode())]


def _make_readable(scope: Scope) -> None:
    """Take from the scope what would let the application answer with something that cannot be read."""
    scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    given = scope.get("extensions") or {}
    scope["extensions"] = {name: each for name, each in given.items() if name not in _UNSUITABLE}


def _too_large(buffer: int) -> Fault:
    return ResourceExhausted(
        f"the request body is larger than the {buffer} bytes that can be judged", code="body_too_large"
    )


def _compressed() -> Fault:
    return InvalidArgument(
        "a compressed request body cannot be judged", code="unsupported_media_type", hint="send it as it is"
    )
