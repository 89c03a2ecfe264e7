"""The metrics as an application of their own, to be mounted, or served on a port of their own.

    app = MetricsEndpoint(metrics, token="...")          # or public=True on a network of one's own

A caller needs the token, or to have been identified by the controls in front of it. The exposition is made in
a thread, one at a time: scrapers hold no request up.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from headgate.kit.current import CURRENT
from headgate.kit.observe.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_TEXT: Final = "text/plain; charset=utf-8"


class MetricsEndpoint:
    """An ASGI application that answers GET and HEAD, at any path, with the metrics."""

    def __init__(self, metrics: Metrics, *, token: str = "", public: bool = False) -> None:
        self._metrics = metrics
        self._token = token.encode()
        self._public = public
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope; those that are no HTTP are left to others."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "http":
            status, body, headers = await self._answer(scope)
            headers += [(b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
        else:
            raise NotImplementedError(f"the metrics do not speak {scope['type']}")

    async def _answer(self, scope: Scope) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if scope["method"] not in {"GET", "HEAD"}:
            return 405, b"GET or HEAD\n", [(b"allow", b"GET, HEAD"), (b"content-type", _TEXT.encode())]
        headers = dict(scope["headers"])
        if not self._may(headers.get(b"authorization", b"")):
            challenge = [(b"www-authenticate", b'Bearer realm="metrics"'), (b"content-type", _TEXT.encode())]
            return 401, b"the metrics need a token, or an identity\n", challenge
        accept = headers.get(b"accept", b"").decode("latin-1")
        async with self._turn:
            body, content_type = await asyncio.to_thread(self._metrics.expose, accept)
        return 200, body, [(b"content-type", content_type.encode())]

    def _may(self, authorization: bytes) -> bool:
        call = CURRENT.get()
        if self._public or (call is not None and call.principal.id):
            return True
        scheme, _, token = authorization.partition(b" ")
        return bool(self._token) and scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._token)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
