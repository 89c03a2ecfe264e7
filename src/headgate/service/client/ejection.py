"""Instances that fail while others do not are left out for a while: outlier ejection, without a clock of its own.

    outliers = Outliers(EjectionPolicy())
    outliers.failed("orders-2", now)            # five in a row: ejected
    outliers.is_ejected("orders-2", now)

Two signs: so many failures in a row, or a success rate far below that of the others in the last interval. Each
ejection in a row is longer than the one before, an interval without one takes a step back, and never more than a
share of all instances is out at a time. Source: Envoy's "Outlier detection", whose defaults these are, save for the
share.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, pstdev

from headgate.kit.controls.faults import InvalidArgument, Violation


@dataclass(frozen=True, slots=True)
class EjectionPolicy:
    """When an instance is left out, and for how long. Times in seconds. Raises InvalidArgument.

    `consecutive` failures in a row eject; so does a success rate more than `deviations` standard deviations below the
    mean, judged every `interval` among at least `minimum_instances` that had `minimum_calls` each. The n-th ejection
    in a row lasts `first_time * n`, at most `longest_time`. No more than `most_percent` of the instances are out.
    """

    consecutive: int = 5
    interval: float = 10.0
    minimum_instances: int = 5
    minimum_calls: int = 100
    deviations: float = 1.9
    first_time: float = 30.0
    longest_time: float = 300.0
    most_percent: float = 50.0

    def __post_init__(self) -> None:
        rules = {
            "consecutive": self.consecutive >= 1,
            "interval": self.interval > 0,
            "minimum_instances": self.minimum_instances >= 2,
            "minimum_calls": self.minimum_calls >= 1,
            "deviations": self.deviations >= 0,
            "first_time": self.first_time > 0,
            "longest_time": self.longest_time >= self.first_time,
            "most_percent": 0 <= self.most_percent <= 100,
        }
        wrong = [Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in rules if not rules[name]]
        if wrong:
            raise InvalidArgument(
                "instances cannot be ejected like this: " + ", ".join(each.pointer[1:] for each in wrong),
                violations=wrong,
                hint="times and counts are positive, most_percent from 0 to 100",
            )


class Record:
    """How one instance did. `until` is when its ejection ends, `times` how many in a row it had."""

    __slots__ = ("calls", "failures", "row", "times", "until")

    def __init__(self) -> None:
        self.row = 0
        self.calls = 0
        self.failures = 0
        self.times = 0
        self.until = 0.0


class Outliers:
    """The instances of one service, by their ids. `now` is in seconds on any monotonic clock."""

    def __init__(self, policy: EjectionPolicy) -> None:
        self.policy = policy
        self._records: dict[str, Record] = {}
        self._judged: float | None = None

    def keep(self, ids: Iterable[str]) -> None:
        """These are the instances now; the others are forgotten."""
        self._records = {name: self._records.get(name) or Record() for name in ids}

    def succeeded(self, name: str, now: float) -> bool:
        """A call was answered. True when this changed who is ejected."""
        record = self._records.get(name)
        if record is not None:
            record.row = 0
            record.calls += 1
        return self._judge(now)

    def failed(self, name: str, now: float) -> bool:
        """A call failed by the instance's doing. True when this changed who is ejected."""
        record = self._records.get(name)
        if record is None:
            return self._judge(now)
        record.row += 1
        record.calls += 1
        record.failures += 1
        ejected = record.row >= self.policy.consecutive and self._eject(record, now)
        return self._judge(now) or ejected

    def is_ejected(self, name: str, now: float) -> bool:
        """Whether the instance is left out."""
        record = self._records.get(name)
        return record is not None and record.until > now

    def until(self, name: str) -> float:
        """When its ejection ends, or ended; 0 when it had none."""
        record = self._records.get(name)
        return 0.0 if record is None else record.until

    def ejected(self, now: float) -> list[str]:
        """Who is left out."""
        return [name for name, record in self._records.items() if record.until > now]

    def _eject(self, record: Record, now: float) -> bool:
        if record.until > now:
            return False
        out = sum(each.until > now for each in self._records.values())
        if out + 1 > len(self._records) * self.policy.most_percent / 100:
            return False
        record.times += 1
        record.until = now + min(self.policy.longest_time, self.policy.first_time * record.times)
        record.row = 0
        return True

    def _judge(self, now: float) -> bool:
        """At the end of an interval, eject those far below the others."""
        if self._judged is None:
            self._judged = now
        if now - self._judged < self.policy.interval:
            return False
        self._judged = now
        changed = self._compare(now)
        for record in self._records.values():
            if record.until <= now and record.times and not record.row:
                record.times -= 1
            record.calls = record.failures = 0
        return changed

    def _compare(self, now: float) -> bool:
        rates = {
            name: 1 - record.failures / record.calls
            for name, record in self._records.items()
            if record.calls >= self.policy.minimum_calls and record.until <= now
        }
        if len(rates) < self.policy.minimum_instances:
            return False
        floor = fmean(rates.values()) - self.policy.deviations * pstdev(rates.values())
        below = sorted((rate, name) for name, rate in rates.items() if rate < floor)
        ejected = [name for _, name in below if self._eject(self._records[name], now)]
        return bool(ejected)
