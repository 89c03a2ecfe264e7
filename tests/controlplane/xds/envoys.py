"""A model of Envoy as an xDS client: wildcard clusters and listeners, everything else as these name it.

It keeps apart what it was given (`held`), what waits for more (`warming`) and what traffic uses (`active`,
`tables`), as Envoy does: a changed cluster waits for its endpoints to come again, a listener for its route
configs; routes are used at once. While a cluster waits, the ACK of the clusters waits, too.
Source: Envoy's xds_protocol.rst and cluster_manager.rst.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPES, Resource
from headgate.controlplane.xds.messages import Request, Response
from tests.controlplane.xds.world import read


class Blame(Enum):
    """How much an error text says."""

    EXACT = "each bad resource with its reason"
    DUMP = "the first bad resource, with names of others"
    NOTHING = "no name"


@dataclass(frozen=True)
class Temper:
    """How the client refuses: with which words, and whether it takes the good part of what it refuses."""

    blame: Blame = Blame.EXACT
    partial: bool = True


def complaint(resources: list[Resource], blame: Blame) -> str:
    """The error text about bad resources."""
    if blame is Blame.EXACT:
        return "Error adding/updating: " + "\n".join(f"{resource.name}: it is bad" for resource in resources)
    if blame is Blame.DUMP:
        document = read(resources[0])
        others = " ".join(f'cluster: "{name}"' for name in document.get("clusters", ()))
        return f'constraint failed: name: "{resources[0].name}" {others}'
    return "constraint failed"


@dataclass
class Envoy:
    """The client. What it wants to send is in `outbox`, in order."""

    delta: bool
    held: dict[str, dict[str, Resource]] = field(default_factory=lambda: {t: {} for t in TYPES})
    names: dict[str, set[str]] = field(default_factory=lambda: {t: set() for t in TYPES})
    active: dict[str, dict[str, Resource]] = field(default_factory=lambda: {CLUSTER: {}, LISTENER: {}})
    warming: dict[str, dict[str, Resource]] = field(default_factory=lambda: {CLUSTER: {}, LISTENER: {}})
    waits_for_endpoints: set[str] = field(default_factory=set)
    tables: dict[str, Resource] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    nonces: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    outbox: list[Request] = field(default_factory=list)
    paused: Request | None = None

    def connect(self) -> None:
        """Open a stream; the second time, with what it has from the one before."""
        self.outbox.clear()
        self.nonces.clear()
        self.paused = None
        for type_url in self.started or [CLUSTER]:
            self._start(type_url)

    def receive(self, response: Response, temper: Temper) -> None:
        """Take a response: apply, change subscriptions, then ACK or NACK, in this order."""
        type_url = response.type_url
        self.nonces[type_url] = response.nonce
        bad = [resource for resource in response.resources if read(resource)["bad"]]
        if not bad or temper.partial:
            refused = {resource.name for resource in bad}
            self._apply(response, [r for r in response.resources if r.name not in refused], refused)
        if not bad:
            self.versions[type_url] = response.version
        self._follow()
        self._answer(type_url, complaint(bad, temper.blame) if bad else None)
        self._resume()

    def give_up_waiting(self) -> bool:
        """Initial fetch timeout: go on with what there is. Returns whether that changed anything."""
        stuck = bool(self.warming[CLUSTER]) or LISTENER not in self.started
        for name in list(self.warming[CLUSTER]):
            self.active[CLUSTER][name] = self.warming[CLUSTER].pop(name)
        self._resume()
        return stuck

    def used_clusters(self) -> Mapping[str, str]:
        """Clusters that traffic may be sent to now, and by whom."""
        used = {}
        for listener in self.active[LISTENER].values():
            document = read(listener)
            used.update(dict.fromkeys(document["clusters"], f"listener {listener.name}"))
            for table in document["tables"]:
                if table in self.tables:
                    used.update(dict.fromkeys(read(self.tables[table])["clusters"], f"route config {table}"))
        return used

    def _start(self, type_url: str) -> None:
        if type_url not in self.started:
            self.started.append(type_url)
        names = tuple(sorted(self.names[type_url]))
        if self.delta:
            known = {name: resource.version for name, resource in self.held[type_url].items()}
            self.outbox.append(Request(type_url, subscribe=names, initial_versions=known))
        else:
            self.outbox.append(Request(type_url, names=names, version=self.versions.get(type_url, "")))

    def _answer(self, type_url: str, error: str | None) -> None:
        names = () if self.delta else tuple(sorted(self.names[type_url]))
        version = "" if self.delta else self.versions.get(type_url, "")
        answer = Request(type_url, nonce=self.nonces[type_url], error=error, version=version, names=names)
        if type_url == CLUSTER:
            self.paused = answer
        else:
            self.outbox.append(answer)

    def _resume(self) -> None:
        """Nothing is warming: answer about the clusters, and begin with the listeners."""
        if self.warming[CLUSTER]:
            return
        if self.paused:
            self.outbox.append(self.paused)
            self.paused = None
        if LISTENER not in self.started and CLUSTER in self.started:
            self._start(LISTENER)

    def _apply(self, response: Response, good: list[Resource], kept: set[str]) -> None:
        type_url, held = response.type_url, self.held[response.type_url]
        gone = set(response.removed)
        if not self.delta and type_url in (CLUSTER, LISTENER):
            gone = held.keys() - {resource.name for resource in good} - kept
        if type_url in (CLUSTER, LISTENER):
            for name in gone:
                for group in (held, self.active[type_url], self.warming[type_url]):
                    group.pop(name, None)
        elif self.delta:
            for name in gone:
                held.pop(name, None)
        for resource in good:
            if type_url in (CLUSTER, LISTENER) or resource.name in self.names[type_url]:
                held[resource.name] = resource
                self._take(resource)
        self._warm()

    def _take(self, resource: Resource) -> None:
        type_url, name = resource.type_url, resource.name
        if type_url == ROUTE:
            self.tables[name] = resource
        elif type_url == ENDPOINT:
            self.waits_for_endpoints.discard(name)
        elif type_url in (CLUSTER, LISTENER):
            newest = self.warming[type_url].get(name) or self.active[type_url].get(name)
            if newest is None or newest.version != resource.version:
                self.warming[type_url][name] = resource
                if type_url == CLUSTER and read(resource)["eds"]:
                    self.waits_for_endpoints.add(name)

    def _warm(self) -> None:
        for type_url, waiting in self.warming.items():
            for name, resource in list(waiting.items()):
                if not list(self._lacking(resource)):
                    self.active[type_url][name] = waiting.pop(name)

    def _lacking(self, resource: Resource) -> Iterator[str]:
        document = read(resource)
        yield from (f"secret {name}" for name in document["secrets"] if name not in self.held[SECRET])
        yield from (f"table {name}" for name in document.get("tables", ()) if name not in self.tables)
        if document.get("eds") and resource.name in self.waits_for_endpoints:
            yield f"endpoints {resource.name}"

    def _follow(self) -> None:
        """Subscribe to what the clusters and listeners it knows name, and to nothing else."""
        known: dict[str, list[dict[str, Any]]] = {
            t: [read(r) for group in (self.active, self.warming) for r in group[t].values()]
            for t in (CLUSTER, LISTENER)
        }
        endpoints = {
            name for group in (self.active, self.warming) for name, r in group[CLUSTER].items() if read(r)["eds"]
        }
        tables = {name for document in known[LISTENER] for name in document["tables"]}
        secrets = {name for documents in known.values() for document in documents for name in document["secrets"]}
        for type_url, names in ((ENDPOINT, endpoints), (ROUTE, tables), (SECRET, secrets)):
            self._resubscribe(type_url, names)
        self._warm()

    def _resubscribe(self, type_url: str, names: set[str]) -> None:
        was, self.names[type_url] = self.names[type_url], names
        for name in was - names:
            self.held[type_url].pop(name, None)
            if type_url == ROUTE:
                self.tables.pop(name, None)
        if type_url not in self.started:
            if names:
                self._start(type_url)
        elif was == names:
            return
        elif self.delta:
            added, dropped = tuple(sorted(names - was)), tuple(sorted(was - names))
            self.outbox.append(Request(type_url, subscribe=added, unsubscribe=dropped))
        else:
            nonce, version = self.nonces.get(type_url, ""), self.versions.get(type_url, "")
            self.outbox.append(Request(type_url, nonce=nonce, version=version, names=tuple(sorted(names))))
