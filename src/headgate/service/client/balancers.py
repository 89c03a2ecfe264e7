"""Which instance gets a call: pure choices, whose randomness is given to them.

    client = Client(Orders, registry=registry, balancer=ZoneAware("eu-1a", RingHash()))

    TwoChoices      the less loaded of two, drawn by weight; the default ("The Power of Two Choices in Randomized
                    Load Balancing", Mitzenmacher 2001)
    RoundRobin      each in turn, by weight, without bunches ("smooth" weighted round robin, as in nginx)
    Random          drawn by weight
    RingHash        the same instance for the same key, as far as it lasts ("Consistent Hashing", Karger 1997)
    ZoneAware       another balancer, within the caller's zone while that has capacity

A balancer is asked with `candidates`, those that calls may go to now, and `everyone`, with those that are held back.
Both are the same object as before while nothing has changed, so what is computed from them is kept.
"""

import hashlib
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final, Protocol

from headgate.kit.controls.faults import InvalidArgument

Randomness = Callable[[], float]
"""Gives a number in [0, 1)."""


class Candidate(Protocol):
    """What a balancer knows of an instance. `outstanding` are the calls it has not answered yet."""

    @property
    def id(self) -> str:
        """Its name, unique within a service."""

    @property
    def weight(self) -> float:
        """How much it takes, compared with others; above 0."""

    @property
    def full_weight(self) -> float:
        """The same once it has been here for a while: what does not move while an instance starts slowly."""

    @property
    def outstanding(self) -> int:
        """Calls it has not answered yet."""

    @property
    def zone(self) -> str:
        """Where it runs, "" when nobody says."""


class Balancer(Protocol):
    """Chooses among candidates, of which there is at least one. `key` is what the caller gave, "" for nothing."""

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:
        """The one that gets the call."""


class Draw:
    """Draws in proportion to weight."""

    __slots__ = ("_last", "_random", "_sums")

    def __init__(self, randomness: Randomness) -> None:
        self._random = randomness
        self._last: Sequence[Candidate] | None = None
        self._sums: list[float] | None = None

    def position(self, candidates: Sequence[Candidate]) -> int:
        """The place of the one drawn."""
        if candidates is not self._last:
            weights = [each.weight for each in candidates]
            self._last = candidates
            self._sums = None if len(set(weights)) == 1 else list(accumulate(weights))
        if self._sums is None:
            return int(self._random() * len(candidates))
        return min(bisect_right(self._sums, self._random() * self._sums[-1]), len(candidates) - 1)


class Random:
    """Draws by weight."""

    def __init__(self, randomness: Randomness = random.random) -> None:
        self._draw = Draw(randomness)

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:  # noqa: ARG002
        """One drawn by weight."""
        return candidates[self._draw.position(candidates)]


class TwoChoices:
    """Draws two by weight and takes the one with less to do, for its weight."""

    __slots__ = ("_draw", "_random")

    def __init__(self, randomness: Randomness = random.random) -> None:
        self._random = randomness
        self._draw = Draw(randomness)

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:  # noqa: ARG002
        """The less loaded of two; of two that are equally loaded the first drawn."""
        count = len(candidates)
        if count == 1:
            return candidates[0]
        position = self._draw.position(candidates)
        other = self._draw.position(candidates)
        if other == position:  # any other: drawing until they differ may take long
            other = (position + 1 + int(self._random() * (count - 1))) % count
        first, second = candidates[position], candidates[other]
        return second if second.outstanding / second.weight < first.outstanding / first.weight else first


