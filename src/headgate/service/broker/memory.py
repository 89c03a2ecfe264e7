"""A broker within one process, on one event loop: for tests, and for applications of one process.

    broker = MemoryBroker()
    await broker.start()

A publisher waits while a subscription has no room. Of a group the members take turns. Nothing outlives the process.
"""

from collections.abc import Mapping
from itertools import count
from typing import Any, Final

from headgate.service.broker.base import (
    DEAD,
    Capabilities,
    Delivery,
    Handler,
    Subscribing,
    Terms,
    dead_letter,
    not_started,
    outgoing,
)
from headgate.service.broker.handing import Handing
from headgate.service.codecs import JSON, Codec
from headgate.service.topic import Topic, matches

CAPABILITIES: Final = Capabilities(durable=False, redelivers=False, back_pressure=True, deduplicates=False)


class MemoryBroker(Subscribing["_Member"]):
    """See the module. `most_waiting` events wait for each subscription."""

    capabilities = CAPABILITIES
    protocol: Any = "local"

    def __init__(self, *, codec: Codec = JSON, most_waiting: int = 1_024) -> None:
        super().__init__()
        self._codec = codec
        self._most_waiting = most_waiting
        self._started = False
        self._turns = count()

    async def start(self) -> None:
        """Nothing has to be connected."""
        self._started = True

    async def publish(
        self, topic: Topic[Any] | str, event: Any, *, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        """Hand the event to all who are subscribed."""
        if not self._started:
            raise not_started()
        subject, data, sent = outgoing(topic, event, headers, key, self._codec)
        await self._spread(subject, data, sent)

    async def _begin(self, terms: Terms, handler: Handler) -> "_Member":
        if not self._started:
            raise not_started()
        return _Member(self, terms, handler, self._most_waiting)

    async def aclose(self) -> None:
        """Forget everything."""
        self._started = False
        await self.drain(0.0)

    async def dead(self, delivery: Delivery, reason: str) -> None:
        """Publish a dead letter. Without waiting for room: it would wait for itself."""
        subject, headers = dead_letter(delivery, reason)
        for member in self._chosen(subject):
            member.handing.offer(Delivery(subject, delivery.data, headers))

    async def _spread(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        for member in self._chosen(subject):
            while not member.handing.offer(Delivery(subject, data, headers)):
                if member not in self._subscriptions:
                    break
                await member.handing.room()

    def _chosen(self, subject: str) -> list["_Member"]:
        """All without a group, and one of each group; the members of a group take turns."""
        chosen: list[_Member] = []
        groups: dict[str, list[_Member]] = {}
        dead = subject.endswith(DEAD)
        for each in self._subscriptions:
            if matches(each.pattern, subject) and (dead <= each.pattern.endswith(DEAD)):
                groups.setdefault(each.handing.terms.group, []).append(each)
        turn = next(self._turns)
        for group, members in groups.items():
            chosen += members if not group else [members[turn % len(members)]]
        return chosen


class _Member:
    """One subscription."""

    def __init__(self, broker: MemoryBroker, terms: Terms, handler: Handler, most_waiting: int) -> None:
        self._broker = broker
        self.pattern = terms.pattern
        self.handing = Handing(terms, handler, broker.dead, most_waiting=most_waiting)

    async def drain(self, grace: float = 10.0) -> None:
        """See `Subscription`."""
        self._broker.leave(self)
        await self.handing.drain(grace)
