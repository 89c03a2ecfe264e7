"""A small HTTP/1.1 host whose connections can be counted and whose answers the test chooses."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def answer(status: int, *headers: str, body: bytes = b"") -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} X", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Host:
    """Listens on a free port. `answers(request)` gives bytes, None to stay silent, or b"" to hang up.

    It hangs up, too, after an answer which says `connection: close`. `open`, `most` and `accepted` count
    connections: those of now, the most there were at once, all.
    """

    def __init__(
        self, answers: Callable[[bytes], bytes | None] = lambda _: OK, tls: ssl.SSLContext | None = None
    ) -> None:
        self.answers = answers
        self.hold = asyncio.Event()
        self.hold.set()
        self.open = self.most = self.accepted = 0
        self.requests: list[bytes] = []
        self.protocols: list[str | None] = []
        self._tls = tls
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.accepted += 1
        self.open += 1
        self.most = max(self.most, self.open)
        tls = writer.get_extra_info("ssl_object")
        self.protocols.append(tls.selected_alpn_protocol() if tls else None)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if length and self.hold.is_set():
                    await reader.readexactly(int(length[0].split(b":")[1]))
                await self.hold.wait()
                given = self.answers(head)
                if given == b"":
                    return
                if given is not None:
                    writer.write(given)
                    await writer.drain()
                    if b"connection: close" in given:
                        return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()
