"""One subscription to a stream: a consumer, asked for as many events as there are free hands.

    pulling = Pulling(broker, terms, handler)
    await pulling.start()
    await pulling.drain(10.0)

What was asked for is asked for again as soon as a connection that broke is mended, and when the server, which says
every few seconds that it still has the question, has been silent; a consumer that is gone is made again. An event is
acknowledged when it was handled, given back with a delay when that failed, and kept alive while its handler works.
Sources: NATS ADR-13 and ADR-37 (pulling), ADR-15 (acknowledgements).
"""

import asyncio
import hashlib
import json
from collections import deque
from typing import TYPE_CHECKING, Final

import structlog
from nats import errors
from nats.aio.subscription import Subscription as NatsSubscription

from headgate.kit.controls.faults import FailedPrecondition, Fault, Unavailable
from headgate.service.broker.base import DEAD, Delivery, Handler, Terms
from headgate.service.broker.core import text_headers
from headgate.service.broker.handing import Handing, Verdict, backoff_of
from headgate.service.transports.nats.connection import NO_RESPONDERS, Message

if TYPE_CHECKING:
    from headgate.service.broker.jetstream import JetStreamBroker

_NANOSECONDS: Final = 1_000_000_000
_PULL_SECONDS: Final = 30.0
_BEAT_SECONDS: Final = 5.0
_SILENCE_SECONDS: Final = 12.0
"""Two beats that did not come, and the time that one takes."""
_RETRY_SECONDS: Final = 1.0
_HEARTBEAT: Final = 100
_NO_MESSAGES: Final = 404
_CONFLICT: Final = 409
_WITH_DOMAIN: Final = 11
_log = structlog.get_logger("headgate.service")


