"""The instances of a service as one client sees them: who may be called, who is called, who is on the way out.

    peers = Peers(policy, TwoChoices(), open_wire)
    peers.update(snapshot.instances)            # takes effect at once; those gone finish what they have
    visit = peers.visit(key, tried)             # picks one, asks its breaker
    try: ...
    finally: visit.leave(error)

Held back are instances that are ejected and those whose breaker is open; when that is all of them, none is.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from headgate.kit.controls.breaker import CLOSED, State
from headgate.kit.controls.faults import Unavailable
from headgate.kit.resilience.breaker import Breaker, BreakerObserver, Guard, Outcome, counts_against
from headgate.service.client.balancers import Balancer
from headgate.service.client.ejection import Outliers
from headgate.service.client.errors import NoInstances
from headgate.service.client.options import ClientPolicy
from headgate.service.client.wires import ClientWire
from headgate.service.registry.instance import Instance

Opener = Callable[[Instance], ClientWire]

_STEPS: Final = 10
_LEAST: Final = 0.1
"""The share of its weight that a new instance starts with."""


class Peer:
    """One instance. `born` is when it came, on the client's clock; `wire` is opened by the first call."""

    __slots__ = ("born", "breaker", "full_weight", "gone", "id", "instance", "outstanding", "weight", "wire", "zone")

    def __init__(self, instance: Instance, born: float, breaker: Breaker | None) -> None:
        self.id = instance.id
        self.instance = instance
        self.zone = instance.zone
        self.weight = self.full_weight = float(instance.weight)
        self.born = born
        self.breaker = breaker
        self.outstanding = 0
        self.wire: ClientWire | None = None
        self.gone = False


class Visit:
    """One attempt at one instance. Call `leave` once, however it ended."""

    __slots__ = ("_guard", "_peers", "_started", "peer", "wire")

    def __init__(self, peers: "Peers", peer: Peer, wire: ClientWire, guard: Guard | None, started: float) -> None:
        self._peers = peers
        self.peer = peer
        self.wire = wire
        self._guard = guard
        self._started = started

    def respond(self) -> None:
        """The first message of a stream came."""
        if self._guard is not None:
            self._guard.respond()

    def took(self) -> float:
        """Seconds since it began."""
        return self._peers.clock() - self._started

    def leave(self, error: BaseException | None = None) -> None:
        """It is over; `error` is what it ended with."""
        self._peers.left(self.peer, error)
        if self._guard is not None:
            self._guard.leave(error)


