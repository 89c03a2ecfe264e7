"""How many calls run at a time: in all, and for one caller; and fewer of them while answers get slower.

    Concurrency(total=1_000, per_caller=100, shedding=Shedding(1_000))

A call holds its place from its admission until it is settled, streams and sockets all that time. Whoever is
turned away is told at once, so that a queue never forms where nobody sees it.

    Unavailable        overloaded            all places are taken
    ResourceExhausted  too_many_concurrent   this caller's are
"""

from collections.abc import Iterable
from typing import ClassVar, Final

from headgate.kit.controls.access import GRPC_HEALTH
from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.faults import ResourceExhausted, Unavailable
from headgate.kit.controls.limits import PROBES, budget_key

_ROUTES: Final = 1_024


class Shedding:
    """A number of places that follows what the service can bear (additive increase, multiplicative decrease).

    How slow an answer is, is judged by others of its route: by its ratio to their moving average. When the answers
    of a window take `tolerance` times as long as usual, places become `backoff` times as many, but no fewer than
    `least`; when they do not and more than half of the places were in use, one more. What stays slow becomes usual
    in the end, so places return. Source: AIMD as in TCP (RFC 5681), applied to concurrency.
    """

    def __init__(
        self, most: int, *, least: int = 4, tolerance: float = 2.0, backoff: float = 0.8, window: int = 32
    ) -> None:
        self.places = most
        self._most, self._least = most, min(least, most)
        self._tolerance, self._backoff, self._window = tolerance, backoff, window
        self._usual: dict[str, float] = {}
        self._sum = 0.0
        self._seen = 0
        self._busiest = 0

    def observe(self, route: str, seconds: float, running: int) -> None:
        """An answer took `seconds`, while `running` calls ran."""
        if route not in self._usual and len(self._usual) >= _ROUTES:
            route = ""
        usual = self._usual.get(route, seconds)
        self._sum += seconds / usual if usual > 0 else 1.0
        # Usual follows what gets faster quickly, and what gets slower slowly.
        self._usual[route] = usual + (seconds - usual) * (0.1 if seconds < usual else 0.002)
        self._busiest = max(self._busiest, running)
        self._seen += 1
        if self._seen == self._window:
            self._judge()

    def _judge(self) -> None:
        if self._sum / self._seen > self._tolerance:
            # Fewer than are in use now: places nobody takes do not slow anything down.
            self.places = max(self._least, int(min(self.places, self._busiest) * self._backoff))
        elif self._busiest * 2 > self.places:
            self.places = min(self._most, self.places + 1)
        self._sum, self._seen, self._busiest = 0.0, 0, 0


class Concurrency(Control):
    """Gives calls their places and takes them back. 0 places is without limit; `shedding` then has no effect."""

    name: ClassVar[str] = "concurrency"

    def __init__(
        self,
        *,
        total: int = 0,
        per_caller: int = 0,
        shedding: Shedding | None = None,
        exempt: Iterable[str] = PROBES,
        retry_after: float = 1.0,
    ) -> None:
        self._total = total
        self._per_caller = per_caller
        self._shedding = shedding if total else None
        self._exempt = GRPC_HEALTH | frozenset(exempt)
        self._retry_after = retry_after
        self._running = 0
        self._callers: dict[str, int] = {}

    @property
    def running(self) -> int:
        """Calls that hold a place."""
        return self._running

    @property
    def callers(self) -> int:
        """Callers with at least one of them."""
        return len(self._callers)

    @property
    def places(self) -> int:
        """Places there are now, 0 without limit."""
        return self._shedding.places if self._shedding is not None else self._total

    def admit(self, call: Call) -> None:
        """Take a place for the call."""
        if call.path in self._exempt:
            return
        if self._total and self._running >= (self._total if self._shedding is None else self._shedding.places):
            raise Unavailable(
                "too many calls are running",
                code="overloaded",
                hint="try again shortly",
                retry_after=self._retry_after,
            )
        key = budget_key(call) if self._per_caller else ""
        mine = self._callers.get(key, 0)
        if self._per_caller and mine >= self._per_caller:
            raise ResourceExhausted(
                f"{mine} calls of yours are running, which is as many as may at a time",
                code="too_many_concurrent",
                hint="wait for one of them to end",
                retry_after=self._retry_after,
            )
        self._callers[key] = mine + 1
        self._running += 1
        call.keep(self.name, key)

    def settle(self, call: Call) -> None:
        """Take the place back, when the call has one."""
        key = call.state.pop(self.name, None) if call.state is not None else None
        if key is None:
            return
        # Errors come as quickly as they like; but one that came because the time was up was slow.
        if self._shedding is not None and (_answered(call) or call.refused_by == "deadline"):
            first = call.first_byte
            seconds = call.seconds if first is None else first - call.started
            self._shedding.observe(call.route, seconds, self._running)
        self._running -= 1
        mine = self._callers[key] - 1
        if mine:
            self._callers[key] = mine
        else:
            del self._callers[key]


def _answered(call: Call) -> bool:
    return not call.refused_by and 0 < call.status < 400
