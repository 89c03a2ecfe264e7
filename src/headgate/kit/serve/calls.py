"""The calls under way in an application, whatever serves it: counted, waited for, cut off at the end.

    calls = Calls(app)                      # an ASGI application, given to the server instead of `app`
    calls.close()                           # from now on, answers on HTTP/1 ask to close the connection
    await calls.wait(10.0)                  # whether all ended within 10 seconds
    await calls.cut()                       # cancel what is left; it is answered 503, or its stream ends short

Behind a `Shell` what is cut is told as any other end: a problem, an error event, a frame, with all that belongs to it.

A stream that has no end of its own should watch for the end of serving:

    draining = scope["extensions"]["headgate.draining"]         # an asyncio.Event
"""

import asyncio
from typing import Any, Final, cast

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.kit.asgi.exchange import ResponseCutError
from headgate.kit.asgi.supervision import STOPPING

DRAINING: Final = "headgate.draining"
"""The extension of a scope that holds the event set when serving is about to end."""

CUT_SECONDS: Final = 2.0
"""How long a cancelled call may take to clean up."""

_CLOSE: Final = (b"connection", b"close")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_REJECTION: Final = "websocket.http.response"

_log = structlog.get_logger("headgate.serve")


class Calls:
    """Wraps an application; every HTTP request and WebSocket under way is one call.

    What the application raises is logged and answered with 500 (WebSockets are closed with 1011), or ends the
    response short when it has begun: servers differ here too. `headers` are added to every HTTP response that has
    none of these names. `departures` are what a server raises when it is to send to somebody who is gone.
    """

    def __init__(self, app: ASGIApp, *, state: dict[str, Any] | None = None) -> None:
        self.draining = asyncio.Event()
        self.stopping = asyncio.Event()
        self.state = state if state is not None else {}
        self.headers: list[tuple[bytes, bytes]] = []
        self.departures: tuple[type[Exception], ...] = ()
        self.closing = False
        self._app = app
        self._under_way: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._under_way)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        scope["state"] = self.state.copy()
        extensions = scope.get("extensions")
        if extensions is None:
            extensions = scope["extensions"] = {}
        extensions[DRAINING] = self.draining
        extensions[STOPPING] = self.stopping
        call = _Call(self, scope, send)
        self._under_way.add(task)
        self._empty.clear()
        try:
            await self._app(scope, receive, call.send)
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            await call.end(503, b"the server is stopping\n", (b"retry-after", b"1"), code=1001)
        except self.departures:
            pass
        except ResponseCutError:
            await call.end(500, b"Internal Server Error\n", code=1011)  # the shell has told the log why
        except Exception:  # noqa: BLE001 - whatever it is, it ends here, the same on every server
            _log.exception("the application raised")
            await call.end(500, b"Internal Server Error\n", code=1011)
        finally:
            self._under_way.discard(task)
            self._cut.discard(task)
            if not self._under_way:
                self._empty.set()

    def close(self) -> None:
        """Ask clients to come again over another connection, and streams to end."""
        self.closing = True
        self.draining.set()

    async def wait(self, seconds: float) -> bool:
        """Wait until none is under way. Returns whether that came true in time."""
        if self._under_way:
            try:
                async with asyncio.timeout(seconds):
                    await self._empty.wait()
            except TimeoutError:
                return False
        return True

    async def cut(self) -> int:
        """Cancel what is under way and wait until it has cleaned up. Returns how many there were."""
        self.stopping.set()
        self._cut = set(self._under_way)
        count = len(self._cut)
        for task in self._cut:
            task.cancel("serving ends")
        if count and not await self.wait(CUT_SECONDS):
            _log.error("calls go on although they are cancelled; they are abandoned", calls=len(self._under_way))
        return count


class _Call:
    """One call's way out."""

    __slots__ = ("_calls", "_scope", "_send", "_started")

    def __init__(self, calls: Calls, scope: Scope, send: Send) -> None:
        self._calls = calls
        self._scope = scope
        self._send = send
        self._started = False

    def send(self, message: Message) -> Any:
        """Pass `message` on; the first one with what every response is to have."""
        if not self._started:
            self._started = True
            calls = self._calls
            if (calls.closing or calls.headers) and message["type"].endswith("response.start"):
                message = self._dressed(message)
        return self._send(message)

    async def end(self, status: int, text: bytes, *headers: tuple[bytes, bytes], code: int) -> None:
        """Say that it ends, where that can still be said: with `status` and `text`, or as a WebSocket with `code`."""
        prefix = "http.response"
        if self._scope["type"] == "websocket":
            prefix = _REJECTION
            if self._started or _REJECTION not in self._scope["extensions"]:
                await self._try({"type": "websocket.close", "code": code, "reason": ""})
                return
        if not self._started:
            length = (b"content-length", b"%d" % len(text))
            await self._try({"type": f"{prefix}.start", "status": status, "headers": [_TEXT, length, *headers]})
            await self._try({"type": f"{prefix}.body", "body": text})

    async def _try(self, message: Message) -> None:
        try:
            await self.send(message)
        except Exception as error:  # noqa: BLE001 - the peer may be gone, or the response complete
            _log.debug("a call that ended could not be told", reason=repr(error))

    def _dressed(self, message: Message) -> Message:
        headers = list(message.get("headers", ()))
        present = {bytes(name).lower() for name, _ in headers}
        headers += [header for header in self._calls.headers if header[0] not in present]
        if self._calls.closing and self._scope.get("http_version", "1.1") < "2" and b"connection" not in present:
            headers.append(_CLOSE)
        return {**message, "headers": headers}
