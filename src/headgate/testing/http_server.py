"""A small HTTP/1.1 server whose answers can be slow, half, or cut off: what fakes of HTTP APIs stand on.

class Fake(HttpFake):
async def answer(self, asked: Asked) -> Answered:
return Answered(200, {"path": asked.path})

async with Fake() as fake:
fake.fail("/v1/health", status=500, times=2)         # recorded faults, by the beginning of the path
fake.fail("/v1/health", delay=0.5)
await fake.stop(); await fake.start()                # an outage, on the same port
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

_REASONS: Final = {200: "OK", 404: "Not Found", 410: "Gone", 429: "Too Many Requests", 500: "Internal Server Error"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `body` is what its JSON says, None without."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any = None


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer: JSON, text, or parts that come one by one."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    stream: AsyncIterator[bytes] | None = None


class Cut(Exception):  # noqa: N818 - something that is done
    """Raised in an answer or a stream: the connection is reset here."""


@dataclass(slots=True)
class _Fault:
    path: str
    method: str
    answer: Answered | None
    delay: float
    cut: bool
    left: int | None


class HttpFake:
    """See the module. `asked` is what was asked so far, at most the last 10,000."""

    def __init__(self, *, port: int = 0) -> None:
        self.port = port
        self.asked: list[Asked] = []
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._faults: list[_Fault] = []

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, asked: Asked) -> Answered:
        """What is answered. Subclasses say."""
        raise NotImplementedError

    def fail(
        self,
        path: str = "/",
        *,
        method: str = "",
        status: int = 0,
        text: Any = "on purpose",
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        cut: bool = False,
        times: int | None = None,
    ) -> None:
        """From now on, at most `times`: answer paths that begin so by `status`, or late, or by a reset."""
        answer = Answered(status, text, headers or {}) if status else None
        self._faults.append(_Fault(path, method, answer, delay, cut, times))

    def heal(self) -> None:
        """No more faults."""
        self._faults.clear()

    async def start(self) -> None:
        """Answer, on the port of before if there was one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Be gone: every connection is reset."""
        assert self._server is not None
        self._server.close()
        self.cut_all()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    def cut_all(self) -> None:
        """Reset every connection that is open."""
        for task, writer in self._connections.items():
            writer.transport.abort()
            task.cancel()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self.stop()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        try:
            while await self._serve(reader, writer):
                pass
        except Cut:
            writer.transport.abort()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del self._connections[task]
            with suppress(ConnectionError, RuntimeError):
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        asked = await _read(reader)
        self.asked = [*self.asked[-9_999:], asked]
        answered = await self._unless_failing(asked)
        headers = {"content-type": "application/json", **answered.headers}
        reason = _REASONS.get(answered.status, "-")
        head = f"HTTP/1.1 {answered.status} {reason}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers.items())
        if answered.stream is None:
            text = answered.body if isinstance(answered.body, str) else json.dumps(answered.body)
            writer.write(f"{head}content-length: {len(text.encode())}\r\n\r\n{text}".encode())
            await writer.drain()
            return True
        writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
        async for part in answered.stream:
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _unless_failing(self, asked: Asked) -> Answered:
        for fault in self._faults:
            if fault.left == 0 or not asked.path.startswith(fault.path) or fault.method not in ("", asked.method):
                continue
            if fault.left is not None:
                fault.left -= 1
            if fault.delay:
                await asyncio.sleep(fault.delay)
            if fault.cut:
                raise Cut
            if fault.answer is not None:
                return fault.answer
        return await self.answer(asked)


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    method, target, _ = line.split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
    raw = await reader.readexactly(int(headers.get("content-length", "0")))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Asked(method, unquote(parts.path), query, headers, json.loads(raw) if raw else None)
