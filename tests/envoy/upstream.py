"""An upstream that behaves as a test wants: fails, waits, streams, and counts what it was asked."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Self


class Upstream:
    """Answers GET with 200 and its name, unless `statuses` or `held` say otherwise.

    `statuses[path]` are the statuses of the next answers to a path; the last one stays. A path in `held` is
    answered with headers and one event, and its end when `release` is set; one in `silent` with nothing at
    all until then.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.asked: Counter[str] = Counter()
        self.heads: list[str] = []
        self.statuses: dict[str, list[int]] = {}
        self.held: set[str] = set()
        self.silent: set[str] = set()
        self.release = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                await self._answer(head.split(" ", 2)[1].partition("?")[0], writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()

    async def _answer(self, path: str, writer: asyncio.StreamWriter) -> None:
        self.asked[path] += 1
        if path in self.silent:
            await self.release.wait()
        if path in self.held:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            writer.write(_chunk(b"data: first\n\n"))
            await writer.drain()
            await self.release.wait()
            writer.write(_chunk(b"data: last\n\n") + _chunk(b""))
        else:
            planned = self.statuses.get(path, [200])
            status = planned.pop(0) if len(planned) > 1 else planned[0]
            body = self.name.encode()
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()


def _chunk(content: bytes) -> bytes:
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"
