"""The shell behind a real uvicorn, spoken to through raw sockets: slow, rude and vanishing callers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import Budget
from tests.kit.asgi.test_shell import echo
from tests.kit.asgi.test_shell_endings import SSE, TEXT, Stream, Times
from tests.kit.asgi.wire import Witness, part, pipeline, start, until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Server(uvicorn.Server):
    """A server without signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self):
        yield


@pytest.fixture(params=["httptools", "h11"])
async def serving(request):
    """Serves a shell on a free port; gives the port."""
    running = []

    async def serve(shell) -> int:
        config = uvicorn.Config(
            shell, host="127.0.0.1", port=0, http=request.param, lifespan="off", log_config=None, server_header=False
        )
        server = Server(config)
        task = asyncio.create_task(server.serve())
        running.append((server, task))
        await until(lambda: server.started)
        return server.servers[0].sockets[0].getsockname()[1]

    yield serve
    for server, task in running:
        server.should_exit = server.force_exit = True
        await task


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def all_of(reader: asyncio.StreamReader) -> bytes:
    """Everything until the server closes; what a reset leaves of it."""
    found = b""
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionResetError):
            while more := await reader.read(65_536):
                found += more
    return found


GET = b"GET / HTTP/1.1\r\nhost: x\r\n"


async def test_d03_a_slow_client_is_told(serving):
    """A client that sends its chunked body without end gets the 413 while it still sends."""
    witness = Witness()
    port = await serving(Shell(echo, pipeline(witness), max_body_size=1_000))
    async with connected(port) as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(12):
            writer.write(b"64\r\n" + b"x" * 100 + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        assert b"x-request-id: r-1" in head
        writer.write(b"0\r\n\r\n")
        assert json.loads(await all_of(reader))["code"] == "body_too_large"
    await until(lambda: len(witness.settled) == 1)


async def test_a_large_body_is_refused_before_it_comes(serving):
    """A client that announces too much is answered at once, and again when it sends all of it first."""
    port = await serving(Shell(echo, pipeline(Witness()), max_body_size=1_000))
    size = 600_000
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % size
    async with connected(port) as (reader, writer):
        writer.write(head + b"expect: 100-continue\r\n\r\n")
        assert (await all_of(reader)).startswith(b"HTTP/1.1 413 ")
    async with connected(port) as (reader, writer):
        writer.write(head + b"\r\n" + b"x" * size)
        await writer.drain()
        answer = await all_of(reader)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b"}")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_in_the_middle(serving, begun):
    """The application stops when its client closes the connection, before the answer or within it."""
    witness = Witness()
    app = Stream(*(["start", b"data: 1\n\n"] if begun else []), None)
    port = await serving(Shell(app, pipeline(witness), watch_after=0.01))
    async with connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        if begun:
            async with asyncio.timeout(20):
                await reader.readuntil(b"data: 1\n\n")
        else:
            await asyncio.sleep(0.03)
    await until(lambda: app.cancelled == 1 and len(witness.settled) == 1)
    assert (witness.call.status, witness.call.code) == (200 if begun else 499, "CANCELLED")


async def test_a_half_closed_client(serving):
    """A client that closes its sending side after the request is taken for gone, and the application stops."""
    app, witness = Stream("start", b"data: 1\n\n", None), Witness()
    port = await serving(Shell(app, pipeline(witness), watch_after=0.01))
    async with connected(port) as (reader, writer):
        writer.write(GET + b"\r\n")
        writer.write_eof()
        await all_of(reader)
    await until(lambda: len(witness.settled) == 1)
    assert app.cancelled == 1


async def test_two_at_once(serving):
    """One client's leaving and another's deadline do not touch each other."""
    witness = Witness()
    app = Stream("start", b"data: 1\n\n", 0.3, b"data: 2\n\n")
    port = await serving(Shell(app, pipeline(witness), watch_after=0.01))
    async with connected(port) as (stays, writer):
        writer.write(GET + b"connection: close\r\n\r\n")
        async with connected(port) as (leaves, other):
            other.write(GET + b"\r\n")
            async with asyncio.timeout(20):
                await leaves.readuntil(b"data: 1\n\n")
        answer = await all_of(stays)
    assert answer.endswith(b"data: 2\n\n\r\n0\r\n\r\n")
    await until(lambda: len(witness.settled) == 2)
    assert sorted(call.code for call in witness.settled) == ["CANCELLED", "OK"]


@pytest.mark.parametrize("header", [SSE, TEXT], ids=["events", "text"])
async def test_d04_d05_what_ends_early_shows(serving, header, logged):
    """A stream that breaks ends with an error event; of another answer the client sees that it is not whole."""
    app = Stream("start", b"data: 1\n\n", 0.01, KeyError("sda9"), header=header)
    port = await serving(Shell(app, pipeline(Witness())))
    async with connected(port) as (reader, writer):
        writer.write(GET + b"connection: close\r\n\r\n")
        answer = await all_of(reader)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert (b"event: error" in answer) == (header is SSE)
    assert answer.endswith(b"0\r\n\r\n") == (header is SSE)
    assert b"sda9" not in answer


async def test_a_client_that_reads_nothing(serving, logged):
    """A client that does not read is let go when nothing could be sent for too long."""

    async def flood(_scope, _receive, send):
        await start(send, 200, TEXT)
        while True:
            await part(send, b"x" * 262_144)

    witness = Witness()
    port = await serving(Shell(flood, pipeline(witness, Times(Budget(idle=0.2))), last_words=0.1))
    async with connected(port) as (_reader, writer):
        writer.transport.pause_reading()
        writer.write(GET + b"\r\n")
        await until(lambda: len(witness.settled) == 1, 20)
    assert (witness.call.code, witness.call.complete) == ("DEADLINE_EXCEEDED", False)


async def test_the_connection_lives(serving):
    """Refusals, missed deadlines and unread bodies leave the connection fit for the next request."""
    app = Stream(None)
    port = await serving(Shell(app, pipeline(Witness(), Times(Budget(first_byte=0.02)))))
    async with connected(port) as (reader, writer):
        for _ in range(3):
            writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello")
            async with asyncio.timeout(20):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 504 ")
                length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
                assert json.loads(await reader.readexactly(length))["code"] == "request_timeout"
