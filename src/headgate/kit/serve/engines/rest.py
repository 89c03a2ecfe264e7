"""What an application leaves of a request's body: read to its end, for servers that would cut the client off.

    await Rest(receive, send, over_http2=False).run(app, scope)

Some servers close the connection, or block it, when an answer is over before the body is. A client that still sends
then sees a reset connection in place of the answer. The answer's last message therefore waits, up to `PATIENCE`
seconds, until the client has sent all; what the answer says goes out before. Over HTTP/2 it need not, where the server
goes on with the connection (`over_http2` False).
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

    __slots__ = ("_complete", "_reading", "_receive", "_send", "_waits")

    def __init__(self, receive: Receive, send: Send, *, over_http2: bool) -> None:
        self._receive = receive
        self._send = send
        self._complete = False
        self._waits = over_http2
        self._reading: asyncio.Task[None] | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Serve it."""
        self._waits = self._waits or scope["http_version"] < "2"
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
