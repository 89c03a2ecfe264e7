"""When to try again, as pure decisions: no clock, no sleep, no randomness of its own.

    budget = RetryBudget()
    budget.deposit()                                    # once per call
    wait = delay(policy, attempt=1, spread=random(), retry_after=fault.retry_after, remaining=deadline.left())
    if wait is not None and budget.withdraw(): ...      # sleep `wait` seconds, then try again

Exponential backoff with full jitter keeps callers apart; the budget keeps retries a small share of the
calls, so that they cannot become the outage. Source: "Exponential Backoff And Jitter" (AWS Architecture
Blog, 2015); RFC 9110 section 10.2.3 (Retry-After).
"""

from dataclasses import dataclass
from typing import Final

from headgate.kit.controls.faults import Fault, InvalidArgument, Violation

_TRANSIENT: Final = frozenset({"UNAVAILABLE", "ABORTED"})


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how far apart. Raises InvalidArgument.

    `attempts` counts the first one. The n-th pause is at most `first_pause * growth**(n-1)` seconds, never
    over `longest_pause`. A Retry-After over `longest_retry_after` seconds is not waited for: the call fails.
    """

    attempts: int = 3
    first_pause: float = 0.1
    growth: float = 2.0
    longest_pause: float = 5.0
    longest_retry_after: float = 30.0

    def __post_init__(self) -> None:
        rules = {
            "attempts": 1 <= self.attempts <= 100,
            "first_pause": self.first_pause >= 0,
            "growth": 1 <= self.growth <= 10,
            "longest_pause": self.longest_pause >= self.first_pause,
            "longest_retry_after": self.longest_retry_after >= 0,
        }
        wrong = [Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in rules if not rules[name]]
        if wrong:
            raise InvalidArgument(
                "calls cannot be retried like this: " + ", ".join(each.pointer[1:] for each in wrong),
                violations=wrong,
                hint="attempts from 1 to 100, pauses not negative, growth from 1 to 10",
            )


class RetryBudget:
    """A bucket of retries: each call puts `ratio` of one in, each retry takes one out.

    It starts full and holds at most `most`, so retries are at most `ratio` of the calls, plus `most`.
    """

    __slots__ = ("_most", "_ratio", "tokens")

    def __init__(self, ratio: float = 0.1, most: float = 10.0) -> None:
        if not (0 <= ratio <= 1 and most >= 0):
            raise InvalidArgument(
                f"a retry budget of {ratio} per call, at most {most}, is not possible",
                hint="the ratio lies between 0 and 1, the most is not negative",
            )
        self._ratio = ratio
        self._most = most
        self.tokens = most

    def deposit(self) -> None:
        """A call was made."""
        self.tokens = min(self._most, self.tokens + self._ratio)

    def withdraw(self) -> bool:
        """Take one retry out; False when there is none."""
        # Ten tenths are a little less than one.
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens = max(0.0, self.tokens - 1)
        return True


def is_transient(error: BaseException) -> bool:
    """Whether the same call may well succeed a little later.

    Unavailable, Aborted, ResourceExhausted that says when to come back, and broken or refused connections.
    A circuit that is open is not: it holds calls back on purpose.
    """
    if isinstance(error, Fault):
        if error.code == "circuit_open":
            return False
        return error.kind in _TRANSIENT or (error.kind == "RESOURCE_EXHAUSTED" and error.retry_after is not None)
    return isinstance(error, ConnectionError)


def delay(
    policy: RetryPolicy,
    *,
    attempt: int,
    spread: float,
    retry_after: float | None = None,
    remaining: float | None = None,
) -> float | None:
    """Seconds to wait after the failed `attempt` (1 is the first), or None to give up.

    `spread` is in [0, 1). With `retry_after` the wait is no shorter than that. None when the attempts are
    used up, when the other side asks for more patience than the policy has, or when less than the wait is
    left of the call's time (`remaining`, in seconds).
    """
    if attempt >= policy.attempts:
        return None
    wait = spread * min(policy.longest_pause, policy.first_pause * policy.growth ** (attempt - 1))
    if retry_after is not None and retry_after > 0:
        if retry_after > policy.longest_retry_after:
            return None
        # On top of what was asked, or all who were told the same come back at once.
        wait += retry_after
    return None if remaining is not None and wait >= remaining else wait
