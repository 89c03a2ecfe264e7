r"""A connection to NATS: nats-py's, with a shorter way for each message in and out.

    connection = await connect("nats://127.0.0.1:4222", name="orders")
    subscription = await connection.listen("svc.orders.*", on_message, queue="orders")
    connection.post("svc.orders.Get", b"{}", reply=inbox, headers=b"content-type: application/json\r\n")

Connecting, TLS, credentials, reconnecting and JetStream are nats-py's own. What is different: a listener is a plain
function that is called as a message is read, not a task behind a queue; what is posted is written once per turn of the
event loop; the parser takes messages apart without copying what is left of its buffer each time. All of that is
within one subclass, which the tests hold against a real server.

    Unavailable
    ├── unreachable        no server answers
    ├── not_connected      the connection is gone, and more waits for it than may; or nothing comes back over it
    └── no_responders      nobody listens to the subject
    ResourceExhausted
    └── message_too_large  larger than the server takes
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import structlog
from nats import errors
from nats.aio.client import PING_PROTO, Client
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from headgate.kit.controls.faults import ResourceExhausted, Unavailable
from headgate.service.client.errors import Unreachable

_PREFIX: Final = b"NATS/1.0"
_LONGEST_LINE: Final = 4_096
_ROOM: Final = 65_536
"""Bytes that may wait for the socket before more is not handed to it: asyncio's own mark."""
_WITH_STATUS: Final = re.compile(rb"NATS/1\.0 ?(\d{3})?")
NO_RESPONDERS: Final = 503
_log = structlog.get_logger("headgate.nats")


class Message(NamedTuple):
    """One message as it came. `head` is its header block, b"" when there is none."""

    subject: str
    reply: str
    data: bytes
    head: bytes

    @property
    def status(self) -> int:
        """The status the server sent in place of a message, 0 for a message."""
        found = _WITH_STATUS.match(self.head) if self.head else None
        return int(found[1]) if found is not None and found[1] else 0

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names in lower case, and values."""
        return headers_of(self.head) if self.head else []


Listener = Callable[[Message], None]
Receiver = Callable[[bytes, bytes, bytes, bytes], None]
"""Called with a message's subject, reply subject, data and header block."""


def headers_of(head: bytes) -> list[tuple[bytes, bytes]]:
    """Names in lower case, and values, of a header block; b"" has none."""
    found: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\r\n")[1:]:
        if line:
            name, _, value = line.partition(b":")
            found.append((name.strip().lower(), value.strip()))
    return found


class _Parser(Parser):
    """Takes messages out of what was read; all else it leaves to nats-py."""

    def __init__(self, client: "Connection") -> None:
        super().__init__(client)
        self._client = client

    async def parse(self, data: bytes = b"") -> None:
        """Dispatch what came."""
        if self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        buffer = bytes(self.buf) + data if self.buf else data
        position, deliver = 0, self._client.deliver
        while True:
            headed = buffer.startswith(b"HMSG ", position)
            if not headed and not buffer.startswith(b"MSG ", position):
                break
            line_end = buffer.find(b"\r\n", position, position + _LONGEST_LINE)
            if line_end < 0:
                break
            words = buffer[position:line_end].split()
            begin = line_end + 2
            end = begin + int(words[-1])
            if len(buffer) < end + 2:
                break
            head_end = begin + int(words[-2]) if headed else begin
            reply = words[3] if len(words) == (6 if headed else 5) else b""
            if not deliver(int(words[2]), words[1], reply, buffer[head_end:end], buffer[begin:head_end]):
                await self._client._process_msg(  # type: ignore[no-untyped-call,unused-ignore] # noqa: SLF001
                    int(words[2]), words[1], reply, buffer[head_end:end], buffer[begin:head_end]
                )
            position = end + 2
        rest = buffer[position:] if position else buffer
        if rest.startswith((b"MSG ", b"HMSG ")) and (len(rest) > _LONGEST_LINE or b"\r\n" in rest[:_LONGEST_LINE]):
            self.buf = bytearray(rest)
        else:
            self.buf = bytearray()
            await super().parse(rest)


