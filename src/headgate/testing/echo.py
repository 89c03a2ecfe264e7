"""An upstream that says what it was asked: for tests of what a gateway passes on.

    async with Echo() as echo:
        ...  # point a cluster at echo.port on 127.0.0.1

It answers every method and path, also those that servers know nothing of, with 200 and JSON:

    {"method", "path", "query", "headers": [[name, value], ...], "body": {"bytes", "sha256"}}

`path` and `query` are as they came over the wire. The headers `x-echo-method`, `x-echo-path` and
`x-echo-query` say the same to those who read no body (HEAD). A WebSocket handshake is accepted, and
what is sent then comes back.
"""

import asyncio
import json
from base64 import b64encode
from contextlib import suppress
from hashlib import sha1, sha256
from typing import Any, Final, Self

_WEBSOCKET: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LONGEST_HEAD: Final = 1 << 20

Headers = list[tuple[str, str]]


class Echo:
    """The server, on 127.0.0.1 and a free port unless one is given. `name` is told as `upstream` in the JSON."""

    def __init__(self, *, port: int = 0, name: str = "echo") -> None:
        self.name = name
        self.port = port
        self.requests = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_LONGEST_HEAD)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._connections.add(task)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(task)
            with suppress(ConnectionError):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False when the connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.rstrip("\r\n").split("\r\n")
        method, target, _version = line.split(" ", 2)
        headers = [(name.lower(), value.strip()) for name, _, value in (field.partition(":") for field in rest)]
        known = dict(headers)
        if known.get("upgrade", "").lower() == "websocket":
            await _echo_websocket(known.get("sec-websocket-key", ""), reader, writer)
            return False
        body = await _read_body(known, reader)
        self.requests += 1
        await self._write(writer, method, target, headers, body)
        return known.get("connection", "").lower() != "close"

    async def _write(
        self, writer: asyncio.StreamWriter, method: str, target: str, headers: Headers, body: bytes
    ) -> None:
        path, _, query = target.partition("?")
        document: dict[str, Any] = {
            "upstream": self.name,
            "method": method,
            "path": path,
            "query": query,
            "headers": headers,
            "body": {"bytes": len(body), "sha256": sha256(body).hexdigest()},
        }
        content = json.dumps(document).encode()
        fields = {
            "content-type": "application/json",
            "content-length": str(len(content)),
            "x-echo-upstream": self.name,
            "x-echo-method": method,
            "x-echo-path": path,
            "x-echo-query": query,
        }
        head = "HTTP/1.1 200 OK\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n"
        writer.write(head.encode("latin-1") + (b"" if method == "HEAD" else content))
        await writer.drain()


async def _read_body(headers: dict[str, str], reader: asyncio.StreamReader) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts: list[bytes] = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        while (await reader.readline()).strip():
            pass
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))


async def _echo_websocket(key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the handshake and send every frame back, unmasked (RFC 6455)."""
    accept = b64encode(sha1(key.encode("latin-1") + _WEBSOCKET, usedforsecurity=False).digest()).decode()
    writer.write(
        f"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-accept: {accept}\r\n\r\n".encode("latin-1")
    )
    while True:
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
        mask = await reader.readexactly(4) if second & 0x80 else b"\0\0\0\0"
        payload = bytes(byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(size)))
        writer.write(bytes([first]) + _frame_length(size) + payload)
        await writer.drain()
        if first & 0x0F == 8:
            return


def _frame_length(size: int) -> bytes:
    if size < 126:
        return bytes([size])
    return b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x7f" + size.to_bytes(8, "big")
