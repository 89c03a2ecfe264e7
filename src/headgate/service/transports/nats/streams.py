"""Streams over NATS: a session of one call, its frames published between two inboxes.

The caller publishes the `call` frame on the method's subject with the header `headgate-frames: 1` and its inbox as
reply subject. The server answers with frames whose reply subject is an inbox of its own; the first of them comes at
once, and from then on the caller publishes to it. Frames are numbered: NATS may lose messages when a connection
breaks, and a stream with a gap ends with `frames_lost` rather than with less than was said.

Each frame names the inbox it came from, so NATS itself tells at once when nobody listens any more (no responders): the
call is cancelled there, or fails here. While a stream is silent each side asks now and then.
"""

import asyncio
import contextlib
import time
from typing import Final

from nats.aio.subscription import Subscription

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, InvalidArgument, Unavailable
from headgate.service.codecs import JSON, codec_of
from headgate.service.transports.nats.connection import NO_RESPONDERS, Connection, Message
from headgate.service.transports.session.conduct import Conduct
from headgate.service.transports.session.frames import Form, Frame, form_of
from headgate.service.transports.session.serving import Serving

FRAMES: Final = b"headgate-frames"
CANCEL: Final = "$CANCEL"
"""Last word of the subject on which callers say that they wait no longer."""
HEADER: Final = b"headgate-frames: 1\r\n"


def head_of(form: Form) -> bytes:
    """The headers that frames are published with."""
    return HEADER + f"content-type: {form.codec.media_type}\r\n".encode()


class Streams:
    """The streams of a wire: one subscription for all their inboxes."""

    def __init__(self, conduct: Conduct, keep: float, most_message: int = 0) -> None:
        self._conduct = conduct
        self._keep_alive = keep
        self._most_message = most_message
        self._streams: dict[str, _Stream] = {}
        self._prefix = ""
        self._count = 0
        self._connection: Connection | None = None
        self._subscription: Subscription | None = None

    async def start(self, connection: Connection) -> None:
        """Listen."""
        self._connection = connection
        self._prefix = connection.inbox()
        self._subscription = await connection.listen(f"{self._prefix}.*", self._came)

    async def aclose(self) -> None:
        """Listen no more."""
        connection, subscription = self._connection, self._subscription
        self._connection = self._subscription = None
        if connection is not None and subscription is not None:
            with contextlib.suppress(Exception):
                await connection.forget(subscription)
            connection.settled(subscription)

    async def serve(self, message: Message, opening: Call) -> Fault | None:
        """Serve one stream to its end. Returns what it failed with before it began."""
        connection = self._connection
        if connection is None:
            return None
        self._count += 1
        token = f"{self._count:x}"
        kind = opening.headers.get(b"content-type")
        form = form_of(JSON if kind is None else codec_of(kind) or JSON)
        inbox = f"{self._prefix}.{token}"
        stream = _Stream(self._conduct, form, connection, message.reply, inbox, opening, self._most_message)
        self._streams[token] = stream
        try:
            return await stream.run(message.data, self._keep_alive)
        finally:
            del self._streams[token]

    def _came(self, message: Message) -> None:
        stream = self._streams.get(message.subject.rpartition(".")[2])
        if stream is not None:
            stream.came(message)


class _Stream:
    """One stream at the server."""

    def __init__(
        self,
        conduct: Conduct,
        form: Form,
        connection: Connection,
        peer: str,
        inbox: str,
        opening: Call,
        most_message: int,
    ) -> None:
        self._conduct = conduct
        self._form = form
        self._connection = connection
        self._peer = peer
        self._inbox = inbox
        self._opening = opening
        self._head = head_of(form)
        self._serving = Serving(
            conduct, form, self._call, self._flush, most_calls=1, most_message=most_message, numbered=True
        )
        self._heard = time.monotonic()
        self._over = asyncio.Event()

    async def run(self, first: bytes, keep_alive: float) -> Fault | None:
        """Until the call is over, or its caller is gone."""
        try:
            frame = self._form.decode(first)
            if frame.path != self._opening.path:
                raise InvalidArgument("the frame calls another method than the subject", code="malformed_frame")
            # Tells the caller the inbox.
            self._serving.receive(frame)
            self._serving.session.ping()
            self._flush()
        except Fault as fault:
            self._give_up(fault)
            return fault
        try:
            ended = asyncio.ensure_future(self._serving.idle())
            gone = asyncio.ensure_future(self._over.wait())
            while not ended.done() and not gone.done():
                await asyncio.wait({ended, gone}, timeout=keep_alive, return_when=asyncio.FIRST_COMPLETED)
                if time.monotonic() - self._heard >= keep_alive and not ended.done():
                    self._serving.session.ping()
                    self._flush()
        except asyncio.CancelledError:
            self._give_up(Unavailable("serving ends here", code="stopping", hint="call again"))
            raise
        finally:
            ended.cancel()
            gone.cancel()
            await self._serving.aclose()
        return None

    def came(self, message: Message) -> None:
        """A frame, or the news that there is nobody."""
        self._heard = time.monotonic()
        if message.status == NO_RESPONDERS:
            self._over.set()
            return
        try:
            self._serving.receive(self._form.decode(message.data))
        except Fault as fault:
            self._give_up(fault)

    def _flush(self) -> None:
        frames = self._serving.session.take()
        for frame in frames:
            try:
                self._connection.post(self._peer, self._form.encode(frame), reply=self._inbox, headers=self._head)
            except Fault as fault:
                self._give_up(fault, frame.seq)
                return

    def _give_up(self, fault: Fault, seq: int = 0) -> None:
        """End the session: the caller is told, the call is cancelled."""
        from msgspec import Raw

        session = self._serving.session
        document = Raw(self._conduct.document(self._form.codec, fault, self._opening))
        if not seq:
            session.take()
        frame = Frame("error", data=document, seq=seq or session.next_seq())
        with contextlib.suppress(Fault):
            self._connection.post(self._peer, self._form.encode(frame), headers=self._head)
        self._over.set()

    def _call(self, frame: Frame) -> Call:
        own = [(name.lower().encode(), value.encode()) for name, value in (frame.headers or {}).items()]
        opening = self._opening
        new = [pair for pair in own if pair not in opening.raw_headers]
        return Call("nats", "POST", frame.path, [*opening.raw_headers, *new], opening.peer, opening.started)