class Connection(Client):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = _Parser(self)
        self._receivers: dict[int, Receiver] = {}
        self._inboxes = 0
        self._ticking = False
        self.patience = 5.0
        """How long the server may take to answer, in seconds."""
        self.ended = asyncio.Event()
        self.returned: set[Callable[[], None]] = set()
        """Called when a connection that broke is mended: what only the server knew is lost."""

    async def listen(self, subject: str, listener: Listener, *, queue: str = "") -> Subscription:
        """Call `listener` with every message on the subject, until `forget`."""

        def receive(subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
            listener(Message(subject.decode(), reply.decode(), data, head))

        return await self.receive(subject, receive, queue=queue)

    async def receive(self, subject: str, receiver: Receiver, *, queue: str = "") -> Subscription:
        """The same without an object for each message: `receiver` is given its parts."""
        # With a future nats-py starts no task of its own for the subscription.
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = self._sid + 1  # where many publish, the first message comes before `subscribe` returns
        self._receivers[number] = receiver
        try:
            return await self.subscribe(subject, queue=queue, future=future)
        except BaseException:
            del self._receivers[number]
            if self._subs.pop(number, None) is not None and self.is_connected:
                self._put(b"UNSUB %d\r\n" % number, 0)  # it may be on its way, and a queue would hand it messages
            raise

    async def forget(self, subscription: Subscription) -> None:
        """Ask for no more messages; those that are on their way still come until `settled`."""
        if not self.is_closed:
            await self._send_unsubscribe(subscription._id)  # noqa: SLF001

    def settled(self, subscription: Subscription) -> None:
        """Let go of a subscription that was forgotten."""
        self._receivers.pop(subscription._id, None)  # noqa: SLF001
        self._remove_sub(subscription._id)  # noqa: SLF001

    async def leave(self, subscription: Subscription) -> None:
        """Ask for no more messages, and return when those that were on their way have come, or nothing comes."""
        try:
            await self.forget(subscription)
            if self.is_connected:
                await self.reached()
        except (Unavailable, errors.Error, OSError) as error:
            _log.debug("not told that it drains", exc_info=error)
        self.settled(subscription)

    async def reached(self) -> None:
        """Return when the server has all that was sent before. Raises Unavailable (`not_connected`)."""
        try:
            await self.flush(self.patience)  # type: ignore[arg-type] # it takes fractions
        except (errors.Error, OSError) as error:
            raise Unavailable(
                "NATS does not answer", code="not_connected", internal=repr(error), hint="try again later"
            ) from error

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        """What nats-py parsed itself, such as a message behind a PONG, is for the listeners all the same."""
        if not self.deliver(sid, subject, reply, data, headers or b""):
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[no-untyped-call,arg-type,unused-ignore]

    def deliver(self, sid: int, subject: bytes, reply: bytes, data: bytes, head: bytes) -> bool:
        """Hand a message to whoever receives it; False when that is nobody of ours."""
        receiver = self._receivers.get(sid)
        if receiver is None:
            return False
        try:
            receiver(subject, reply, data, head)
        except Exception:  # noqa: BLE001 - one message must not end the connection
            _log.exception("a message could not be taken", subject=subject.decode(errors="replace"))
        return True

    async def _send_ping(self, future: asyncio.Future[Any] | None = None) -> None:
        """A ping goes behind all that waits to be sent: its pong says that all of it has come. nats-py's overtakes."""
        self._pongs.append(future or asyncio.get_running_loop().create_future())
        self._pending.append(PING_PROTO)
        self._pending_data_size += len(PING_PROTO)
        await self._flush_pending()

    async def _flush_pending(self, force_flush: bool = False) -> Any:
        """As always, but that nats-py takes a cancellation for an answer."""
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        future = await super()._flush_pending(force_flush)
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
        return future

    async def _process_pong(self) -> None:
        """A pong is of the oldest ping, also where nobody waits for it any more."""
        if self._pongs:
            waiting = self._pongs.pop(0)
            if not waiting.done():
                waiting.set_result(True)
            self._pongs_received += 1
            self._pings_outstanding = 0

    async def _process_connect_init(self) -> None:
        """Pings that still wait were meant for the connection that broke."""
        pings = self._pending.count(PING_PROTO)
        self._pending = [command for command in self._pending if command != PING_PROTO]
        self._pending_data_size -= pings * len(PING_PROTO)
        await super()._process_connect_init()  # type: ignore[no-untyped-call,unused-ignore]

    def post(self, subject: str, data: bytes, *, reply: str = "", headers: bytes = b"") -> None:
        """Publish; `headers` are lines, each with its end. Subjects are not checked here: they must be sane.

        Raises Unavailable (`not_connected`) and ResourceExhausted (`message_too_large`).
        """
        if headers:
            head = b"NATS/1.0\r\n" + headers + b"\r\n"
            size = len(head) + len(data)
            command = b"".join((f"HPUB {subject} {reply} {len(head)} {size}\r\n".encode(), head, data, b"\r\n"))
        else:
            size = len(data)
            command = b"".join((f"PUB {subject} {reply} {size}\r\n".encode(), data, b"\r\n"))
        self._put(command, size)

    def answer(self, reply: bytes, data: bytes) -> None:
        """Publish to a reply subject as it came, without headers. Raises what `post` does."""
        size = len(data)
        self._put(b"PUB %b %d\r\n%b\r\n" % (reply, size, data), size)

    def _put(self, command: bytes, size: int) -> None:
        if size > self._max_payload:
            raise ResourceExhausted(
                f"the message has {size} bytes; the server takes {self._max_payload}",
                code="message_too_large",
                hint="send it as a stream",
            )
        if self._status != self.CONNECTED and (
            self.is_closed or (not self.is_connected and self._pending_data_size + size > self._max_pending_size)
        ):
            raise Unavailable("there is no connection to NATS", code="not_connected", hint="try again later")
        self._pending.append(command)
        self._pending_data_size += len(command)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        self._ticking = False
        if not self._pending:
            return
        transport = self._transport
        if self._status == self.CONNECTED and isinstance(transport, TcpTransport) and _has_room(transport):
            pending, self._pending, self._pending_data_size = self._pending, [], 0
            transport.writelines(pending)  # type: ignore[no-untyped-call,unused-ignore]
            return
        queue = self._flush_queue
        if queue is not None and queue.empty() and self.is_connected:
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def congested(self) -> None:
        """Wait until what was posted has reached the server, when there is much of it. Raises what `reached` does."""
        if self._pending_data_size > self._max_pending_size // 2 and self.is_connected:
            await self.reached()

    def inbox(self) -> str:
        """A subject that nobody else has."""
        return self.new_inbox()

    async def aclose(self) -> None:
        """Flush and close."""
        if self.is_connected:
            try:
                await self.flush(min(2.0, self.patience))  # type: ignore[arg-type] # it takes fractions
            except (errors.Error, OSError) as error:
                _log.debug("not all was sent before closing", exc_info=error)
        if not self.is_closed:
            await self.close()
        self.ended.set()


def _has_room(transport: TcpTransport) -> bool:
    """Whether the socket takes what is sent, so that nats-py's task need not wait for it."""
    writer = transport._io_writer  # noqa: SLF001
    return writer is not None and writer.transport.get_write_buffer_size() <= _ROOM


@dataclass(frozen=True, slots=True)
class Connecting:
    """How to connect: `options` are those of nats-py's `connect`; `timeout` is for connecting and for later answers.

    Times are in seconds.
    """

    url: str
    name: str = "headgate"
    timeout: float = 5.0
    reconnect_wait: float = 0.25
    options: Any = None


async def connect(to: Connecting) -> Connection:
    """Connect, and stay so: what breaks is mended until `aclose`. Raises Unreachable."""
    connection = Connection()
    connection.patience = to.timeout

    async def failed(error: Exception) -> None:
        _log.warning("trouble with NATS", reason=repr(error))

    async def lost() -> None:
        if not connection.is_closed:
            _log.warning("the connection to NATS is lost; connecting again")

    async def back() -> None:
        _log.info("connected to NATS again")
        for each in tuple(connection.returned):
            each()
        if theirs is not None:
            await theirs()

    async def closed() -> None:
        connection.ended.set()

    given = dict(to.options or {})
    theirs = given.pop("reconnected_cb", None)
    options: dict[str, Any] = {
        "name": to.name,
        "error_cb": failed,
        "disconnected_cb": lost,
        "reconnected_cb": back,
        "closed_cb": closed,
        "connect_timeout": to.timeout,
        "reconnect_time_wait": to.reconnect_wait,
        "max_reconnect_attempts": -1,
        **given,
    }
    try:
        async with asyncio.timeout(to.timeout):
            await connection.connect(to.url.split(","), **options)
    except (errors.Error, OSError, TimeoutError) as error:
        await _abandoned(connection)
        raise Unreachable("NATS cannot be reached", internal=repr(error), hint="is the address right?") from error
    except asyncio.CancelledError:
        await _abandoned(connection)
        raise
    return connection


async def _abandoned(connection: Connection) -> None:
    try:
        await connection.close()
    except Exception as error:  # noqa: BLE001 - it never was open
        _log.debug("closing what never opened", exc_info=error)


def header_lines(headers: Any) -> bytes:
    """Headers as they are sent; what would break out of its line is refused by being left out."""
    return b"".join(
        b"%s: %s\r\n" % (name.encode(), value.encode())
        for name, value in headers.items()
        if not _BREAKS.search(name) and not _BREAKS.search(value)
    )


_BREAKS: Final = re.compile(r"[\r\n\x00]")