class RoundRobin:
    """Each in turn; of weights 2 and 1, two of three calls go to the first."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}
        self._last: Sequence[Candidate] | None = None

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:  # noqa: ARG002
        """The one whose turn it is."""
        if candidates is not self._last:
            known = {each.id for each in everyone} | {each.id for each in candidates}
            self._credit = {name: credit for name, credit in self._credit.items() if name in known}
            self._last = candidates
        credit, total = self._credit, 0.0
        for each in candidates:
            credit[each.id] = credit.get(each.id, 0.0) + each.weight
            total += each.weight
        chosen = max(candidates, key=lambda each: credit[each.id])
        credit[chosen.id] -= total
        return chosen


class RingHash:
    """The same instance for the same key; when one goes only its keys move. Without a key, any.

    `points` is how often an instance of weight 1 stands on the ring: more are fairer and take more memory. Raises
    InvalidArgument.
    """

    MOST_POINTS: Final = 2_000
    """Points of one instance, whatever its weight."""

    def __init__(self, points: int = 100, randomness: Randomness = random.random) -> None:
        if not 1 <= points <= self.MOST_POINTS:
            raise InvalidArgument(f"{points} points on a ring are not possible", hint="from 1 to 2,000")
        self._points = points
        self._draw = Draw(randomness)
        self._last: Sequence[Candidate] | None = None
        self._ring: list[int] = []
        self._owners: list[str] = []

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:
        """The first on the ring from the key on that takes calls."""
        if not key:
            return candidates[self._draw.position(candidates)]
        if everyone is not self._last:
            self._build(everyone)
        taking = {each.id: each for each in candidates}
        owners, count = self._owners, len(self._owners)
        start = bisect_left(self._ring, _point(key))
        for step in range(count):
            found = taking.get(owners[(start + step) % count])
            if found is not None:
                return found
        return candidates[0]

    def _build(self, everyone: Sequence[Candidate]) -> None:
        points = sorted(
            (_point(f"{each.id}\0{number}"), each.id)
            for each in everyone
            for number in range(self._count(each.full_weight))
        )
        self._last = everyone
        self._ring = [point for point, _ in points]
        self._owners = [owner for _, owner in points]

    def _count(self, weight: float) -> int:
        return max(1, min(self.MOST_POINTS, round(self._points * weight)))


class ZoneAware:
    """Another balancer, among the instances of the caller's own `zone` while these can take the calls.

    `reserve` is what a zone has over what it needs: with 1.4, a zone that lost two of seven instances still takes
    all its calls, and one that lost more sends the others that share (Envoy's overprovisioning factor). `capacity` is
    how many calls in flight an instance of weight 1 has before all zones share what comes, None for any number.
    Raises InvalidArgument.
    """

    def __init__(
        self,
        zone: str,
        inner: Balancer | None = None,
        *,
        reserve: float = 1.4,
        capacity: int | None = 64,
        randomness: Randomness = random.random,
    ) -> None:
        if reserve < 1 or (capacity is not None and capacity < 1):
            raise InvalidArgument("a zone cannot be like this", hint="reserve and capacity are at least 1")
        self.zone = zone
        self._inner = inner or TwoChoices(randomness)
        self._reserve = reserve
        self._capacity = capacity
        self._random = randomness
        self._last: tuple[Any, Any] = (None, None)
        self._here: tuple[Candidate, ...] = ()
        self._others: tuple[Candidate, ...] = ()
        self._all_here: tuple[Candidate, ...] = ()
        self._share = 0.0
        self._room = 0.0

    def pick(self, candidates: Sequence[Candidate], key: str, everyone: Sequence[Candidate]) -> Candidate:
        """One of this zone, or one of another for what is too much for it."""
        if self._last[0] is not candidates or self._last[1] is not everyone:
            self._split(candidates, everyone)
        here, others = self._here, self._others
        if not here or not others:
            return self._inner.pick(candidates, key, everyone)
        if self._capacity is not None and sum(each.outstanding for each in here) >= self._room:
            return self._inner.pick(candidates, key, everyone)
        if self._share >= 1 or self._random() < self._share:
            return self._inner.pick(here, key, self._all_here)
        return self._inner.pick(others, key, everyone)

    def _split(self, candidates: Sequence[Candidate], everyone: Sequence[Candidate]) -> None:
        self._last = (candidates, everyone)
        self._here = tuple(each for each in candidates if each.zone == self.zone)
        self._others = tuple(each for each in candidates if each.zone != self.zone)
        self._all_here = tuple(each for each in everyone if each.zone == self.zone)
        taking, all_here = (sum(each.weight for each in group) for group in (self._here, self._all_here))
        self._share = min(1.0, self._reserve * taking / all_here) if all_here else 0.0
        self._room = (self._capacity or 0) * taking


def _point(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
