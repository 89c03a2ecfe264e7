"""One type on one stream: what the client subscribed to, holds, has in flight and has refused.

Pure: no I/O, no clock. `headgate.controlplane.xds.protocol` joins the channels of a stream and decides
what may travel when.
"""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from headgate.controlplane.core.dataplane_state import Refused
from headgate.controlplane.translate.resource import CLUSTER, LISTENER, SECRET, ByName, Resource
from headgate.controlplane.xds.suspects import Suspects
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
    removed: frozenset[str]
    fresh: Mapping[str, Resource]
    """Those in `resources` that the client did not hold in that version: whom a NACK can be about."""
    complete: bool = False
    """Whether `resources` is all the client is to hold of the type."""


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
    owed: dict[str, Resource] = field(default_factory=dict)
    """What a cluster that was sent waits for: given even when it is unchanged, or gone from the view by now.
    Envoy answers about its clusters, and takes new ones, only when none of them waits any more."""
    must_reply: bool = False
    """The next response is sent even when it is empty."""
    unknown: bool = False
    """State of the world, a complete type: whether the client may hold what we were never told of."""
    in_flight: dict[str, Delivery] = field(default_factory=dict)
    last_nonce: str = ""
    refused: dict[str, Refused] = field(default_factory=dict)
    suspects: Suspects = field(default_factory=Suspects)
    uncertain: dict[str, Resource] = field(default_factory=dict)
    """What the client may hold although we cannot tell: good parts of what it refused. To be sent again."""
    heard: frozenset[str] = frozenset()
    """Names in a request that was stale, of state of the world: they will be asked for again."""
    forgotten: set[str] = field(default_factory=set)
    """Names missing in a request that was stale: when they come again, they are asked for anew."""
    idle_since: dict[str, float] = field(default_factory=dict)
    """When a resource that is to go was first seen without a user."""
    acknowledged_version: str = ""

    def subscribed(self, name: str) -> bool:
        """Whether the client wants to hear of `name`."""
        return self.wildcard or name in self.names

    def expects(self, name: str) -> bool:
        """Whether the client wants to hear of `name`, or is about to say so."""
        return self.subscribed(name) or name in self.heard

    @property
    def quarantined(self) -> bool:
        """Whether something the client follows is refused."""
        return any(self.subscribed(name) for name in self.refused)

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
        """All the client may be working with: what it holds or may hold, and what is on its way.

        What another process sent first, and this one serves as the last good version, is known by version
        only: what it names was not kept.
        """
        foreign = {refused.last_good for refused in self.refused.values() if refused.resource is None}
        known = itertools.chain(
            (held for _, held in self.all_held()),
            self.uncertain.values(),
            *(delivery.resources for delivery in self.in_flight.values()),
        )
        return (held.version if isinstance(held, Resource) and held in foreign else held for held in known)

    def has(self, resource: Resource) -> bool:
        """Whether the client surely holds this version."""
        return version_of(self.held(resource.name)) == resource.version and resource.name not in self.uncertain

    def recognise(self, resource: Resource) -> bool:
        """What the client holds is this; return whether only its version was known before."""
        if not isinstance(self.held(resource.name), str):
            return False
        self.changes[resource.name] = resource
        return True

    def sent_version(self, name: str) -> str | None:
        """The newest version sent, acknowledged or not; None when its removal is."""
        for delivery in reversed(self.in_flight.values()):
            if name in delivery.removed:
                return None
            if name in delivery.fresh:
                return delivery.fresh[name].version
        return version_of(self.held(name))

    def wanted(self, name: str, view: View) -> Resource | Keep | None:
        """What the client is to have of `name`: quarantined versions give way to the last good one."""
        resource = self.owed.get(name) or view.resources[self.type_url].get(name)
        refused = self.refused.get(name)
        if resource is None or refused is None or refused.version != resource.version:
            return resource
        return refused.last_good or KEEP

    def acknowledge(self, delivery: Delivery) -> None:
        """Record that the client accepted a delivery."""
        if delivery.complete:
            self.unknown = False
            self.uncertain.clear()
        for resource in delivery.resources:
            self.uncertain.pop(resource.name, None)
            if self.subscribed(resource.name):
                self.changes[resource.name] = resource
        for name in delivery.removed:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Record that the client does not hold `name` any more."""
        self.uncertain.pop(name, None)
        if name in self.base:
            self.changes[name] = None
        else:
            self.changes.pop(name, None)

    def subscribe(self, names: set[str]) -> None:
        """Follow these names too; each is answered, even when it was followed before."""
        for name in names:
            if not self.subscribed(name):
                self.drop(name)
        self.names |= names
        self.pending |= names
        self.due |= names

    def join(self, names: Collection[str], view: View) -> None:
        """Delta: follow these names, too."""
        if WILDCARD in names and self.type_url != SECRET and not self.wildcard:
            self.widen(view)
        self.subscribe(set(names) - {WILDCARD})

    def leave(self, names: Iterable[str]) -> None:
        """Delta: follow these names no more. Beside the wildcard, the client is told what it has of them now."""
        given = set(names)
        gone = self.names & given
        self.names -= gone
        self._let_go(gone)
        if WILDCARD in given and self.wildcard:
            self.narrow()
        if self.wildcard:
            self.pending |= gone
            self.due |= gone
        self.prune()

    def follow(self, names: Iterable[str], view: View) -> None:
        """State of the world: follow these names, and nothing else, from now on."""
        given = set(names)
        legacy = not given and not self.ever_named and self.type_url in FULL_STATE
        self.ever_named = self.ever_named or bool(given)
        wildcard = (WILDCARD in given or legacy) and self.type_url != SECRET
        wanted = given - {WILDCARD}
        self.names -= self.forgotten
        self.heard = frozenset()
        self.forgotten.clear()
        added = wanted - self.names
        if wildcard and not self.wildcard:
            self.widen(view)
        self.subscribe(added)
        self._let_go(self.names - wanted)
        self.names = wanted
        if self.wildcard and not wildcard:
            self.narrow()
        self.prune()
        self.must_reply = (self.must_reply or bool(added)) and self.type_url in FULL_STATE

    def _let_go(self, names: Iterable[str]) -> None:
        """Nothing waits for these any more."""
        for name in names:
            self.owed.pop(name, None)

    def overhear(self, names: Iterable[str]) -> None:
        """Take note of a stale request, of state of the world."""
        self.heard = frozenset(names)
        self.forgotten |= self.names - self.heard

    def widen(self, view: View) -> None:
        """Follow everything from now on."""
        self.changes = dict(self.all_held())
        self.base = {}
        self.wildcard = True
        self.must_reply = True
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
            self.uncertain = {name: held for name, held in self.uncertain.items() if name in self.names}
            self.suspects.keep(self.names)
            self.pending &= self.names
            self.due &= self.names

    def disown(self, resource: Resource) -> None:
        """The client does not want this version, whoever waits for it."""
        owed = self.owed.get(resource.name)
        if owed and owed.version == resource.version:
            del self.owed[resource.name]

    def refuse(self, resource: Resource, message: str) -> Resource | None:
        """Hold a version back; return what the client is served instead, None for what it has."""
        name = resource.name
        self.uncertain.pop(name, None)
        earlier = self.refused.get(name)
        if earlier and earlier.last_good and earlier.last_good.version == resource.version:
            self.refused[name] = replace(earlier, last_good=None)
            return None
        held = self.held(name)
        good = held if isinstance(held, Resource) and held.version != resource.version else None
        self.refused[name] = Refused(resource.version, message, good, resource)
        return good

    def reconsider(self, names: Collection[str], view: View) -> None:
        """These may have changed: what was held against another version of theirs is forgotten."""
        self.suspects.forget(names)
        for name in names:
            self.idle_since.pop(name, None)
            refused, current = self.refused.get(name), view.resources[self.type_url].get(name)
            if refused and (current is None or current.version != refused.version):
                del self.refused[name]
                self.pending.add(name)

    def settle(self, view: View) -> None:
        """In sync: share the view's mapping instead of keeping an own one."""
        if not (self.pending or self.in_flight or self.must_reply or self.quarantined):
            self.base = view.resources[self.type_url]
            self.changes.clear()
            self.uncertain.clear()
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

    def resume(self, view: View) -> None:
        """The client comes back with everything the view has."""
        self.base = view.resources[self.type_url]
        self.pending.clear()
        self.refused.clear()
        self.must_reply = False