class Peers:
    """See the module. `clock` gives seconds, monotonic; `jitter` a number in [0, 1)."""

    def __init__(
        self,
        policy: ClientPolicy,
        balancer: Balancer,
        open_wire: Opener,
        *,
        observer: BreakerObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.clock = clock
        self._policy = policy
        self._balancer = balancer
        self._open_wire = open_wire
        self._observer = _Watching(self, observer)
        self._jitter = jitter
        self._outliers = None if policy.ejection is None else Outliers(policy.ejection)
        self._members: tuple[Peer, ...] = ()
        self._candidates: tuple[Peer, ...] = ()
        self._until = 0.0
        self._leaving: set[Peer] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def members(self) -> Sequence[Peer]:
        """Everyone there is now."""
        return self._members

    @property
    def leaving(self) -> int:
        """How many are gone and still answer calls."""
        return len(self._leaving)

    def candidates(self) -> Sequence[Peer]:
        """Who may be called now."""
        now = self.clock()
        if now >= self._until:
            self._sort_out(now)
        return self._candidates

    def has_other_than(self, tried: Sequence[Peer]) -> bool:
        """Whether anybody may be called who was not tried."""
        return any(each not in tried for each in self.candidates())

    def update(self, instances: Iterable[Instance]) -> None:
        """These are the instances from now on."""
        now = self.clock()
        # Those that were there at the beginning share from the beginning.
        born = now if self._members else now - self._policy.slow_start
        known = {each.id: each for each in self._members}
        members: dict[str, Peer] = {}
        for instance in instances:
            if not instance.weight:
                continue  # it says that it wants no calls
            peer = known.get(instance.id)
            if peer is not None and _same_place(peer.instance, instance):
                peer.instance, peer.zone, peer.full_weight = instance, instance.zone, float(instance.weight)
                known.pop(instance.id)
            else:
                peer = Peer(instance, born, self._breaker(instance))
            members[peer.id] = peer
        self._members = tuple(members.values())
        if self._outliers is not None:
            self._outliers.keep(members)
        self.changed()
        for peer in known.values():
            self._dismiss(peer)

    def visit(self, key: str = "", tried: Sequence[Peer] = ()) -> Visit:
        """Begin an attempt, at one not tried yet if there is one. Raises NoInstances, Unavailable (circuit_open)."""
        refused: list[Peer] = []
        refusal: Exception | None = None
        while True:
            peer = self._pick(key, [*tried, *refused] if refused else tried)
            if refusal is not None and peer in refused:
                raise refusal
            guard = None if peer.breaker is None else peer.breaker.guard()
            if guard is not None:
                try:
                    guard.enter()
                except Unavailable as error:
                    refused.append(peer)
                    refusal = error
                    continue
            if peer.wire is None:
                peer.wire = self._open_wire(peer.instance)
            peer.outstanding += 1
            return Visit(self, peer, peer.wire, guard, self.clock())

    def left(self, peer: Peer, error: BaseException | None) -> None:
        """An attempt at `peer` is over."""
        peer.outstanding -= 1
        if peer.gone and not peer.outstanding:
            self._leaving.discard(peer)
            self._close(peer)
        if self._outliers is None or (error is not None and not isinstance(error, Exception)):
            return
        now = self.clock()
        failed = error is not None and counts_against(error)
        tell = self._outliers.failed if failed else self._outliers.succeeded
        if tell(peer.id, now):
            self.changed()

    def changed(self) -> None:
        """Who may be called is to be found out anew."""
        self._until = 0.0

    async def aclose(self) -> None:
        """Close all connections, whoever uses them."""
        self._closed = True
        gone, self._members = (*self._members, *self._leaving), ()
        self._leaving.clear()
        self.changed()
        for peer in gone:
            self._close(peer)
        while self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)

    def _pick(self, key: str, tried: Sequence[Peer]) -> Peer:
        candidates: Sequence[Peer] = self.candidates()
        if tried:
            fresh = tuple(each for each in candidates if each not in tried)
            candidates = fresh or candidates
        if not candidates:
            raise NoInstances(
                "nobody offers this service now" if not self._closed else "this client is closed",
                hint="the registry knows no instance with this wire" if not self._closed else "make another",
            )
        chosen = self._balancer.pick(candidates, key, self._members)
        assert isinstance(chosen, Peer)  # noqa: S101 - balancers choose among what they are given
        return chosen

    def _sort_out(self, now: float) -> None:
        """Weights and candidates at `now`, and until when they hold."""
        until = float("inf")
        found: list[Peer] = []
        slow = self._policy.slow_start
        for peer in self._members:
            age = now - peer.born
            if age < slow:
                peer.weight = peer.full_weight * max(_LEAST, age / slow)
                until = min(until, now + slow / _STEPS)
            else:
                peer.weight = peer.full_weight
            back = self._back(peer, now)
            if back > now:
                until = min(until, back)
            else:
                found.append(peer)
        self._candidates = tuple(found) if found else self._members
        self._until = until

    def _back(self, peer: Peer, now: float) -> float:
        """When it may be called again; not after `now` when it may be called."""
        back = 0.0 if self._outliers is None else self._outliers.until(peer.id)
        if peer.breaker is not None and peer.breaker.state != CLOSED:
            back = max(back, now + peer.breaker.stats().retry_after)
        return back

    def _breaker(self, instance: Instance) -> Breaker | None:
        if self._policy.breaker is None:
            return None
        target = f"{instance.service}/{instance.id}"
        return Breaker(target, self._policy.breaker, observer=self._observer, clock=self.clock, jitter=self._jitter)

    def _dismiss(self, peer: Peer) -> None:
        peer.gone = True
        if peer.outstanding:
            self._leaving.add(peer)
        else:
            self._close(peer)

    def _close(self, peer: Peer) -> None:
        wire, peer.wire = peer.wire, None
        if wire is not None:
            task = asyncio.get_running_loop().create_task(wire.aclose())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Watching:
    """Lets peers know that a circuit changed, and the one who measures too."""

    def __init__(self, peers: Peers, observer: BreakerObserver | None) -> None:
        self._peers = peers
        self._observer = observer

    def changed(self, target: str, before: State, after: State) -> None:
        self._peers.changed()
        if self._observer is not None:
            self._observer.changed(target, before, after)

    def rejected(self, target: str) -> None:
        if self._observer is not None:
            self._observer.rejected(target)

    def finished(self, target: str, outcome: Outcome, seconds: float) -> None:
        if self._observer is not None:
            self._observer.finished(target, outcome, seconds)


def _same_place(before: Instance, after: Instance) -> bool:
    return before.endpoints == after.endpoints
