"""What an application leaves of a request's body: read to its end, for servers that would cut the client off.

    await Rest(receive, send, eager=False).run(app, scope)

Some servers close the connection, or block it, when an answer is over before the body is. A client that still sends
then sees a reset connection in place of the answer. The answer's last message therefore waits, up to `PATIENCE`
seconds, until the client has sent all; what the answer says goes out before. Over HTTP/2 it need not, where the server
goes on with the connection (`eager` False). An eager server takes an answer for over as soon as it has the length that
it said: one that begins so early goes out in chunks over HTTP/1.1.
"""

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATIENCE: Final = 5.0

_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
_WITHOUT: Final = frozenset({"GET", "HEAD"})


def has_body(scope: Scope) -> bool:
    """Whether an HTTP request may have a body; over HTTP/2 no header says so."""
    if scope["http_version"] >= "2":
        return scope["method"] not in _WITHOUT
    return any(name in _BODY for name, _ in scope["headers"])


class Rest:
    """One request. See the module."""

    __slots__ = ("_chunked", "_complete", "_eager", "_reading", "_receive", "_send", "_waits")

    def __init__(self, receive: Receive, send: Send, *, eager: bool) -> None:
        self._receive = receive
        self._send = send
        self._complete = False
        self._eager = eager
        self._waits = self._chunked = False
        self._reading: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Serve it."""
        version = scope["http_version"]
        self._waits, self._chunked = self._eager or version < "2", self._eager and version == "1.1"
        try:
            await app(scope, self._read, self._write)
        finally:
            if self._reading is not None:
                self._reading.cancel()

    async def _read(self) -> Message:
        message = await self._receive()
        if not message.get("more_body", False):
            self._complete = True
        return message

    async def _write(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self._chunked and not self._complete:
            headers = [each for each in message.get("headers", ()) if each[0].lower() != b"content-length"]
            message = {**message, "headers": headers}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self._complete and self._reading is None:
            self._reading = asyncio.create_task(self._discard())
            if self._waits:
                if message.get("body"):
                    await self._send({**message, "more_body": True})
                    message = {"type": "http.response.body", "body": b"", "more_body": False}
                await asyncio.wait([self._reading], timeout=PATIENCE)
        await self._send(message)

    async def _discard(self) -> None:
        while not self._complete:
            await self._read()
