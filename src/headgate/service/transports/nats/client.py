"""Calls over NATS, as a wire of the typed client.

    wire = NatsClient("nats://127.0.0.1:4222", MSGPACK)
    order = await wire.unary(Outgoing(method, "/orders.Orders/Get"), request)

It connects with the first call; all calls share one connection and one subscription. Which instance answers is NATS's
choice. When nobody listens the call fails at once.

    Unreachable        NATS is not there, or nobody serves the method (`no_responders`): nothing was done
    ConnectionLost     a stream broke
    OutOfTime          no answer within the time of the call
    BadAnswer          what came back is not what the contract says
    ResourceExhausted  an answer is larger than `max_message` (`answer_too_large`)
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from headgate.kit.controls.faults import Fault
from headgate.service.client.errors import BadAnswer, Unreachable
from headgate.service.codecs import JSON, Codec, codec_of
from headgate.service.faults import fault_of
from headgate.service.method import Method
from headgate.service.transports.nats.connection import (
    NO_RESPONDERS,
    Connecting,
    Connection,
    Message,
    connect,
    header_lines,
)
from headgate.service.transports.nats.deadlines import Deadlines
from headgate.service.transports.nats.streams import CANCEL, head_of
from headgate.service.transports.session.calling import Calling, Refused, fault_from
from headgate.service.transports.session.frames import Form, form_of
from headgate.service.transports.session.machine import answer_too_large
from headgate.service.transports.socket.client import Responses, encoded, milliseconds

if TYPE_CHECKING:
    from headgate.service.client.wires import Outgoing

MEBIBYTE: Final = 1_048_576
_FAILED: Final = b"nats-service-error-code"
_FAILED_MARK: Final = b"Nats-Service-Error-Code"

Waiting = asyncio.Future[tuple[bytes, bytes]]
"""What will be answered: data and headers."""


class NatsClient:
    """See the module. `service` is the name under which its methods are found; "" takes it from the path's package.

    `options` are those of nats-py's `connect`; times are in seconds, `max_message` in bytes of one answer.
    """

    def __init__(
        self,
        url: str,
        codec: Codec = JSON,
        *,
        service: str = "",
        headers: Mapping[str, str] | None = None,
        connect_timeout: float = 2.0,
        keep_alive: float = 10.0,
        max_message: int = 16 * MEBIBYTE,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._to = Connecting(url, "headgate client", connect_timeout, options=options)
        self._codec = codec
        self._form = form_of(codec)
        self._service = service
        self._headers = dict(headers or {})
        kind = b"" if codec is JSON else f"content-type: {codec.media_type}\r\n".encode()
        self._fixed = kind + header_lines(self._headers)
        self._keep_alive = keep_alive
        self._most = max_message
        self._responses = Responses(codec)
        self._subjects: dict[Method, str] = {}
        self._connection: Connection | None = None
        self._connecting = asyncio.Lock()
        self._prefix = ""
        self._count = 0
        self._waiting: dict[str, Waiting] = {}
        self._deadlines = Deadlines()
        self._streams: dict[str, _Stream] = {}

    async def unary(self, out: "Outgoing", request: Any) -> Any:
        """The answer to one request."""
        connection = self._connection if self._connection is not None else await self._connected()
        data = self._codec.encode(request)
        token = self._token()
        loop, until = asyncio.get_running_loop(), out.until
        lines = self._lines(out, None if until is None else max(1, round((until - loop.time()) * 1_000)))
        future: Waiting = loop.create_future()
        self._waiting[token] = future
        moment = None if until is None else self._deadlines.add(future, until)
        try:
            connection.post(self._subject(out), data, reply=f"{self._prefix}.{token}", headers=lines)
            data, head = await future
        except asyncio.CancelledError:
            self._leave(connection, out, token)
            raise
        finally:
            del self._waiting[token]
            if moment is not None:
                self._deadlines.forget(future, moment)
        if head:
            message = Message("", "", data, head)
            if _FAILED_MARK in head or message.status:
                raise self._failed(out, message)
        return self._responses.decode(out.method, self._held(data))

    async def stream(self, out: "Outgoing", request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        connection = self._connection if self._connection is not None else await self._connected()
        token = self._token()
        stream = _Stream(self._form, connection, self._subject(out), f"{self._prefix}.{token}", self._lines(out, None))
        self._streams[token] = stream
        watching = asyncio.create_task(stream.watch(self._keep_alive))
        streams_in = out.method.kind.streams_in
        data = None if streams_in else self._codec.encode(request)
        requests = encoded(self._codec, request) if streams_in else None
        messages = stream.calling.stream(out.path, data, requests, timeout_ms=milliseconds(out))
        try:
            async for body in messages:
                yield self._responses.decode(out.method, self._held(body))
        except Refused as refused:
            raise stream.fault or fault_from(self._form, refused, out.method.faults) from None
        finally:
            await messages.aclose()
            watching.cancel()
            self._streams.pop(token, None)

    async def aclose(self) -> None:
        """Close the connection; what is under way fails."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unreachable("the client was closed"))
        for stream in list(self._streams.values()):
            stream.calling.lost()

    def _held(self, body: bytes) -> bytes:
        """The body, once it is sure that it is not too large."""
        if len(body) > self._most:
            raise answer_too_large(self._most)
        return body

    def _leave(self, connection: Connection, out: "Outgoing", token: str) -> None:
        """Tell whoever serves a call that nobody waits for it."""
        subject = f"{self._subject(out).rpartition('.')[0]}.{CANCEL}"
        with suppress(Fault):
            connection.post(subject, f"{self._prefix}.{token}".encode())

    def _token(self) -> str:
        self._count += 1
        return f"{self._count:x}"

    def _subject(self, out: "Outgoing") -> str:
        subject = self._subjects.get(out.method)
        if subject is None:
            service = self._service or out.path[1:].partition(".")[0].replace("_", "-")
            subject = self._subjects[out.method] = f"svc.{service}.{out.method.rpc}"
        return subject

    def _lines(self, out: "Outgoing", timeout_ms: int | None) -> bytes:
        lines = self._fixed
        if timeout_ms is not None:
            lines += b"x-request-timeout-ms: %d\r\n" % timeout_ms
        return lines + header_lines(out.headers) if out.headers else lines

    def _failed(self, out: "Outgoing", message: Message) -> Fault:
        if message.status == NO_RESPONDERS:
            return _nobody(self._subject(out))
        headers = dict(message.headers)
        codec = codec_of(headers.get(b"content-type", b"")) or self._codec
        try:
            document = codec.decode(message.data)
        except Exception:  # noqa: BLE001 - a service of somebody else's, which has only a text
            document = {"detail": headers.get(b"nats-service-error", b"").decode(errors="replace")}
        code = headers.get(_FAILED, b"")
        return fault_of(document, out.method.faults, status=int(code) if code.isdigit() else 500)

    def _came(self, subject: bytes, reply: bytes, data: bytes, head: bytes) -> None:
        token = subject[len(self._prefix) + 1 :].decode()
        future = self._waiting.get(token)
        if future is not None:
            if not future.done():
                future.set_result((data, head))
            return
        stream = self._streams.get(token)
        if stream is not None:
            stream.came(Message(subject.decode(), reply.decode(), data, head))

    async def _connected(self) -> Connection:
        async with self._connecting:
            if self._connection is None:
                connection = await connect(self._to)
                self._prefix = connection.inbox()
                await connection.receive(f"{self._prefix}.*", self._came)
                self._connection = connection
            return self._connection


