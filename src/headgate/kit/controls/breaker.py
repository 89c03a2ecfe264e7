"""The circuit breaker as a state machine: no clock, no loop, no randomness of its own.

    circuit = Circuit(BreakerPolicy(), jitter=lambda: 0.5)
    if ticket := circuit.admit(now):        # 0 (REFUSED) when the circuit is open
        ...
        circuit.succeed(ticket, later, later - now)     # or fail, or release

    closed ──failure or slow-call rate reached──> open ──its time is up: one probe──> half_open
       ^                                           ^                                    │
       │                                           └────────── the probe failed ────────┤
       └────────────────────────────── the probe succeeded ─────────────────────────────┘

A call is admitted with a ticket and gives it back with its outcome. Tickets of another epoch (from before
the circuit opened, of a probe whose lease ran out) are ignored, so nothing late can change the state, and
a probe that never reports loses its lease: the circuit cannot wedge. Times are seconds on any monotonic
clock; a clock that stands still or goes back delays changes and breaks nothing.

Each opening in a row lasts longer, up to a cap, and after one fewer calls are needed to open again; a
quiet window takes one step back.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from headgate.kit.controls.faults import InvalidArgument, Violation

State: TypeAlias = Literal["closed", "open", "half_open"]
CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half_open"
REFUSED: Final = 0
"""The ticket of a call that may not be made."""

_HIGHEST_LEVEL: Final = 30
_CALLS, _FAILURES, _SLOW = range(3)


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a circuit opens, for how long, and how it is tried again. Raises InvalidArgument.

    Times are in seconds, rates are fractions of the calls of the last `window`. A call is slow when it
    took `slow_call`; None counts none as slow. `relapse_calls` replaces `minimum_calls`, in steps, after
    repeated openings. `jitter` spreads the open time by this fraction to both sides.
    """

    window: float = 60.0
    buckets: int = 10
    minimum_calls: int = 10
    failure_rate: float = 0.5
    slow_call: float | None = 60.0
    slow_rate: float = 0.8
    open_time: float = 5.0
    open_growth: float = 2.0
    longest_open_time: float = 120.0
    jitter: float = 0.2
    probe_lease: float = 30.0
    relapse_calls: int = 3

    def __post_init__(self) -> None:
        rules = {
            "window": self.window > 0,
            "buckets": self.buckets >= 1,
            "minimum_calls": self.minimum_calls >= 1,
            "failure_rate": 0 < self.failure_rate <= 1,
            "slow_call": self.slow_call is None or self.slow_call > 0,
            "slow_rate": 0 < self.slow_rate <= 1,
            "open_time": self.open_time > 0,
            "open_growth": 1 <= self.open_growth <= 10,
            "longest_open_time": self.longest_open_time >= self.open_time,
            "jitter": 0 <= self.jitter < 1,
            "probe_lease": self.probe_lease > 0,
            "relapse_calls": self.relapse_calls >= 1,
        }
        wrong = [Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in rules if not rules[name]]
        if wrong:
            raise InvalidArgument(
                "a circuit breaker cannot work like this: " + ", ".join(each.pointer[1:] for each in wrong),
                violations=wrong,
                hint="times and counts are positive, rates above 0 and at most 1, jitter below 1, growth from 1 to 10",
            )


@dataclass(frozen=True, slots=True)
class CircuitStats:
    """A circuit at one moment. Counts are of the window; `level` is how many openings in a row it remembers."""

    state: State
    calls: int
    failures: int
    slow: int
    level: int
    retry_after: float


class Window:
    """Counts over the last `seconds`, forgotten bucket by bucket."""

    __slots__ = ("_bucket", "_buckets", "_end", "_position", "_width", "calls", "failures", "slow")

    def __init__(self, seconds: float, buckets: int) -> None:
        self._width = seconds / buckets
        self._buckets = [[0, 0, 0] for _ in range(buckets)]
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        for bucket in self._buckets:
            bucket[:] = (0, 0, 0)
        self._position = 0
        self._bucket = self._buckets[0]
        self._end = -math.inf
        self.calls = self.failures = self.slow = 0

    def add(self, now: float, failed: bool, slow: bool) -> None:
        """Count one call that ended at `now`."""
        if now >= self._end:
            self.turn(now)
        bucket = self._bucket
        bucket[_CALLS] += 1
        self.calls += 1
        if failed:
            bucket[_FAILURES] += 1
            self.failures += 1
        if slow:
            bucket[_SLOW] += 1
            self.slow += 1

    def turn(self, now: float) -> None:
        """Forget what is older than the window at `now`."""
        if now < self._end:
            return
        # No further than the window is long, however long nothing happened (since ever, at first).
        behind = (now - self._end) / self._width
        if behind >= len(self._buckets):
            self.clear()
            self._end = now + self._width
            return
        for _ in range(int(behind) + 1):
            self._position = (self._position + 1) % len(self._buckets)
            self._bucket = self._buckets[self._position]
            self.calls -= self._bucket[_CALLS]
            self.failures -= self._bucket[_FAILURES]
            self.slow -= self._bucket[_SLOW]
            self._bucket[:] = (0, 0, 0)
            self._end += self._width


