"""The echo upstream tells what it was asked, whatever that is."""

import asyncio
import json
from hashlib import sha256

import pytest

from headgate.testing.echo import Echo


async def _ask(port: int, request: bytes) -> tuple[str, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status, *fields = head.strip().split("\r\n")
    headers = {name: value.strip() for name, _, value in (field.partition(":") for field in fields)}
    body = b"" if request.startswith(b"HEAD") else await reader.readexactly(int(headers["content-length"]))
    writer.close()
    return status, headers, body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "TRACE", "QUERY", "COPY", "FROB"])
async def test_every_method_is_answered(method):
    """Method, path and query come back as they were sent, in headers and, but for HEAD, in JSON."""
    async with Echo(name="here") as echo:
        status, headers, body = await _ask(echo.port, f"{method} /a%20b?c=d&e HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert status == "HTTP/1.1 200 OK"
    assert (headers["x-echo-method"], headers["x-echo-path"], headers["x-echo-query"]) == (method, "/a%20b", "c=d&e")
    if method != "HEAD":
        told = json.loads(body)
        assert (told["upstream"], told["method"], told["path"], told["query"]) == ("here", method, "/a%20b", "c=d&e")
        assert ["host", "x"] in told["headers"]


@pytest.mark.parametrize(
    "framed",
    [b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n"],
)
async def test_bodies_are_counted_and_hashed(framed):
    """The body is told as its length and its digest, however it is framed."""
    async with Echo() as echo:
        _, _, body = await _ask(echo.port, b"POST / HTTP/1.1\r\n" + framed)
    assert json.loads(body)["body"] == {"bytes": 5, "sha256": sha256(b"hello").hexdigest()}


async def test_connections_are_kept():
    """Several requests may use one connection."""
    async with Echo() as echo:
        reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
        for path in ("/1", "/2"):
            writer.write(f"HEAD {path} HTTP/1.1\r\n\r\n".encode())
            assert f"x-echo-path: {path}\r\n" in (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
        assert echo.requests == 2


@pytest.mark.parametrize("size", [5, 300, 70_000])
async def test_websockets_echo(size):
    """What is sent over a WebSocket comes back unmasked."""
    async with Echo() as echo:
        reader, writer = await asyncio.open_connection("127.0.0.1", echo.port, limit=1 << 20)
        writer.write(
            b"GET /chat HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        # The example of RFC 6455, section 1.3.
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        payload = b"x" * size
        mask = b"abcd"
        wide = 8 if size >= 1 << 16 else 2
        length = bytes([0x80 | size]) if size < 126 else bytes([0xFE + (wide == 8)]) + size.to_bytes(wide, "big")
        writer.write(b"\x82" + length + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
        start = await reader.readexactly(2)
        assert start[1] & 0x80 == 0
        extra = {126: 2, 127: 8}.get(start[1], 0)
        assert int.from_bytes(await reader.readexactly(extra) if extra else start[1:], "big") == size
        assert await reader.readexactly(size) == payload
        writer.close()