class _Stream:
    """One stream at the client."""

    def __init__(self, form: Form, connection: Connection, subject: str, inbox: str, lines: bytes) -> None:
        self._form = form
        self._connection = connection
        self._subject = subject
        self._inbox = inbox
        self._first = head_of(form).partition(b"\r\n")[0] + b"\r\n" + lines
        self._head = head_of(form)
        self._peer = ""
        self._opened = False
        self._quiet = True
        self.fault: Fault | None = None
        self.calling = Calling(form, self._flush, most_calls=1, numbered=True)

    def came(self, message: Message) -> None:
        """A frame, or the news that there is nobody."""
        self._quiet = False
        if message.status == NO_RESPONDERS:
            self.fault = _nobody(self._subject) if not self._peer else None
            self.calling.lost()
            return
        self._peer = message.reply or self._peer
        try:
            self.calling.receive(self._form.decode(message.data))
        except Fault as fault:
            self._broken(fault)
        self._flush()

    async def watch(self, every: float) -> None:
        """Ask now and then whether the server is there, while it is silent."""
        while True:
            self._quiet = True
            await asyncio.sleep(every)
            if self._quiet and self._peer:
                self.calling.session.ping()
                self._flush()

    def _flush(self) -> None:
        """Send what waits; only the first frame before the server has told its inbox."""
        session = self.calling.session
        if self._opened and not self._peer:
            return
        for frame in session.take():
            subject, head = (self._peer, self._head) if self._opened else (self._subject, self._first)
            self._opened = True
            try:
                self._connection.post(subject, self._form.encode(frame), reply=self._inbox, headers=head)
            except Fault as fault:
                self._broken(fault)
                return

    def _broken(self, fault: Fault) -> None:
        self.fault = fault
        self.calling.lost()


def _nobody(subject: str) -> Unreachable:
    return Unreachable(f"nobody serves {subject}", code="no_responders", hint="is the service running?")


__all__ = ["BadAnswer", "NatsClient"]
