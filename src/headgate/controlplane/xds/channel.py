"""One type on one stream: what the client subscribed to, holds, has in flight and has refused.

Pure: no I/O, no clock. `headgate.controlplane.xds.protocol` joins the channels of a stream and decides
what may travel when.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, LISTENER, SECRET, ByName, Resource
from headgate.controlplane.xds.view import View

WILDCARD = "*"
FULL_STATE = frozenset({CLUSTER, LISTENER})
"""Types whose state-of-the-world responses are complete sets, and which know the legacy wildcard."""

Held = Resource | str
"""What the client holds: a resource we know, or (after a reconnect) only the version it told us."""


def version_of(held: Held | None) -> str | None:
    """Version of what is held."""
    return held.version if isinstance(held, Resource) else held


@dataclass(slots=True)
class Delivery:
    """A response that waits for its ACK or NACK."""

    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]
    fresh: frozenset[str]
    """Names in `resources` that the client did not hold in that version: whom a NACK can be about."""


class Keep:
    """The verdict "leave what the client has"."""


KEEP = Keep()


@dataclass(slots=True)
class Channel:
    """State of one type on one stream.

    `pending` holds every name whose wanted and held resource may differ; a stream in sync has none, and
    then what it holds is simply the view it shares with others (`base`), whatever the number of names.
    """

    type_url: str
    started: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    ever_named: bool = False
    base: ByName = field(default_factory=dict)
    changes: dict[str, Held | None] = field(default_factory=dict)
    pending: set[str] = field(default_factory=set)
    due: set[str] = field(default_factory=set)
    """Names asked for: answered even when unchanged."""
    must_reply: bool = False
    """The next response is sent even when it is empty."""
    in_flight: dict[str, Delivery] = field(default_factory=dict)
    last_nonce: str = ""
    refused: dict[str, Refused] = field(default_factory=dict)
    trials: list[frozenset[str]] = field(default_factory=list)
    """Groups of names under suspicion after an unspecific NACK; only the last one is tried at a time."""
    idle_since: dict[str, float] = field(default_factory=dict)
    """When a resource that is to go was first seen without a user."""
    acknowledged_version: str = ""

    def subscribed(self, name: str) -> bool:
        """Whether the client wants to hear of `name`."""
        return self.wildcard or name in self.names

    def held(self, name: str) -> Held | None:
        """What the client acknowledged of `name`."""
        if name in self.changes:
            return self.changes[name]
        return self.base.get(name) if self.subscribed(name) else None

    def all_held(self) -> Iterator[tuple[str, Held]]:
        """Every name the client holds."""
        for name in self.base if self.wildcard else self.names:
            if name not in self.changes and name in self.base:
                yield name, self.base[name]
        for name, held in self.changes.items():
            if held is not None:
                yield name, held

    def possible(self) -> Iterator[Held]:
        """All the client may be working with: what it holds and what is on its way."""
        for _, held in self.all_held():
            yield held
        for delivery in self.in_flight.values():
            yield from delivery.resources

    def sent_version(self, name: str) -> str | None:
        """The newest version sent, acknowledged or not."""
        for delivery in reversed(self.in_flight.values()):
            for resource in delivery.resources:
                if resource.name == name:
                    return resource.version
        return version_of(self.held(name))

    def wanted(self, name: str, view: View) -> Resource | Keep | None:
        """What the client is to have of `name`: quarantined versions give way to the last good one."""
        resource = view.resources[self.type_url].get(name)
        refused = self.refused.get(name)
        if resource is None or refused is None or refused.version != resource.version:
            return resource
        return refused.last_good or KEEP

    def on_trial(self, name: str) -> bool:
        """Whether `name` is under suspicion and not of the group that is being tried."""
        return bool(self.trials) and name not in self.trials[-1] and any(name in group for group in self.trials)

    def acknowledge(self, delivery: Delivery) -> None:
        """Record that the client accepted a delivery."""
        for resource in delivery.resources:
            if self.subscribed(resource.name):
                self.changes[resource.name] = resource
        for name in delivery.removed:
            self.changes[name] = None
        if self.trials and delivery.fresh & self.trials[-1]:
            self.trials.pop()

    def subscribe(self, names: set[str]) -> None:
        """Follow these names too; each is answered, even when it was followed before."""
        for name in names:
            if not self.subscribed(name):
                self.changes[name] = None
        self.names |= names
        self.pending |= names
        self.due |= names

    def widen(self, view: View) -> None:
        """Follow everything from now on."""
        self.changes = dict(self.all_held())
        self.base = {}
        self.wildcard = True
        self.pending |= set(view.resources[self.type_url])

    def narrow(self) -> None:
        """Follow only the names from now on."""
        held = dict(self.all_held())
        self.base = {}
        self.wildcard = False
        self.changes = {name: held[name] for name in self.names if name in held}

    def prune(self) -> None:
        """Forget what is not followed any more: a new subscription is answered afresh."""
        if not self.wildcard:
            self.changes = {name: held for name, held in self.changes.items() if name in self.names}
            self.pending &= self.names
            self.due &= self.names

    def settle(self, view: View) -> None:
        """In sync: share the view's mapping instead of keeping an own one."""
        if not (self.pending or self.in_flight or self.refused or self.must_reply):
            self.base = view.resources[self.type_url]
            self.changes.clear()
            self.idle_since.clear()
            self.acknowledged_version = view.version(self.type_url)

    def start(self, view: View, names: Iterable[str], initial_versions: Mapping[str, str]) -> None:
        """Begin with the client's first request of this type."""
        self.started = True
        given = set(names)
        self.ever_named = bool(given)
        self.wildcard = self.type_url != SECRET and (WILDCARD in given or (not given and self.type_url in FULL_STATE))
        self.names = given - {WILDCARD}
        resources = view.resources[self.type_url]
        told = {name: version for name, version in initial_versions.items() if self.subscribed(name)}
        for name, version in told.items():
            known = resources.get(name)
            self.changes[name] = known if known and known.version == version else version
        self.pending = self.names | set(told)
        self.due = self.names - set(told)
        if self.wildcard:
            self.pending |= set(resources)
            self.must_reply = not initial_versions
