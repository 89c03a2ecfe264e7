"""Servers of every kind on free ports, and an application that does what it is told."""

import asyncio
import os
import socket
import ssl
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from headgate.kit.serve.http import HttpServer

SERVERS = ("uvicorn", "granian", "hypercorn")


def needs(server: str) -> None:
    """Skip the test when the server is not installed; where everything should be, fail."""
    if find_spec(server) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{server} is not installed")
        pytest.skip(f"{server} is not installed")


@pytest.fixture(params=SERVERS)
def kind(request) -> str:
    """Each server there is."""
    needs(request.param)
    return request.param


class Probe:
    """A bare ASGI application: `/gate` waits to be let through, `/stream` sends until the gate opens.

    `story` tells what happened to it, in order.
    """

    def __init__(self) -> None:
        self.story: list[str] = []
        self.asked, self.opened = asyncio.Event(), asyncio.Event()
        self.scopes: list[dict] = []

    async def __call__(self, scope, receive, send) -> None:
        """Serve."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self._echo(receive, send)
            return
        serve = {"/gate": self._gate, "/stream": self._stream, "/raise": self._raise}.get(scope["path"], self._hello)
        try:
            await serve(scope, receive, send)
        except asyncio.CancelledError:
            self.story.append(f"cancelled {scope['path']}")
            raise

    async def _live(self, receive, send) -> None:
        await receive()
        self.story.append("up")
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.story.append("down")
        await send({"type": "lifespan.shutdown.complete"})

    async def _hello(self, scope, receive, send) -> None:
        await answer(send, b"hello")

    async def _gate(self, scope, receive, send) -> None:
        self.asked.set()
        await self.opened.wait()
        await answer(send, b"through")

    async def _stream(self, scope, receive, send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
        await send(start)
        while not self.opened.is_set():
            await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
            self.asked.set()
            await asyncio.sleep(0.01)
        await send({"type": "http.response.body", "body": b"data: end\n\n"})

    async def _raise(self, scope, receive, send) -> None:
        raise ValueError("a secret of the application")

    async def _echo(self, receive, send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        self.story.append(f"left {message['code']}")


async def answer(send, body: bytes, status: int = 200) -> None:
    """Answer a request."""
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def probe() -> Probe:
    """The application under test."""
    return Probe()


@pytest.fixture
def http_server(kind) -> Iterator[object]:
    """Makes a server of the kind on a free port."""

    def make(app, **options) -> HttpServer:
        return HttpServer(app, host="127.0.0.1", port=0, setting="api_port", server=kind, **options)

    return make


async def until(holds, seconds: float = 20.0) -> None:
    """Poll until `holds()`."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def refuses(port: int) -> bool:
    """Whether the port takes no connections."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return True
    writer.close()
    return False


async def until_refused(port: int) -> None:
    """Wait until the port takes no connections."""
    async with asyncio.timeout(20):
        while not await refuses(port):
            await asyncio.sleep(0.01)


def shown_serial(port: int, ca: Path) -> str:
    """The serial number of the certificate a server shows."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as raw,
        ssl.create_default_context(cafile=ca).wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        return str(connection.getpeercert()["serialNumber"])
