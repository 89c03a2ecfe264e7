"""Rates and the generic cell rate algorithm (GCRA). Pure: the time is passed in.

    quota = Quota("requests", Rate.parse("60/minute"))
    tat, decision = charge(quota, tat=0, now=clock(), cost=1)

A caller's whole state is one integer, the theoretical arrival time: when a caller at exactly the rate would have
asked for all that was admitted. It runs ahead of the clock by the caller's debt, which drains by itself. A cost is
admitted while the debt stays within `count` units, so a caller who was idle may spend the whole count at once.

What is guaranteed: in any stretch of `s` seconds at most `count + count * s / period` units are admitted, hence
`count` at one instant and `count` per period in the long run; a caller who never asks faster than one unit
each `period / count` seconds is never refused. Times are whole microseconds and debts whole fractions of them, so
nothing is lost to rounding. Source: ITU-T I.371, annex A (virtual scheduling).
"""

import math
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, Self, TypeAlias

PERIODS: Final = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0}
MOST_UNITS: Final = 1_000_000_000
LONGEST: Final = 366 * 86_400.0
_MICROSECONDS: Final = 1_000_000
_made: Final = tuple.__new__


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` units per `period` seconds. A count of 0 is no limit."""

    count: int
    period: float

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        if not self:
            return "off"
        unit, seconds = next(each for each in reversed(PERIODS.items()) if self.period % each[1] == 0 or each[1] == 1)
        times = self.period / seconds
        return f"{self.count}/{unit}" if times == 1 else f"{self.count}/{times:g} {unit}s"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `60/minute`, `60/30 seconds` or `off`. Raises ValueError, saying what is expected."""
        if text in {"off", ""}:
            return cls(0, 1.0)
        count, _, per = text.partition("/")
        times, _, unit = per.strip().rpartition(" ")
        period = PERIODS.get(unit.removesuffix("s"), 0.0) * _whole(times or "1")
        if not 0 < period <= LONGEST or not 0 < _whole(count) <= MOST_UNITS:
            raise ValueError("must be 'off' or a number per period, such as 60/minute, 10/second or 100/5 minutes")
        return cls(_whole(count), period)


def _whole(text: str) -> int:
    """The number that `text` spells in at most twelve digits, else 0."""
    plain = text.strip()
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= 12 else 0


class Quota:
    """A rate under a name, made ready for GCRA. Two with the same `id` share their callers' budgets."""

    __slots__ = ("count", "full", "id", "name", "per_second", "rate", "unit")

    def __init__(self, name: str, rate: Rate) -> None:
        if not rate:
            raise ValueError(f"quota {name!r} has no rate: leave it out instead")
        self.name = name
        self.rate = rate
        self.count = rate.count
        self.unit = round(rate.period * _MICROSECONDS)
        """Debt of one unit."""
        self.full = self.count * self.unit
        """Most debt a caller may have."""
        self.per_second = self.count * _MICROSECONDS
        """Debt that drains in a second."""
        self.id = f"{name}:{rate.count}/{rate.period:g}"

    def __repr__(self) -> str:
        return f"Quota({self.id})"


class Charge(NamedTuple):
    """Units to take from a quota. Negative ones are given back; 0 asks whether one would be admitted.

    With `force` they are taken whatever the debt: the work is done already.
    """

    quota: Quota
    cost: int = 1
    force: bool = False


class Decision(NamedTuple):
    """What became of a charge. `retry_after` is 0 when admitted, and infinite when the cost exceeds the limit."""

    allowed: bool
    limit: int
    remaining: int
    """Units that could be spent now."""
    reset: float
    """Seconds until all of the limit could be."""
    retry_after: float
    """Seconds until this cost would be admitted."""


Decisions: TypeAlias = tuple[Decision, ...]


class Store(Protocol):
    """Keeps callers' debts. All charges of one `take` are made, or none when one of them is refused."""

    def take(self, key: str, charges: Sequence[Charge]) -> Decisions | Awaitable[Decisions]:
        """Charge the caller `key`; one decision for each charge, in order. Awaitable when it takes I/O.

        Raises Unavailable (`limit_store_down`) when the debts cannot be had.
        """


def charge(quota: Quota, tat: int, now: int, cost: int, force: bool = False) -> tuple[int, Decision]:
    """The new theoretical arrival time, in 1/count microseconds, and the decision; `now` is in microseconds."""
    clock = now * quota.count
    debt = tat - clock if tat > clock else 0
    full, unit = quota.full, quota.unit
    if 0 < cost <= (full - debt) // unit:
        # Nearly every charge; calling what is below would take as long again.
        after = debt + cost * unit
        decision = _made(Decision, (True, quota.count, (full - after) // unit, after / quota.per_second, 0.0))
        return clock + after, decision
    if not force and shortfall(quota, debt, cost) > 0:
        return clock + debt, refused(quota, debt, cost)
    debt = owed(quota, debt, cost)
    return clock + debt, granted(quota, debt)


def shortfall(quota: Quota, debt: int, cost: int) -> int:
    """Debt that must drain before `cost` is admitted; not positive when it is at once."""
    return 0 if cost < 0 else debt + (cost or 1) * quota.unit - quota.full


def owed(quota: Quota, debt: int, cost: int) -> int:
    """The debt once `cost` is taken."""
    return max(0, debt + cost * quota.unit)


def granted(quota: Quota, debt: int) -> Decision:
    """The decision that admits; `debt` is that after the charge."""
    left = (quota.full - debt) // quota.unit if debt < quota.full else 0
    return Decision(True, quota.count, left, debt / quota.per_second, 0.0)


def refused(quota: Quota, debt: int, cost: int) -> Decision:
    """The decision that refuses; `debt` is what it was and stays."""
    left = max(0, (quota.full - debt) // quota.unit)
    wait = math.inf if cost > quota.count else shortfall(quota, debt, cost) / quota.per_second
    return Decision(False, quota.count, left, debt / quota.per_second, wait)


def decide(charges: Sequence[Charge], debts: Sequence[int], taken: bool) -> Decisions:
    """The decisions on charges that were all taken, or all left; `debts` are those after that."""
    return tuple(
        granted(quota, debt) if taken or force or shortfall(quota, debt, cost) <= 0 else refused(quota, debt, cost)
        for (quota, cost, force), debt in zip(charges, debts, strict=True)
    )
