"""Load and upstreams for benchmarks: small, on loopback, bounded in time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


class _Answering(asyncio.Protocol):
    """Answers every request at once with 200 and the upstream's name."""

    def __init__(self, name: str) -> None:
        self._answer = f"HTTP/1.1 200 OK\r\nx-upstream: {name}\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode()
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            self._buffer = self._buffer[end + 4 :]
            self._transport.write(self._answer)  # type: ignore[attr-defined]


@asynccontextmanager
async def upstream(name: str) -> AsyncIterator[int]:
    """A server that answers every body-less request with its name; yields its port."""
    server = await asyncio.get_running_loop().create_server(lambda: _Answering(name), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Caller:
    """One keep-alive HTTP/1.1 connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def get(self, path: str, host: str = "127.0.0.1") -> tuple[int, bytes]:
        """Send a GET; return status and body."""
        if self._writer is None or self._writer.is_closing():
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        assert self._reader
        self._writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        body = b""
        if "content-length:" in head:
            body = await self._reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
        if "connection: close" in head:
            self._writer.close()
        return status, body

    def close(self) -> None:
        """Close the connection."""
        if self._writer:
            self._writer.close()


@dataclass
class Tally:
    """What a load saw: how many answers of each status (0: a broken connection)."""

    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All answers."""
        return sum(self.statuses.values())

    @property
    def not_ok(self) -> int:
        """Answers other than 200."""
        return self.total - self.statuses[200]


@asynccontextmanager
async def load(port: int, path: str, connections: int = 4) -> AsyncIterator[Tally]:
    """Ask for `path` without pause on some connections while the body runs."""
    tally = Tally()

    async def ask() -> None:
        caller = Caller(port)
        try:
            while True:
                try:
                    status, _ = await caller.get(path)
                except (OSError, asyncio.IncompleteReadError):
                    status = 0
                    caller.close()
                tally.statuses[status] += 1
        finally:
            caller.close()

    tasks = [asyncio.create_task(ask()) for _ in range(connections)]
    try:
        yield tally
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
