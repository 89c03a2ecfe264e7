"""What other rooms tell, counted: each class here is an observer as the room in question describes it.

    breaker = Breaker("payments", observer=metrics.breakers)
    store = FallbackStore(shared, local, observer=metrics.limiter_store)

The rooms know nothing of metrics, and these classes import none of them.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from headgate.kit.observe.series import Bounded

STATES: Final[Mapping[str, int]] = {"closed": 0, "half_open": 1, "open": 2}
"""Value of the gauge for each state of a breaker."""

_Mode = Literal["livesum", "livemax", "livemin"]


class Families:
    """Makes metrics named `headgate_*` in one registry."""

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        self._registry = registry
        self.most = most

    def counter(self, name: str, help_text: str, *labels: str) -> Counter:
        """A counter; its exposed name ends in `_total`."""
        return Counter(f"headgate_{name}", help_text, labels, registry=self._registry)

    def gauge(self, name: str, help_text: str, *labels: str, mode: _Mode) -> Gauge:
        """A gauge; `mode` is how those of several workers make one."""
        return Gauge(f"headgate_{name}", help_text, labels, registry=self._registry, multiprocess_mode=mode)

    def bounded_counter(self, name: str, help_text: str, *labels: str) -> Bounded[Counter]:
        """A counter with a bound to its label sets."""
        return Bounded(self.counter(name, help_text, *labels), self.most)


class BreakerMetrics:
    """Counts what breakers do; an observer of `headgate.kit.resilience.breaker`."""

    def __init__(self, families: Families) -> None:
        state = families.gauge(
            "breaker_state", "0 closed, 1 half open, 2 open; the worst of all workers.", "target", mode="livemax"
        )
        self._state = Bounded(state, families.most)
        self._changes = families.bounded_counter("breaker_transitions", "Changes of state.", "target", "state")
        self._rejected = families.bounded_counter("breaker_rejections", "Calls an open breaker refused.", "target")
        self._calls = families.bounded_counter("breaker_calls", "Calls that were admitted.", "target", "outcome")

    def changed(self, target: str, before: str, after: str) -> None:  # noqa: ARG002 - the observer's signature
        """The circuit changed its state."""
        self._state.labels(target).set(STATES.get(after, 0))
        self._changes.labels(target, after).inc()

    def rejected(self, target: str) -> None:
        """A call was refused because the circuit is open."""
        self._rejected.labels(target).inc()

    def finished(self, target: str, outcome: str, seconds: float) -> None:  # noqa: ARG002 - the observer's signature
        """An admitted call ended."""
        self._calls.labels(target, outcome).inc()


class RetryMetrics:
    """Counts what retries do; an observer of `headgate.kit.resilience.retry`."""

    def __init__(self, families: Families) -> None:
        self._retries = families.bounded_counter("retries", "Attempts after the first.", "target")
        self._given_up = families.bounded_counter(
            "retries_given_up", "Transient failures that were not retried.", "target", "reason"
        )

    def retried(self, target: str, attempt: int, wait: float) -> None:  # noqa: ARG002 - the observer's signature
        """One more attempt follows."""
        self._retries.labels(target).inc()

    def gave_up(self, target: str, reason: str) -> None:
        """None follows."""
        self._given_up.labels(target, reason).inc()


class StoreMetrics:
    """Counts outages of the limits' store; an observer of `headgate.kit.limits.fallback`."""

    def __init__(self, families: Families) -> None:
        self._up = families.gauge("limiter_store_up", "Whether the limits' shared store answers.", mode="livemin")
        self._outages = families.counter("limiter_store_outages", "Outages of the limits' shared store.")
        self._without = families.bounded_counter(
            "limiter_decisions_without_store", "Calls decided by the policy for outages.", "policy"
        )
        self._up.set(1)

    def store_down(self) -> None:
        """An outage began."""
        self._up.set(0)
        self._outages.inc()

    def store_up(self) -> None:
        """It is over."""
        self._up.set(1)

    def without_store(self, policy: str) -> None:
        """A call was decided by the policy."""
        self._without.labels(policy).inc()


class SafetyMetrics:
    """Counts what the content gate finds; an observer of `headgate.kit.safety`."""

    def __init__(self, families: Families) -> None:
        self._verdicts = families.bounded_counter("safety_verdicts", "Texts judged.", "side", "verdict")
        self._findings = families.bounded_counter("safety_findings", "Categories found.", "side", "category")
        self._failed = families.bounded_counter("safety_scorer_failures", "Scorers without answer.", "scorer", "reason")

    def judged(self, side: str, judgement: Any) -> None:
        """A text was judged; `judgement` has a `verdict` and the `categories` that were found."""
        self._verdicts.labels(side, str(judgement.verdict)).inc()
        for category in judgement.categories:
            self._findings.labels(side, category).inc()

    def scorer_failed(self, scorer: str, reason: str) -> None:
        """A scorer did not answer."""
        self._failed.labels(scorer, reason).inc()
