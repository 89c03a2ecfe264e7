"""Speaks ASGI to an application without a server: what it is sent is scripted, what it sends is kept."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headgate.kit.controls.call import Call, Control, MutableHeaders, Pipeline

Application = Callable[..., Any]


class Witness(Control):
    """A control that changes nothing and remembers: the calls settled, and how often."""

    name = "witness"

    def __init__(self) -> None:
        self.settled: list[Call] = []
        self.responded: list[int] = []

    def identify(self, call: Call) -> None:
        call.request_id = "r-1"

    def respond(self, call: Call, headers: MutableHeaders) -> None:
        self.responded.append(call.status)
        headers.append((b"x-request-id", call.request_id.encode()))

    def settle(self, call: Call) -> None:
        self.settled.append(call)

    @property
    def call(self) -> Call:
        """The one call there was."""
        (call,) = self.settled
        return call


class Caller:
    """One connection: `say` what the caller sends; `sent` is what came back."""

    def __init__(self, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self.on_send: Callable[[dict[str, Any]], Any] | None = None
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._last: dict[str, Any] | None = None
        self._news = asyncio.Event()

    def say(self, **message: Any) -> None:
        """Queue a message for the application."""
        self._messages.put_nowait(message)

    def leave(self, **more: Any) -> None:
        """Hang up."""
        kind = "websocket" if self.scope["type"] == "websocket" else "http"
        self.say(type=f"{kind}.disconnect", **more)

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        if self._last is not None:
            return self._last
        message = await self._messages.get()
        if message["type"].endswith("disconnect"):
            self._last = message
        return message

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.leave()  # what servers say once a response is complete
        if self.on_send is not None:
            result = self.on_send(message)
            if result is not None:
                await result
        self._news.set()

    async def until(self, enough: Callable[["Caller"], bool], seconds: float = 10.0) -> None:
        """Wait until what came back satisfies."""
        async with asyncio.timeout(seconds):
            while not enough(self):
                self._news.clear()
                await self._news.wait()

    @property
    def starts(self) -> list[dict[str, Any]]:
        """Every beginning of a response."""
        return [each for each in self.sent if each["type"].endswith("response.start")]

    @property
    def status(self) -> int:
        """The status of the one response."""
        (start,) = self.starts
        return int(start["status"])

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        (start,) = self.starts
        return {name.decode(): value.decode() for name, value in start["headers"]}

    @property
    def body(self) -> bytes:
        """All of its body that came."""
        return b"".join(each.get("body", b"") for each in self.sent if each["type"].endswith("response.body"))

    @property
    def ended(self) -> bool:
        """Whether its body was brought to its proper end."""
        parts = [each for each in self.sent if each["type"].endswith("response.body")]
        return bool(parts) and not parts[-1].get("more_body", False)

    @property
    def problem(self) -> dict[str, Any]:
        """Its body, a problem document."""
        document: dict[str, Any] = json.loads(self.body)
        return document


def http(
    path: str = "/",
    *,
    method: str = "GET",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes | Sequence[bytes] | None = b"",
    **scope: Any,
) -> Caller:
    """A request. `body` in parts is sent chunked; None is one that does not come yet."""
    caller = Caller(
        {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 80),
            "extensions": {},
            **scope,
        }
    )
    if body is not None:
        parts = [body] if isinstance(body, bytes) else list(body)
        for number, part in enumerate(parts, 1):
            caller.say(type="http.request", body=part, more_body=number < len(parts))
    return caller


def websocket(path: str = "/", *, denial: bool = True, headers: Iterable[tuple[bytes, bytes]] = ()) -> Caller:
    """A handshake; `denial` says whether the server can answer it with an HTTP response."""
    caller = Caller(
        {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": list(headers),
            "client": ("192.0.2.7", 4711),
            "server": ("127.0.0.1", 80),
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}} if denial else {},
        }
    )
    caller.say(type="websocket.connect")
    return caller


async def serve(app: Application, caller: Caller) -> Caller:
    """Run the application for one connection, to its end."""
    async with asyncio.timeout(20):
        await app(caller.scope, caller.receive, caller.send)
    return caller


def pipeline(*controls: Control) -> Pipeline:
    """The controls, compiled."""
    return Pipeline(controls)


async def start(send: Any, status: int = 200, *headers: tuple[bytes, bytes]) -> None:
    """Begin a response."""
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def part(send: Any, body: bytes, *, more: bool = True) -> None:
    """Send a part of its body."""
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let other tasks run until something is so."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)
