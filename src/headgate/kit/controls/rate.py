"""Rates and the generic cell rate algorithm (GCRA). Pure: the time is passed in."""

from dataclasses import dataclass
from typing import Final, Self

PERIODS: Final = {"second": 1.0, "minute": 60.0, "hour": 3_600.0, "day": 86_400.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` units per `period` seconds. A count of 0 is no limit."""

    count: int
    period: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `60/minute`, `60/30 seconds` or `off`. Raises ValueError, saying what is expected."""
        if text in {"off", ""}:
            return cls(0, 1.0)
        count, _, per = text.partition("/")
        times, _, unit = per.strip().rpartition(" ")
        period = PERIODS.get(unit.removesuffix("s"))
        if period is None or not count.strip().isdigit() or not (times or "1").strip().isdigit() or int(count) < 1:
            raise ValueError("must be 'off' or a number per period, such as 60/minute, 10/second or 100/5 minutes")
        return cls(int(count), period * int(times or "1"))
