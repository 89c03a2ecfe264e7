"""The network between nodes: what is said may be late, lost, doubled or cut off, by rules and a seed.

    network.delay(0.02, jitter=0.01)
    network.drop(0.1, target="orders-1")                # requests to it; with source= what it answers
    network.duplicate(1.0, target="orders-1", times=1)
    with network.partition("orders-1", "registry"):     # these two; network.partition("orders-1") from everybody
        ...
    network.unplug("orders-2")                          # connections to it are refused at once
    network.heal()                                      # all is well again

A rule is for what goes from its source to its target, "*" for any node; what a node says to itself is never touched.
What is lost breaks the connection: its sender learns that, and not whether the other side had heard it.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Literal

from headgate.service.client.errors import ConnectionLost, Unreachable

EVERYBODY: Final = "*"
MOST_EVENTS: Final = 100_000

Kind = Literal["sent", "answered", "dropped", "duplicated", "blocked", "refused", "circuit", "retried", "note"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: at `time` seconds, between two nodes, about `what`."""

    time: float
    kind: Kind
    source: str
    target: str
    what: str

    def __str__(self) -> str:
        return f"{self.time:10.4f} {self.kind:<10} {self.source} -> {self.target}  {self.what}"


@dataclass(slots=True, eq=False)
class Rule:
    """Something that is wrong with the network until `end`, or the end of a `with`."""

    network: "Network"
    source: str = EVERYBODY
    target: str = EVERYBODY
    delay: float = 0.0
    jitter: float = 0.0
    drop: float = 0.0
    duplicate: float = 0.0
    times: int | None = None
    groups: tuple[frozenset[str], ...] = ()

    def matches(self, source: str, target: str) -> bool:
        """Whether it is for what goes from one to the other."""
        return self.source in (EVERYBODY, source) and self.target in (EVERYBODY, target)

    def separates(self, source: str, target: str) -> bool:
        """Whether the two are in different parts; with one group alone it is cut off from all others."""
        mine, yours = self._group(source), self._group(target)
        if len(self.groups) == 1:
            return (mine is None) != (yours is None)
        return mine is not None and yours is not None and mine != yours

    def end(self) -> None:
        """From now on it holds no more."""
        self.network.forget(self)

    def __enter__(self) -> "Rule":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _group(self, node: str) -> int | None:
        return next((number for number, group in enumerate(self.groups) if node in group), None)


