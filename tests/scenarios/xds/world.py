"""What the server is given: resources made by hand, and a source of snapshots that a test changes."""

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from headgate.controlplane.core.dataplane_state import Node, Refused, Report
from headgate.controlplane.translate.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPES,
    Resource,
    TeamSnapshot,
    content_hash,
    empty_snapshot,
)

TEAM = "red"


def make(type_url: str, name: str, content: str = "1", refs: Iterable[Resource] = (), team: str = TEAM) -> Resource:
    """A resource of any type: `content` tells its versions apart."""
    full = f"{team}/{name}"
    refs = tuple(refs)
    message = {
        CLUSTER: lambda: Cluster(name=full, alt_stat_name=content),
        ENDPOINT: lambda: ClusterLoadAssignment(
            cluster_name=full, policy=ClusterLoadAssignment.Policy(), named_endpoints={content: {}}
        ),
        LISTENER: lambda: Listener(
            name=full, stat_prefix=" ".join([content, *(r.name for r in refs if r.type_url == ROUTE)])
        ),
        ROUTE: lambda: RouteConfiguration(name=full, internal_only_headers=[content, *(r.name for r in refs)]),
        SECRET: lambda: Secret(name=full, generic_secret={"secret": {"inline_string": content}}),
    }[type_url]()
    body = message.SerializeToString(deterministic=True)
    return Resource(type_url, full, content_hash(body), body, frozenset((r.type_url, r.name) for r in refs))


def named_in(type_url: str, body: bytes) -> list[str]:
    """What a resource made here leads to: a listener to routes, routes to clusters."""
    if type_url == LISTENER:
        return Listener.FromString(body).stat_prefix.split()[1:]
    return list(RouteConfiguration.FromString(body).internal_only_headers[1:])


def cluster(name: str, content: str = "1", *refs: Resource) -> Resource:
    """A cluster."""
    return make(CLUSTER, name, content, refs)


def endpoints(name: str, content: str = "1") -> Resource:
    """The endpoints of the cluster of that name."""
    return make(ENDPOINT, name, content)


def listener(name: str, content: str = "1", *refs: Resource) -> Resource:
    """A listener that names these."""
    return make(LISTENER, name, content, refs)


def table(name: str, content: str = "1", *refs: Resource) -> Resource:
    """A route config that names these clusters."""
    return make(ROUTE, name, content, refs)


def secret(name: str, content: str = "1") -> Resource:
    """A secret."""
    return make(SECRET, name, content)


class Source:
    """Snapshots by team, changed at will. A team has a resource `TEAM/barrier` of the types with no wildcard."""

    def __init__(self, *teams: str) -> None:
        self._current = {team: empty_snapshot(team) for team in teams}
        self._listeners: list[Callable[[TeamSnapshot], None]] = []
        for team in teams:
            self.change(put=[make(kind, "barrier", team=team) for kind in (ENDPOINT, ROUTE, SECRET)], team=team)

    def current(self, team: str) -> TeamSnapshot | None:
        """The newest snapshot of a team."""
        return self._current.get(team)

    def teams(self) -> Collection[str]:
        """All teams."""
        return self._current.keys()

    def subscribe(self, heard: Callable[[TeamSnapshot], None]) -> Callable[[], None]:
        """Tell of each new snapshot."""
        self._listeners.append(heard)
        return lambda: self._listeners.remove(heard)

    def put(self, *resources: Resource) -> None:
        """Set resources, in one revision."""
        self.change(put=resources)

    def drop(self, *resources: Resource) -> None:
        """Take resources away, in one revision."""
        self.change(drop=resources)

    def change(self, put: Iterable[Resource] = (), drop: Iterable[Resource] = (), team: str = TEAM) -> None:
        """Do both, in one revision."""
        old = self._current[team]
        resources = {kind: dict(old.resources[kind]) for kind in TYPES}
        for resource in drop:
            del resources[resource.type_url][resource.name]
        for resource in put:
            resources[resource.type_url][resource.name] = resource
        frozen = MappingProxyType({kind: MappingProxyType(named) for kind, named in resources.items()})
        self._current[team] = TeamSnapshot(team, old.revision + 1, frozen)
        for heard in self._listeners:
            heard(self._current[team])


class Ledger:
    """Remembers what dataplanes reported, for as long as the test lasts."""

    def __init__(self) -> None:
        self._reports: dict[str, Callable[[], Report]] = {}
        self._last: dict[str, Report] = {}

    def report(self, node_id: str, team: str = TEAM) -> Report:
        """What a dataplane holds now, or held when it was last connected."""
        key = f"{team}/{node_id}"
        return self._reports[key]() if key in self._reports else self._last[key]

    async def connected(self, node: Node, report: Callable[[], Report]) -> Mapping[tuple[str, str], Refused]:
        """A stream begins."""
        known = self._last.get(node.key)
        self._reports[node.key] = report
        return known.refused if known else {}

    def touched(self, node: Node) -> None:
        """Something changed."""

    def disconnected(self, node: Node) -> None:
        """The last stream ended."""
        self._last[node.key] = self._reports.pop(node.key)()
