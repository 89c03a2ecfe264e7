"""JetStream as a broker: events are kept in a stream until they are handled.

    broker = JetStreamBroker("nats://127.0.0.1:4222", "ORDERS", subjects=["orders.>"])

The stream is made when it is not there, and verified when it is. A group is one durable consumer (named after group and
pattern) which all its members pull from, each no more than it has hands for; it begins with the first event of the
stream, and what its members did not acknowledge is handed out again: to another when a process died (after
`ack_wait` seconds), later when a handler failed (after its back-off). Without a group each subscription has a
consumer of its own, which begins with what is published next and ends with its process.

`retention` is `limits` (events are kept for all who come; fan-out), or `workqueue` (an event is removed once it is
handled; one group for each subject). A key is the stream's `Nats-Msg-Id`: published again within `duplicates` seconds
it is stored once.

    FailedPrecondition
    ├── no_stream            no stream takes the subject, or the one named is not there and no subjects were told
    └── stream_differs       it is there, and takes other subjects or has another retention
"""

import asyncio
import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
from nats import errors
from nats.aio.subscription import Subscription as NatsSubscription

from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, Unavailable
from headgate.service.broker.base import (
    DEAD,
    KEY,
    Capabilities,
    Delivery,
    Handler,
    Terms,
    dead_letter,
    not_started,
    outgoing,
)
from headgate.service.broker.core import text_headers
from headgate.service.broker.handing import Handing, Verdict, backoff_of
from headgate.service.codecs import JSON, Codec
from headgate.service.topic import Topic, check_pattern, matches
from headgate.service.transports.nats.connection import NO_RESPONDERS, Connecting, Connection, Message, connect

if TYPE_CHECKING:
    from nats.js import JetStreamContext

CAPABILITIES: Final = Capabilities(durable=True, redelivers=True, back_pressure=True, deduplicates=True)
MSG_ID: Final = "Nats-Msg-Id"

_NANOSECONDS: Final = 1_000_000_000
_PULL_SECONDS: Final = 30.0
_SLACK_SECONDS: Final = 5.0
_RETRY_SECONDS: Final = 1.0
_HEARTBEAT: Final = 100
_NO_MESSAGES: Final = 404
_CONFLICT: Final = 409
_WITH_DOMAIN: Final = 11
_NAME: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_log = structlog.get_logger("headgate.service")

Retention = Literal["limits", "workqueue"]