class Circuit:
    """One circuit. `jitter` gives a number in [0, 1); `changed` is told of each change of state."""

    __slots__ = (
        "_calm",
        "_changed",
        "_epoch",
        "_jitter",
        "_level",
        "_not_before",
        "_policy",
        "_slow_call",
        "_window",
        "state",
    )

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        jitter: Callable[[], float],
        changed: Callable[[State, State], None] | None = None,
    ) -> None:
        self._policy = policy
        self._jitter = jitter
        self._changed = changed
        self._slow_call = math.inf if policy.slow_call is None else policy.slow_call
        self._window = Window(policy.window, policy.buckets)
        self._epoch = 1
        self._level = 0
        # When the level goes down by one: a window after the circuit closed.
        self._calm = math.inf
        # The end of the open time, or of the probe's lease.
        self._not_before = 0.0
        self.state: State = CLOSED

    def admit(self, now: float) -> int:
        """A ticket for one call, or REFUSED (0). In half-open the one ticket is a lease."""
        if self.state == CLOSED:
            return self._epoch
        if now < self._not_before:
            return REFUSED
        self._epoch += 1
        self._not_before = now + self._policy.probe_lease
        self._become(HALF_OPEN)
        return self._epoch

    def retry_after(self, now: float) -> float:
        """Seconds until a refused call may try again, 0 when it may at once."""
        if self.state == CLOSED:
            return 0.0
        left = max(0.0, self._not_before - now)
        # How a probe ends is not known; its whole lease would be too pessimistic.
        return min(left, self._policy.open_time) if self.state == HALF_OPEN else left

    def succeed(self, ticket: int, now: float, seconds: float) -> None:
        """The call worked and took `seconds`."""
        if ticket != self._epoch:
            return
        slow = seconds >= self._slow_call
        if self.state == CLOSED:
            window = self._window
            window.add(now, False, slow)
            if window.failures or window.slow:
                self._judge(now)
        elif slow:
            self._open(now)
        else:
            self._close(now)

    def fail(self, ticket: int, now: float, seconds: float) -> None:
        """The call failed after `seconds`, and the other side is to blame."""
        if ticket != self._epoch:
            return
        if self.state == CLOSED:
            self._window.add(now, True, seconds >= self._slow_call)
            self._judge(now)
        else:
            self._open(now)

    def release(self, ticket: int, now: float, seconds: float) -> None:
        """The call tells nothing of the other side: it was cancelled, or the caller was to blame.

        A probe gives its lease back, and the next call becomes the probe. But what took as long as a slow
        call was one: a target that never answers shows only in calls that somebody gave up.
        """
        if ticket != self._epoch:
            return
        if seconds >= self._slow_call:
            self.succeed(ticket, now, seconds)
        elif self.state == HALF_OPEN:
            self._epoch += 1
            self._not_before = now

    def respond(self, ticket: int, now: float, seconds: float) -> int:
        """A long answer has begun, after `seconds`. Returns the ticket to end the call with.

        A probe closes the circuit here, so that others need not wait until its stream ends.
        """
        if self.state != HALF_OPEN or ticket != self._epoch:
            return ticket
        if seconds >= self._slow_call:
            self._open(now)
            return REFUSED
        self._close(now)
        return self._epoch

    def reset(self) -> None:
        """Close the circuit and forget what was."""
        self._level = 0
        self._calm = math.inf
        self._clear()
        self._become(CLOSED)

    def stats(self, now: float) -> CircuitStats:
        """What the circuit knows at `now`."""
        self._window.turn(now)
        self._cool(now)
        window = self._window
        return CircuitStats(self.state, window.calls, window.failures, window.slow, self._level, self.retry_after(now))

    def _judge(self, now: float) -> None:
        window, policy = self._window, self._policy
        minimum = policy.minimum_calls
        if self._level:
            self._cool(now)
            minimum = min(minimum, max(policy.relapse_calls, minimum >> self._level))
        calls = window.calls
        if calls >= minimum and (
            window.failures >= policy.failure_rate * calls or window.slow >= policy.slow_rate * calls
        ):
            self._open(now)

    def _cool(self, now: float) -> None:
        """Take back one level for each whole window that passed since the circuit closed."""
        if now < self._calm:
            return
        steps = int((now - self._calm) / self._policy.window) + 1
        self._level = max(0, self._level - steps)
        self._calm = self._calm + steps * self._policy.window if self._level else math.inf

    def _open(self, now: float) -> None:
        policy = self._policy
        self._cool(now)
        length = min(policy.longest_open_time, policy.open_time * policy.open_growth**self._level)
        spread = 1 + policy.jitter * (2 * self._jitter() - 1)
        self._not_before = now + min(policy.longest_open_time, length * spread)
        self._level = min(self._level + 1, _HIGHEST_LEVEL)
        self._calm = math.inf
        self._clear()
        self._become(OPEN)

    def _close(self, now: float) -> None:
        self._calm = now + self._policy.window
        self._clear()
        self._become(CLOSED)

    def _clear(self) -> None:
        self._epoch += 1
        self._window.clear()

    def _become(self, state: State) -> None:
        before, self.state = self.state, state
        if self._changed is not None and before != state:
            self._changed(before, state)
