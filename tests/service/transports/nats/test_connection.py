"""What NATS sends, in whatever pieces it comes."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import pytest
from nats import errors
from nats.aio.client import PING_PROTO, Client

from headgate.service.transports.nats.connection import Connecting, Connection, Message, connect
from headgate.testing.nats import nats_or_skip

HEADED = b"HMSG svc.x 7 12 17\r\nNATS/1.0\r\n\r\nhello\r\n"
PLAIN = b"MSG svc.x 7 5\r\nhello\r\n"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server."""
    with nats_or_skip() as server:
        yield server.url


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Connection]:
    """A connection to it."""
    made = await connect(Connecting(url))
    yield made
    await made.aclose()


@pytest.mark.parametrize("message", [HEADED, PLAIN])
@pytest.mark.parametrize("before", [b"", b"PONG\r\n", b"+OK\r\nPONG\r\n", PLAIN])
@pytest.mark.parametrize("cut", [0, 1, 9, 20])
async def test_messages_come_whole_in_whatever_pieces(connection, message, before, cut):
    """A message reaches its listener behind anything else, and cut anywhere."""
    heard: list[Message] = []
    subscription = await connection.listen("svc.x", heard.append)
    number = str(subscription._id).encode()
    stream = (before + message + message).replace(b" 7 ", b" " + number + b" ")
    for part in (stream[:cut], stream[cut:]):
        await connection._ps.parse(part)
    assert [each.data for each in heard] == [b"hello"] * (3 if before == PLAIN else 2)


async def test_messages_that_come_at_once_are_heard(url):
    """Whoever listens where others publish all the time misses nothing once it listens, and the connection lives."""
    publisher, listener = await connect(Connecting(url)), await connect(Connecting(url))
    over = False

    async def publish() -> None:
        while not over:
            publisher.post("busy", b"x")
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    for _ in range(50):
        heard = asyncio.Event()
        subscription = await listener.listen("busy", lambda _message, heard=heard: heard.set())
        await asyncio.wait_for(heard.wait(), 10)
        await listener.forget(subscription)
        listener.settled(subscription)
    over = True
    await publishing
    assert listener.is_connected
    await publisher.aclose()
    await listener.aclose()


async def test_what_is_relied_on_of_nats_py_is_there(connection):
    """The names of nats-py that are not public and that the connection uses: another release may have others."""
    for name in (
        "_status",
        "_sid",
        "_subs",
        "_pending",
        "_pending_data_size",
        "_max_pending_size",
        "_max_payload",
        "_transport",
        "_pongs",
        "_pongs_received",
        "_pings_outstanding",
        "_send_ping",
        "_process_pong",
        "_process_connect_init",
        "_flush_pending",
    ):
        assert hasattr(connection, name), name
    for name in ("CONNECTED", "_flush_queue", "_ps", "_send_unsubscribe", "_remove_sub", "_process_msg"):
        assert hasattr(connection, name), name
    assert hasattr(connection._transport, "_io_writer")
    for name in ("buf", "state", "parse"):
        assert hasattr(connection._ps, name), name


