"""Label sets that cannot grow without bound, and the figures of a call among them.

targets = Bounded(counter, most=200)
targets.labels("payments", "open").inc()      # the 201st set counts as ("(other)", "(other)")
"""

from collections.abc import Callable
from typing import Final, Generic, Protocol, Self, TypeVar

from headgate.kit.controls.call import Call
from headgate.kit.controls.codes import CODES
from headgate.kit.observe.exposition import Labels

OTHER: Final = "(other)"
"""Stands for the label values of all sets that came after the last one there was room for."""
UNMATCHED: Final = "(unmatched)"
"""The route of calls for which there is none."""

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_CLIENT_WENT_AWAY: Final = 499

Key = tuple[str, str, str, int, str, bool]
"""Protocol, route, method, status, code, whether it was complete."""


class Labelled(Protocol):
    """A metric of prometheus-client, or a child of one."""

    def labels(self, *values: str) -> Self:
        """The child of these label values."""


MetricT = TypeVar("MetricT", bound=Labelled)


class Bounded(Generic[MetricT]):
    """The children of a metric, looked up once each; `most` of them, and one for all further ones."""

    def __init__(self, metric: MetricT, most: int) -> None:
        self._metric = metric
        self._most = most
        self._children: dict[tuple[str, ...], MetricT] = {}

    def labels(self, *values: str) -> MetricT:
        """The child of these values, or of "(other)" for each of them."""
        child = self._children.get(values)
        if child is None:
            if len(self._children) >= self._most:
                return self._metric.labels(*(OTHER,) * len(values))
            child = self._children[values] = self._metric.labels(*values)
        return child


class Series(Protocol):
    """What is counted of calls that have the same labels."""

    def add(self, call: Call, *, stream: bool) -> None:
        """Count one that has ended."""


SeriesT = TypeVar("SeriesT", bound=Series)


class SeriesOfCalls(Generic[SeriesT]):
    """Finds the series of a call. `make` builds one from protocol, route, method, status, code and outcome."""

    def __init__(self, make: Callable[[Labels], SeriesT], most: int) -> None:
        self._make = make
        self._most = most
        self._known: dict[Key, SeriesT] = {}
        self._last: SeriesT | None = None

    def __len__(self) -> int:
        return len(self._known)

    def all(self) -> list[SeriesT]:
        """Every series there is."""
        return [*self._known.values(), *([self._last] if self._last is not None else [])]

    def of(self, call: Call) -> SeriesT:
        """The series of a call that has ended."""
        series = self._known.get((call.protocol, call.route, call.method, call.status, call.code, call.complete))
        return self._find(call) if series is None else series

    def _find(self, call: Call) -> SeriesT:
        """Methods that callers invent share one series; so do routes, once there are too many."""
        status = call.status if 100 <= call.status < 600 else _CLIENT_WENT_AWAY
        method = call.method if call.method in METHODS else "OTHER"
        code = call.code if call.code in CODES else "UNKNOWN"
        for route, most in ((call.route, self._most), (OTHER, 2 * self._most)):
            key = (call.protocol, route, method, status, code, call.complete)
            series = self._known.get(key)
            if series is not None:
                return series
            if len(self._known) < most:
                return self._known.setdefault(key, self._make_of(key))
        if self._last is None:
            self._last = self._make((OTHER,) * 6)
        return self._last

    def _make_of(self, key: Key) -> SeriesT:
        protocol, route, method, status, code, complete = key
        outcome = outcome_of(status, code, complete=complete)
        return self._make((protocol, route or UNMATCHED, method, str(status), code, outcome))


def outcome_of(status: int, code: str, *, complete: bool) -> str:
    """`ok`, `refused` (the caller's doing), `failed` (ours), `cancelled` (the caller left) or `cut` (broke off)."""
    if code == "CANCELLED" or status == _CLIENT_WENT_AWAY:
        return "cancelled"
    if status >= 500:
        return "failed"
    if status >= 400:
        return "refused"
    return "ok" if complete and code == "OK" else "cut"