class Pulling:
    """See the module."""

    def __init__(self, broker: "JetStreamBroker", terms: Terms, handler: Handler) -> None:
        self._broker = broker
        self.pattern = terms.pattern
        self._terms = terms
        self._handing = Handing(terms, handler, broker.dead)
        self._consumer = ""
        self._inbox = ""
        self._subscription: NatsSubscription | None = None
        self._asked = 0
        self._heard = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._waiting: deque[Message] = deque()
        self._mending: asyncio.Task[None] | None = None
        self._draining = False

    async def start(self) -> None:
        """Make or find the consumer, and ask."""
        connection = self._broker.connection
        await self._ensure_consumer()
        self._inbox = connection.inbox()
        connection.returned.add(self._again)
        self._subscription = await connection.listen(self._inbox, self._came)
        self._pull()

    async def drain(self, grace: float = 10.0) -> None:
        """See `Subscription`. What was not handled is given back at once."""
        if self._draining:
            return
        self._draining = True
        self._broker.leave(self)
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._mending is not None:
            self._mending.cancel()
        connection, subscription = self._broker.connection, self._subscription
        connection.returned.discard(self._again)
        if subscription is not None:
            await connection.leave(subscription)
        while self._waiting:
            self._say(self._waiting.popleft(), b"-NAK")
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, grace))
        for task in (left := list(self._running)):
            task.cancel()
        if left:
            await asyncio.wait(left)

    async def _ensure_consumer(self) -> None:
        from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
        from nats.js.errors import APIError

        terms = self._terms
        durable = f"{terms.group}-{hashlib.sha256(self.pattern.encode()).hexdigest()[:8]}" if terms.group else None
        config = ConsumerConfig(
            durable_name=durable,
            filter_subject=self.pattern,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._broker.ack_wait,
            max_deliver=-1,
            max_ack_pending=-1,
            deliver_policy=DeliverPolicy.ALL if durable or self._broker.retention == "workqueue" else DeliverPolicy.NEW,
            inactive_threshold=None if durable else 300.0,
        )
        try:
            info = await self._broker.js.add_consumer(self._broker.stream, config)
        except APIError as error:
            raise FailedPrecondition(
                f"the stream {self._broker.stream} has no consumer for '{self.pattern}'",
                code="consumer_refused",
                hint="in a work queue each subject has one group; a consumer of that name may differ",
                internal=repr(error),
            ) from error
        except (errors.Error, OSError, TimeoutError) as error:
            raise Unavailable("JetStream does not answer", code="unreachable", internal=repr(error)) from error
        self._consumer = info.name

    def _pull(self) -> None:
        """Ask for as many as there are free hands, unless that was done."""
        free = self._terms.concurrency - len(self._running) - len(self._waiting) - self._asked
        if (
            self._draining
            or self._mending is not None
            or free <= 0
            or (self._asked and free * 2 < self._terms.concurrency)
        ):
            return
        expires, beat = int(_PULL_SECONDS * _NANOSECONDS), int(_BEAT_SECONDS * _NANOSECONDS)
        body = json.dumps({"batch": free, "expires": expires, "idle_heartbeat": beat}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._broker.stream}.{self._consumer}"
        try:
            self._broker.connection.post(subject, body, reply=self._inbox)
            self._asked += free
        except Fault as fault:
            _log.warning("events cannot be asked for", code=fault.code, pattern=self.pattern)
        self._heard = asyncio.get_running_loop().time()
        self._watch(_SILENCE_SECONDS)

    def _watch(self, seconds: float) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._listen_on)

    def _listen_on(self) -> None:
        """Ask again when nothing was heard for a while: the server may have lost what was asked."""
        left = self._heard + _SILENCE_SECONDS - asyncio.get_running_loop().time()
        if self._asked and left > 0:
            self._watch(left)
        else:
            self._again()

    def _again(self) -> None:
        self._asked = 0
        self._pull()

    def _came(self, message: Message) -> None:
        status = message.status
        self._heard = asyncio.get_running_loop().time()
        if status == _HEARTBEAT:
            return
        if status == NO_RESPONDERS or (status == _CONFLICT and b"Deleted" in message.head):
            self._mend()
            return
        if status:  # a pull is over: expired, nothing there, or the server is leaving
            self._asked = 0
            if status in (_NO_MESSAGES, _CONFLICT):
                self._watch(_RETRY_SECONDS)
            else:
                self._pull()
            return
        self._asked = max(0, self._asked - 1)
        if self._draining:
            self._say(message, b"-NAK")
        elif len(self._running) < self._terms.concurrency:
            self._begin(message)
        else:
            self._waiting.append(message)

    def _mend(self) -> None:
        if self._mending is None and not self._draining:
            self._mending = asyncio.create_task(self._mended())

    async def _mended(self) -> None:
        """The consumer is gone, or JetStream is not there yet: until it is."""
        while True:
            try:
                await self._ensure_consumer()
                break
            except Fault as fault:
                _log.warning("a consumer cannot be had", code=fault.code, pattern=self.pattern)
                await asyncio.sleep(_RETRY_SECONDS)
        self._mending = None
        self._again()

    def _begin(self, message: Message) -> None:
        task = asyncio.create_task(self._handle(message))
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("handing an event out failed", exc_info=error)
        while self._waiting and len(self._running) < self._terms.concurrency and not self._draining:
            self._begin(self._waiting.popleft())
        self._pull()

    async def _handle(self, message: Message) -> None:
        delivery = Delivery(message.subject, message.data, text_headers(message), _attempt(message.reply))
        if message.subject.endswith(DEAD) and not self.pattern.endswith(DEAD):
            self._say(message, b"+ACK")
            return
        keep = asyncio.create_task(self._keep(message))
        try:
            verdict, reason = await self._verdict(delivery)
        except asyncio.CancelledError:
            self._say(message, b"-NAK")
            raise
        finally:
            keep.cancel()
        if verdict is Verdict.AGAIN:
            self._say(message, _nak(backoff_of(self._terms, delivery.attempt)))
        elif verdict is Verdict.NEVER:
            try:
                await self._handing.given_up(delivery, reason)
                self._say(message, b"+TERM")
            except Fault as fault:
                _log.error("a dead letter could not be stored", subject=delivery.subject, code=fault.code)
                self._say(message, _nak(backoff_of(self._terms, delivery.attempt)))
        else:
            self._say(message, b"+ACK")

    async def _verdict(self, delivery: Delivery) -> tuple[Verdict, str]:
        if delivery.attempt > self._terms.retries + 1:
            # It was handed out before by somebody who never said what came of it.
            return Verdict.NEVER, f"not acknowledged in {delivery.attempt - 1} attempts"
        return await self._handing.once(delivery)

    async def _keep(self, message: Message) -> None:
        """Say that it is still being worked on, so that it is not handed to another."""
        while True:
            await asyncio.sleep(self._broker.ack_wait / 2)
            self._say(message, b"+WPI")

    def _say(self, message: Message, what: bytes) -> None:
        try:
            self._broker.connection.post(message.reply, what)
        except Fault as fault:
            _log.warning("an event could not be acknowledged", code=fault.code, subject=message.subject)


def _nak(seconds: float) -> bytes:
    return b'-NAK {"delay": %d}' % int(seconds * _NANOSECONDS)


def _attempt(reply: str) -> int:
    """How often it was handed out, from the subject of its acknowledgement (NATS ADR-15)."""
    words = reply.split(".")
    word = words[6 if len(words) >= _WITH_DOMAIN else 4] if len(words) > 4 else "1"
    return int(word) if word.isdigit() else 1
