"""A client that behaves like Envoy: it asks for what it is led to, and notes what it was led to in vain."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, TeamSnapshot
from headgate.testing.xds import FULL_STATE, Answer, XdsClient
from tests.scenarios.xds.world import named_in

KINDS = (CLUSTER, ENDPOINT, LISTENER, ROUTE)


class Dataplane:
    """Over a client of any mode. It refuses answers that have `refuses` in a body, with the words `verdict`.

    `broken` lists the routes that led to a cluster which was not there, and `refused` what was in each answer
    that it refused.
    """

    def __init__(self, client: XdsClient, *, refuses: bytes = b"", verdict: str = "no") -> None:
        self.client = client
        self.held: dict[str, dict[str, bytes]] = {kind: {} for kind in KINDS}
        self.broken: list[str] = []
        self.refused: list[frozenset[tuple[str, bytes]]] = []
        self.handled = 0
        self._refuses = refuses
        self._verdict = verdict
        self._moved = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None
        self._asked: dict[str, set[str]] = {ENDPOINT: set(), ROUTE: set()}

    async def __aenter__(self) -> Self:
        await self.client.request(CLUSTER)
        await self.client.request(LISTENER)
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError, AssertionError):
            await self._task

    def names(self, kind: str) -> set[str]:
        """What it holds of a type."""
        return set(self.held[kind])

    async def heard(self, within: float = 10.0) -> None:
        """Wait until one more answer is dealt with."""
        before = self.handled
        await self._until(lambda: self.handled > before, within)

    async def in_step(self, snapshot: TeamSnapshot | None, within: float = 20.0) -> None:
        """Wait until it holds exactly what a snapshot has."""
        assert snapshot

        def same() -> bool:
            return all(self.held[kind] == self._wanted(snapshot, kind) for kind in KINDS)

        await self._until(same, within)

    async def holds(self, kind: str, bodies: dict[str, bytes], within: float = 20.0) -> None:
        """Wait until it holds exactly this of a type."""
        await self._until(lambda: self.held[kind] == bodies, within)

    async def _until(self, what: Callable[[], bool], within: float) -> None:
        try:
            async with asyncio.timeout(within), self._moved:
                await self._moved.wait_for(what)
        except TimeoutError:
            raise AssertionError(f"it did not come to that; it holds {self.held}") from None

    def _wanted(self, snapshot: TeamSnapshot, kind: str) -> dict[str, bytes]:
        followed = self._asked.get(kind)
        named = snapshot.resources[kind].items()
        return {name: each.body for name, each in named if followed is None or name in followed}

    async def _live(self) -> None:
        while True:
            answer = await self.client.next(within=3600)
            if self._refuses and any(self._refuses in body for body in answer.resources.values()):
                self.refused.append(frozenset(answer.resources.items()))
                await self.client.nack(answer, self._verdict)
            else:
                self._apply(answer)
                await self._follow(CLUSTER, ENDPOINT)
                await self._follow(LISTENER, ROUTE)
                await self.client.ack(answer)
            self._check()
            async with self._moved:
                self.handled += 1
                self._moved.notify_all()

    def _apply(self, answer: Answer) -> None:
        held = self.held[answer.type_url]
        if answer.type_url in FULL_STATE and not self.client.delta:
            held.clear()
        held.update(answer.resources)
        for name in answer.removed:
            held.pop(name, None)

    async def _follow(self, kind: str, other: str) -> None:
        """Ask for what the resources of one type lead to in another."""
        wanted = (
            self.names(CLUSTER)
            if kind == CLUSTER
            else {name for body in self.held[LISTENER].values() for name in named_in(LISTENER, body)}
        )
        new, gone = wanted - self._asked[other], self._asked[other] - wanted
        if new:
            await self.client.request(other, *new)
        if gone:
            await self.client.unsubscribe(other, *gone)
            self.held[other] = {name: body for name, body in self.held[other].items() if name not in gone}
        self._asked[other] = wanted

    def _check(self) -> None:
        for name, body in self.held[ROUTE].items():
            for led_to in named_in(ROUTE, body):
                if led_to not in self.held[CLUSTER] or led_to not in self.held[ENDPOINT]:
                    self.broken.append(f"{name} -> {led_to}")
