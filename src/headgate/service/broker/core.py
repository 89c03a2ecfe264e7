"""Core NATS as a broker: quick, and at most once.

    broker = NatsBroker("nats://127.0.0.1:4222")

An event reaches those who are connected when it is published. What a process has taken and not finished is lost when
it dies; what does not fit while handlers are slow is dropped and logged. Retries happen in the process that has the
event. A connection that breaks is mended; meanwhile what is published waits, as far as nats-py's buffer goes.
"""

from collections.abc import Mapping
from typing import Any, Final

import structlog
from nats.aio.subscription import Subscription as NatsSubscription

from headgate.kit.controls.faults import Unavailable
from headgate.service.broker.base import (
    DEAD,
    Capabilities,
    Delivery,
    Handler,
    Subscribing,
    SubscriptionT,
    Terms,
    dead_letter,
    not_started,
    outgoing,
)
from headgate.service.broker.handing import Handing
from headgate.service.codecs import JSON, Codec
from headgate.service.topic import Topic
from headgate.service.transports.nats.connection import Connecting, Connection, Message, connect, header_lines

CAPABILITIES: Final = Capabilities(durable=False, redelivers=False, back_pressure=False, deduplicates=False)
_log = structlog.get_logger("headgate.service")


def text_headers(message: Message) -> dict[str, str]:
    """The headers of a message; names in lower case."""
    return {name.decode("latin-1"): value.decode(errors="replace") for name, value in message.headers}


class Connected(Subscribing[SubscriptionT]):
    """Brokers on a connection to NATS."""

    def __init__(self, to: Connecting) -> None:
        super().__init__()
        self._to = to
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """Raises Unavailable (`not_started`)."""
        if self._connection is None:
            raise not_started()
        return self._connection

    async def drain(self, grace: float = 10.0) -> None:
        """Drain all subscriptions; what they published and acknowledged is on its way when this returns."""
        await super().drain(grace)
        if self._connection is not None and self._connection.is_connected:
            try:
                await self._connection.reached()
            except Unavailable as fault:
                _log.warning("what was published last may be lost", reason=fault.message)

    async def aclose(self) -> None:
        """Let go of the connection."""
        await super().drain(0.0)
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()


class NatsBroker(Connected["_Listening"]):
    """See the module. `options` are those of nats-py's `connect`; `most_waiting` events wait for each subscription."""

    capabilities = CAPABILITIES
    protocol: Any = "nats"

    def __init__(
        self,
        url: str,
        *,
        codec: Codec = JSON,
        most_waiting: int = 65_536,
        connect_timeout: float = 5.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(Connecting(url, "headgate broker", connect_timeout, options=options))
        self._codec = codec
        self._most_waiting = most_waiting

    async def start(self) -> None:
        """Connect. Raises Unreachable."""
        if self._connection is None:
            self._connection = await connect(self._to)

    async def publish(
        self, topic: Topic[Any] | str, event: Any, *, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        """Publish. Returns when it is on its way."""
        subject, data, sent = outgoing(topic, event, headers, key, self._codec)
        self.connection.post(subject, data, headers=header_lines(sent))
        await self.connection.congested()

    async def _begin(self, terms: Terms, handler: Handler) -> "_Listening":
        listening = _Listening(self, terms, handler, self._most_waiting)
        await listening.start()
        return listening

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """Publish a dead letter."""
        subject, headers = dead_letter(delivery, reason)
        self.connection.post(subject, delivery.data, headers=header_lines(headers))


class _Listening:
    """One subscription."""

    def __init__(self, broker: NatsBroker, terms: Terms, handler: Handler, most_waiting: int) -> None:
        self._broker = broker
        self.pattern = terms.pattern
        self._handing = Handing(terms, handler, broker.dead, most_waiting=most_waiting)
        self._subscription: NatsSubscription | None = None

    async def start(self) -> None:
        """Subscribe. Raises Unavailable (`not_connected`)."""
        connection = self._broker.connection
        subscription = await connection.listen(self.pattern, self._came, queue=self._handing.terms.group)
        try:
            await connection.reached()
        except BaseException:
            await connection.forget(subscription)
            connection.settled(subscription)
            raise
        self._subscription = subscription

    async def drain(self, grace: float = 10.0) -> None:
        """See `Subscription`."""
        self._broker.leave(self)
        subscription, self._subscription = self._subscription, None
        connection = self._broker.connection
        if subscription is not None:
            await connection.leave(subscription)
        await self._handing.drain(grace)

    def _came(self, message: Message) -> None:
        if message.subject.endswith(DEAD) and not self.pattern.endswith(DEAD):
            return
        if not self._handing.offer(Delivery(message.subject, message.data, text_headers(message))):
            _log.error("an event is dropped: its handler is too slow", subject=message.subject, pattern=self.pattern)
