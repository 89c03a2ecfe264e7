"""How patiently registries are asked, and who is told of it.

RegistryPolicy(longest_pause=60.0, empty_grace=30.0)

class Count(RegistryObserver):
    def failed(self, registry: str, service: str, fault: Fault) -> None:
        ERRORS.labels(registry, fault.code).inc()
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from headgate.kit.controls.faults import Fault, InvalidArgument, Violation
from headgate.service.registry.instance import Instance, Snapshot

_log = structlog.get_logger("headgate.registry")


@dataclass(frozen=True, slots=True)
class RegistryPolicy:
    """Times in seconds. Raises InvalidArgument.

    The n-th pause after failures lies between half of and the whole of `first_pause * 2**(n-1)`, never over
    `longest_pause`; the count starts anew once all went well for `settled`. `empty_grace`: for how long an answer
    without any instance is not believed when it comes right after an outage and there were some before.
    `first_answer`: how long the first snapshot of a service is waited for; after that an empty stale one is given.
    `linger`: how long a service is watched on after the last who wanted it left. `call_timeout` bounds one request,
    `release_timeout` the leaving. Who was forgotten by the registry comes back within `rejoin_within`.
    `most_watched` services are watched at the same time, at most.
    """

    first_pause: float = 0.2
    longest_pause: float = 30.0
    settled: float = 5.0
    empty_grace: float = 10.0
    first_answer: float = 5.0
    linger: float = 30.0
    call_timeout: float = 5.0
    release_timeout: float = 5.0
    rejoin_within: float = 2.0
    most_watched: int = 1024
    spread: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        positive = ("first_pause", "longest_pause", "first_answer", "call_timeout", "release_timeout", "most_watched")
        wrong = [name for name in positive if getattr(self, name) <= 0]
        wrong += [name for name in ("settled", "empty_grace", "linger", "rejoin_within") if getattr(self, name) < 0]
        if wrong:
            raise InvalidArgument(
                "a registry cannot be asked like this: " + ", ".join(wrong),
                code="invalid_registry_policy",
                violations=[Violation(f"/{name}", f"{getattr(self, name)} is not possible") for name in wrong],
                hint="times and counts are positive; settled, empty_grace, linger and rejoin_within may be 0",
            )

    def pause(self, failures: int, retry_after: float | None = None) -> float:
        """Seconds to wait after that many failures in a row, and no less than the registry asked for."""
        most = min(self.longest_pause, self.first_pause * 2.0 ** min(max(failures, 1) - 1, 30))
        return most * (0.5 + self.spread() / 2) + min(max(retry_after or 0.0, 0.0), 10 * self.longest_pause)


class RegistryObserver:
    """Told what happens; override what you want to know. Must not block, and what it raises is logged."""

    def changed(self, registry: str, snapshot: Snapshot) -> None:
        """Subscribers see another snapshot: other instances, or `stale` changed."""

    def confirmed(self, registry: str, service: str) -> None:
        """The registry answered: what is known of the service is of now."""

    def failed(self, registry: str, service: str, fault: Fault) -> None:
        """The registry could not be asked, or refused to answer."""

    def leased(self, registry: str, instance: Instance, *, held: bool) -> None:
        """An instance is known to the registry from now on, or no longer."""


class Told(RegistryObserver):
    """Tells `observer`, whose failures harm nobody."""

    def __init__(self, observer: RegistryObserver | None) -> None:
        self._observer = observer or RegistryObserver()

    def changed(self, registry: str, snapshot: Snapshot) -> None:
        """See RegistryObserver."""
        self._tell(self._observer.changed, registry, snapshot)

    def confirmed(self, registry: str, service: str) -> None:
        """See RegistryObserver."""
        self._tell(self._observer.confirmed, registry, service)

    def failed(self, registry: str, service: str, fault: Fault) -> None:
        """See RegistryObserver."""
        self._tell(self._observer.failed, registry, service, fault)

    def leased(self, registry: str, instance: Instance, *, held: bool) -> None:
        """See RegistryObserver."""
        self._tell(partial(self._observer.leased, held=held), registry, instance)

    def _tell(self, tell: Callable[..., None], *what: object) -> None:
        try:
            tell(*what)
        except Exception:  # noqa: BLE001 - what users wrote
            _log.exception("an observer of the registry failed")