class JetStreamBroker:
    """See the module. Times are in seconds; `max_age` 0 keeps events for ever, `max_bytes` 0 without limit.

    `options` are those of nats-py's `connect`.
    """

    capabilities = CAPABILITIES
    protocol: Any = "nats"

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        subjects: Iterable[str] = (),
        retention: Retention = "limits",
        max_age: float = 0.0,
        max_bytes: int = 0,
        replicas: int = 1,
        duplicates: float = 120.0,
        ack_wait: float = 30.0,
        codec: Codec = JSON,
        timeout: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not stream or not set(stream) <= _NAME:
            raise InvalidArgument(f"'{stream[:100]}' is no name of a stream", code="invalid_stream")
        self.stream = stream
        self.subjects = tuple(check_pattern(each) for each in subjects)
        self.retention: Retention = retention
        self.ack_wait = ack_wait
        self._limits = (max_age, max_bytes, replicas, duplicates)
        self._codec = codec
        self._timeout = timeout
        self._to = Connecting(url, "headgate broker", timeout, options=options)
        self._connection: Connection | None = None
        self._js: JetStreamContext | None = None
        self._subscriptions: list[_Pulling] = []

    @property
    def connection(self) -> Connection:
        """Raises Unavailable (`not_started`)."""
        if self._connection is None:
            raise not_started()
        return self._connection

    @property
    def js(self) -> "JetStreamContext":
        """nats-py's own, for what is not here. Raises Unavailable (`not_started`)."""
        if self._js is None:
            raise not_started()
        return self._js

    async def start(self) -> None:
        """Connect, and make or verify the stream. Raises what the module says."""
        if self._connection is not None:
            return
        connection = await connect(self._to)
        self._connection, self._js = connection, connection.jetstream(timeout=self._timeout)
        try:
            await self._ensure_stream()
        except BaseException:
            await self.aclose()
            raise

    async def publish(
        self, topic: Topic[Any] | str, event: Any, *, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        """Publish. Returns when the stream has it."""
        subject, data, sent = outgoing(topic, event, headers, key, self._codec)
        await self._store(subject, data, sent)

    async def subscribe(
        self,
        pattern: str,
        handler: Handler,
        *,
        group: str = "",
        retries: int = 0,
        backoff: float = 1.0,
        dead_letter: bool = False,
        concurrency: int = 16,
        window: float = 300.0,
    ) -> "_Pulling":
        """See `Broker`. Returns when there is a consumer."""
        terms = Terms(check_pattern(pattern), group, retries, backoff, dead_letter, concurrency, window)
        if self.retention == "workqueue" and pattern.endswith(">"):
            raise InvalidArgument(
                f"'{pattern}' would take the dead letters out of a work queue",
                code="invalid_subscription",
                hint="use '*' for each word",
            )
        pulling = _Pulling(self, terms, handler)
        await pulling.start()
        self._subscriptions.append(pulling)
        return pulling

    async def drain(self, grace: float = 10.0) -> None:
        """Drain all subscriptions; what they acknowledged is on its way when this returns."""
        for each in list(self._subscriptions):
            await each.drain(grace)
        if self._connection is not None and self._connection.is_connected:
            await self._connection.flush()

    async def aclose(self) -> None:
        """Let go of the connection."""
        for each in list(self._subscriptions):
            await each.drain(0.0)
        connection, self._connection, self._js = self._connection, None, None
        if connection is not None:
            await connection.aclose()

    def leave(self, pulling: "_Pulling") -> None:
        """A subscription ends."""
        if pulling in self._subscriptions:
            self._subscriptions.remove(pulling)

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """Store a dead letter."""
        subject, headers = dead_letter(delivery, reason)
        await self._store(subject, delivery.data, headers)

    async def _store(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        from nats.js.errors import APIError, NoStreamResponseError

        sent = {MSG_ID if name == KEY else name: value for name, value in headers.items()}
        try:
            await self.js.publish(subject, data, timeout=self._timeout, headers=sent)
        except NoStreamResponseError as error:
            raise FailedPrecondition(f"no stream takes {subject}", code="no_stream", hint=self._hint()) from error
        except (errors.Error, APIError, OSError, TimeoutError) as error:
            raise Unavailable(
                f"the event on {subject} could not be stored", code="not_stored", internal=repr(error)
            ) from error

    async def _ensure_stream(self) -> None:
        from nats.js.api import RetentionPolicy, StreamConfig
        from nats.js.errors import APIError, BadRequestError, NotFoundError

        try:
            return await self._verify()
        except NotFoundError as error:
            if not self.subjects:
                raise FailedPrecondition(
                    f"there is no stream {self.stream}", code="no_stream", hint="name its subjects to make it"
                ) from error
        except (errors.Error, APIError) as error:
            raise Unavailable("JetStream does not answer", code="unreachable", internal=repr(error)) from error
        max_age, max_bytes, replicas, duplicates = self._limits
        policy = RetentionPolicy.WORK_QUEUE if self.retention == "workqueue" else RetentionPolicy.LIMITS
        config = StreamConfig(
            name=self.stream,
            subjects=self._stored(),
            retention=policy,
            max_age=max_age,
            max_bytes=max_bytes or -1,
            num_replicas=replicas,
            duplicate_window=min(duplicates, max_age) if max_age else duplicates,
        )
        try:
            await self.js.add_stream(config)
        except BadRequestError as error:  # somebody else was faster, or it cannot be
            try:
                await self._verify()
            except NotFoundError:
                raise FailedPrecondition(
                    f"the stream {self.stream} cannot be made", code="stream_differs", internal=repr(error)
                ) from error

    async def _verify(self) -> None:
        found = (await self.js.stream_info(self.stream)).config
        held = tuple(found.subjects or ())
        missing = [each for each in self._stored() if not any(_covers(one, each) for one in held)]
        retention = getattr(found.retention, "value", found.retention)
        if missing or retention != self.retention:
            raise FailedPrecondition(
                f"the stream {self.stream} takes {', '.join(held)} with retention {retention}",
                code="stream_differs",
                hint=f"change it to {', '.join(self._stored())} with retention {self.retention}",
            )
        self.subjects = self.subjects or held

    def _stored(self) -> list[str]:
        """The subjects with those of their dead letters."""
        dead = [each + DEAD for each in self.subjects if not each.endswith((">", DEAD))]
        return [*self.subjects, *(each for each in dead if each not in self.subjects)]

    def _hint(self) -> str:
        return f"the stream {self.stream} takes {', '.join(self.subjects)}"


class _Pulling:
    """One subscription: a consumer, asked for as many events as there are hands."""

    def __init__(self, broker: JetStreamBroker, terms: Terms, handler: Handler) -> None:
        self._broker = broker
        self.pattern = terms.pattern
        self._terms = terms
        self._handing = Handing(terms, handler, broker.dead)
        self._consumer = ""
        self._inbox = ""
        self._subscription: NatsSubscription | None = None
        self._asked = 0
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
        if subscription is not None:
            try:
                await connection.forget(subscription)
                if connection.is_connected:
                    await connection.flush()
            except (errors.Error, OSError) as error:
                _log.debug("not told that it drains", exc_info=error)
            connection.settled(subscription)
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
                code="invalid_subscription",
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
        body = json.dumps({"batch": free, "expires": int(_PULL_SECONDS * _NANOSECONDS)}).encode()
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._broker.stream}.{self._consumer}"
        try:
            self._broker.connection.post(subject, body, reply=self._inbox)
            self._asked += free
        except Fault as fault:
            _log.warning("events cannot be asked for", code=fault.code, pattern=self.pattern)
        self._watch(_PULL_SECONDS + _SLACK_SECONDS)

    def _watch(self, seconds: float) -> None:
        """Ask again when nothing came by then: an outage loses what was asked."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_later(seconds, self._again)

    def _again(self) -> None:
        self._asked = 0
        self._pull()

    def _came(self, message: Message) -> None:
        status = message.status
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


def _covers(held: str, wanted: str) -> bool:
    """Whether all that the pattern `wanted` means is meant by `held`."""
    if held == wanted:
        return True
    if wanted.endswith(">") and not held.endswith(">"):
        return False
    return matches(held, wanted.replace("*", "any").replace(">", "any")) and not (
        "*" in wanted and held == wanted.replace("*", "any")
    )