class Network:
    """See the module. `changed` is called whenever who reaches whom may have changed."""

    def __init__(self, chance: random.Random, changed: Callable[[], None]) -> None:
        self.trace: deque[Event] = deque(maxlen=MOST_EVENTS)
        """What happened, the latest last."""
        self._chance = chance
        self._changed = changed
        self._rules: list[Rule] = []
        self._unplugged: set[str] = set()
        self._news = asyncio.Event()

    def delay(self, seconds: float, *, jitter: float = 0.0, source: str = EVERYBODY, target: str = EVERYBODY) -> Rule:
        """What is said takes this long, and up to `jitter` longer."""
        return self._add(Rule(self, source, target, delay=seconds, jitter=jitter))

    def drop(
        self, share: float = 1.0, *, source: str = EVERYBODY, target: str = EVERYBODY, times: int | None = None
    ) -> Rule:
        """This share of what is said is lost, at most `times`."""
        return self._add(Rule(self, source, target, drop=share, times=times))

    def duplicate(
        self, share: float = 1.0, *, source: str = EVERYBODY, target: str = EVERYBODY, times: int | None = None
    ) -> Rule:
        """This share of requests and events comes twice."""
        return self._add(Rule(self, source, target, duplicate=share, times=times))

    def partition(self, *groups: str | Iterable[str]) -> Rule:
        """Nodes of different groups do not reach each other; one group alone reaches nobody else."""
        parts = tuple(frozenset((each,) if isinstance(each, str) else each) for each in groups)
        rule = self._add(Rule(self, groups=parts))
        self.note("partition", " | ".join(",".join(sorted(part)) for part in parts))
        return rule

    def unplug(self, node: str) -> None:
        """Nobody reaches it, and connections to it are refused at once."""
        self._unplugged.add(node)
        self.note(node, "unplugged")
        self._wake()

    def plug(self, node: str) -> None:
        """It is reached again."""
        self._unplugged.discard(node)
        self.note(node, "plugged")
        self._wake()

    def heal(self) -> None:
        """All rules end, and everybody is plugged."""
        self._rules.clear()
        self._unplugged.clear()
        self.note("network", "healed")
        self._wake()

    def forget(self, rule: Rule) -> None:
        """End one rule."""
        if rule in self._rules:
            self._rules.remove(rule)
            self._wake()

    def reaches(self, source: str, target: str) -> bool:
        """Whether what one says arrives at the other."""
        if source == target:
            return True
        if self._unplugged & {source, target}:
            return False
        return not any(rule.groups and rule.separates(source, target) for rule in self._rules)

    @property
    def news(self) -> asyncio.Event:
        """Set when who reaches whom may have changed since it was taken."""
        return self._news

    async def send(self, source: str, target: str, what: str, *, connect_timeout: float) -> bool:
        """Bring a request to `target`. Returns whether it comes twice. Raises Unreachable, ConnectionLost."""
        if source == target:
            return False
        self.record("sent", source, target, what)
        await self._travel(source, target)
        if target in self._unplugged:
            self.record("refused", source, target, what)
            raise Unreachable(f"{target} is not there")
        if not await self._open(source, target, what, connect_timeout):
            raise Unreachable(f"{target} cannot be reached")
        if self._drawn(source, target, "drop"):
            self.record("dropped", source, target, what)
            raise ConnectionLost(f"the connection to {target} broke")
        twice = self._drawn(source, target, "duplicate")
        if twice:
            self.record("duplicated", source, target, what)
        return twice

    async def answer(self, source: str, target: str, what: str) -> None:
        """Bring an answer back to `target`, however long that takes. Raises ConnectionLost."""
        if source == target:
            return
        await self._travel(source, target)
        await self._open(source, target, what, None)
        if self._unplugged & {source, target} or self._drawn(source, target, "drop"):
            self.record("dropped", source, target, what)
            raise ConnectionLost(f"the connection to {source} broke")
        self.record("answered", source, target, what)

    def record(self, kind: Kind, source: str, target: str, what: str) -> None:
        """Add to the trace."""
        self.trace.append(Event(asyncio.get_running_loop().time(), kind, source, target, what))

    def note(self, source: str, what: str) -> None:
        """Add to the trace what is not said between two nodes."""
        try:
            self.record("note", source, "", what)
        except RuntimeError:  # before the world runs there is no time
            self.trace.append(Event(0.0, "note", source, "", what))

    async def _travel(self, source: str, target: str) -> None:
        seconds = 0.0
        for rule in self._rules:
            if (rule.delay or rule.jitter) and rule.matches(source, target):
                seconds += rule.delay + rule.jitter * self._chance.random()
        if seconds:
            await asyncio.sleep(seconds)

    async def _open(self, source: str, target: str, what: str, timeout: float | None) -> bool:
        """Wait until one reaches the other, or is unplugged. False when that takes longer than `timeout`."""
        if self.reaches(source, target) or self._unplugged & {source, target}:
            return True
        self.record("blocked", source, target, what)
        try:
            async with asyncio.timeout(timeout):
                while not (self.reaches(source, target) or self._unplugged & {source, target}):
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _drawn(self, source: str, target: str, fault: Literal["drop", "duplicate"]) -> bool:
        """Whether chance and the rules want it so."""
        for rule in self._rules:
            share = getattr(rule, fault)
            if not share or rule.times == 0 or not rule.matches(source, target):
                continue
            if self._chance.random() < share:
                if rule.times is not None:
                    rule.times -= 1
                return True
        return False

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        self._wake()
        return rule

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._changed()