async def test_what_is_posted_in_one_turn_is_written_once(connection):
    """Messages leave together, in order, and the figures of nats-py are right again when they have."""
    heard: list[bytes] = []
    done = asyncio.Event()

    def receive(subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
        heard.append(data)
        if len(heard) == 100:
            done.set()

    await connection.receive("many", receive)
    await connection.flush()
    for number in range(50):
        connection.post("many", b"%d" % (2 * number))
        connection.answer(b"many", b"%d" % (2 * number + 1))
    assert len(connection._pending) == 100
    assert connection._flush_queue.empty()
    await asyncio.wait_for(done.wait(), 10)
    assert heard == [b"%d" % number for number in range(100)]
    assert (connection._pending, connection._pending_data_size) == ([], 0)


async def test_more_than_the_socket_takes_at_once_arrives_whole(url):
    """What cannot be written at once waits its turn, and nothing is lost or out of order."""
    one, two = await connect(Connecting(url)), await connect(Connecting(url))
    heard: list[int] = []
    done = asyncio.Event()

    def receive(subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
        heard.append(int(data[:4]))
        if len(heard) == 200:
            done.set()

    await two.receive("large", receive)
    await two.flush()
    for number in range(200):
        one.post("large", b"%04d" % number + b"x" * 200_000)
        if number % 7 == 0:
            await asyncio.sleep(0)
    await asyncio.wait_for(done.wait(), 20)
    assert heard == list(range(200))
    await one.aclose()
    await two.aclose()


async def test_what_a_slow_server_does_not_take_waits_where_it_is_counted():
    """A socket is handed no more than it has room for: the rest waits in sight of `congested`, and arrives at last."""
    with nats_or_skip() as server:
        sender, listener = await connect(Connecting(server.url)), await connect(Connecting(server.url))
        heard: list[int] = []
        done = asyncio.Event()

        def receive(subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
            heard.append(len(data))
            if len(heard) == 40:
                done.set()

        await listener.receive("much", receive)
        await listener.flush()
        server.pause()
        piece = b"x" * 500_000
        for _ in range(40):
            sender.post("much", piece)
            await asyncio.sleep(0)  # a turn of the loop, in which what was posted leaves
        room = sender._transport._io_writer.transport.get_write_buffer_size()
        assert room <= 65_536 + 3 * len(piece)
        assert sender._pending_data_size > 10 * len(piece)
        waiting = asyncio.create_task(sender.congested())
        await asyncio.sleep(0)
        assert not waiting.done()
        server.resume()
        await asyncio.wait_for(asyncio.gather(waiting, done.wait()), 20)
        assert heard == [len(piece)] * 40
        await sender.aclose()
        await listener.aclose()


async def until_it_waits(connection: Connection) -> None:
    """Post to a server that is paused until the socket takes no more and some of it waits."""
    for _ in range(400):
        connection.post("much", b"x" * 100_000)
        await asyncio.sleep(0)
        if connection._pending_data_size > 300_000:
            return
    pytest.fail("the socket took 40 MB")


async def test_a_flush_says_that_all_before_it_has_come():
    """Its ping goes behind what was posted and subscribed to in the same turn: the pong is for all of that."""
    came = bytearray()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "x", "version": "2.12.0", "max_payload": 1_048_576, "headers": True, "proto": 1}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        answered = 0
        while piece := await reader.read(65_536):
            came.extend(piece)
            writer.write(b"PONG\r\n" * (came.count(b"PING\r\n") - answered))
            answered = came.count(b"PING\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connection = await connect(Connecting(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        connection.post("one", b"1")
        await connection.receive("news", lambda *_: None)
        connection.post("two", b"2")
        await connection.flush()
        assert came.endswith(b"PUB one  1\r\n1\r\nSUB news  1\r\nPUB two  1\r\n2\r\nPING\r\n")
        await connection.aclose()


async def test_who_leaves_a_flush_leaves_the_connection_whole(url):
    """A pong whose flush was given up is nobody's, and does not pass for that of the next one."""
    connection = await connect(Connecting(url))
    left = asyncio.create_task(connection.flush())
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    await connection.flush()
    assert connection._pongs == []
    assert connection.is_connected
    await connection.aclose()


async def test_a_flush_that_a_broken_connection_takes_with_it_is_not_answered_by_the_next(monkeypatch):
    """Pings that waited go with their connection: the new one's pongs are for its own; all else is sent again."""
    waiting: list[tuple[int, bool]] = []
    real = Client._process_connect_init

    async def begun(self: Client) -> None:
        size = sum(map(len, self._pending))
        waiting.append((self._pending.count(PING_PROTO), self._pending_data_size == size > 300_000))
        await real(self)

    with nats_or_skip() as server:
        connection = await connect(Connecting(server.url, reconnect_wait=0.05))
        server.pause()
        await until_it_waits(connection)
        flushing = asyncio.create_task(connection.flush(1))
        await asyncio.sleep(0.05)
        assert PING_PROTO in connection._pending
        back = asyncio.Event()
        connection.returned.add(back.set)
        monkeypatch.setattr(Client, "_process_connect_init", begun)
        server.stop()
        server.start()
        await asyncio.wait_for(back.wait(), 10)
        with pytest.raises(errors.FlushTimeoutError):
            await flushing
        assert set(waiting) == {(0, True)}
        assert connection._pongs == []
        await connection.flush()
        await connection.aclose()


async def test_who_waits_for_a_stuck_server_can_be_cancelled():
    """Subscribing behind more than may wait is given up when it is cancelled, and the connection goes on."""
    with nats_or_skip() as server:
        connection = await connect(Connecting(server.url))
        server.pause()
        await until_it_waits(connection)
        connection.post("much", b"x" * 1_000_000)
        connection.post("much", b"x" * 1_000_000)
        subscribing = asyncio.create_task(connection.receive("news", lambda *_: None, queue="all"))
        await asyncio.sleep(0.1)
        assert not subscribing.done()
        subscribing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await subscribing
        server.resume()
        heard: list[bytes] = []
        await connection.receive("news", lambda _subject, _reply, data, _head: heard.append(data), queue="all")
        await connection.flush()
        for number in range(20):  # of a queue: what was given up takes none of them
            connection.post("news", b"%d" % number)
        await connection.flush()
        await connection.flush()
        assert len(heard) == 20
        await connection.aclose()
