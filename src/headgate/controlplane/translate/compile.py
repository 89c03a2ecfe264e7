"""A team's rows into its snapshot, piece by piece: what did not change is neither translated nor encoded again.

The compiler keeps encoded bytes, never models. The same rows lead to the same bytes and versions, in
whatever order they came. A row that cannot be translated keeps its last good resource and becomes a
`Problem`; the rest of the team goes on.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.rows import Row, RowChange, RowKind
from headgate.controlplane.model.secret import Secret
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.listener import listener
from headgate.controlplane.translate.references import cluster_refs, listener_refs
from headgate.controlplane.translate.resource import (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SECRET,
    TYPES,
    ByName,
    Problem,
    Ref,
    Resource,
    TeamSnapshot,
    content_hash,
    empty_snapshot,
)
from headgate.controlplane.translate.secret import authorities, secret
from headgate.controlplane.translate.tables import RouteTable
from headgate.controlplane.translate.wire import SYSTEM_CA, encode, envoy_name


class TeamCompiler:
    """Translates one team. `system_ca` is the PEM of the public authorities; with "" no cluster can trust them.

    Not safe for use from two threads at once.
    """

    def __init__(self, team: str, *, system_ca: str) -> None:
        self._team = team
        # One copy in the process, however many teams there are.
        self._system_ca = sys.intern(system_ca)
        self._held: dict[str, dict[str, Resource]] = {type_url: {} for type_url in TYPES}
        self._served: dict[str, ByName] = dict(empty_snapshot(team).resources)
        self._moved: set[str] = set()
        self._tables: dict[str, RouteTable] = {}
        self._stale_tables: set[str] = set()
        self._problems: dict[tuple[RowKind, str], Problem] = {}
        self._translate: Mapping[RowKind, Callable[[Row], None]] = {
            "cluster": self._cluster,
            "listener": self._listener,
            "secret": self._secret,
            "route_config": self._route_config,
            "route": self._route,
        }

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be translated, by kind and name."""
        return tuple(self._problems[key] for key in sorted(self._problems))

    def apply(self, changes: Iterable[RowChange], revision: int) -> TeamSnapshot:
        """Take in row changes, in order, secrets in the clear, and return the snapshot at `revision`."""
        for change in changes:
            if change.after is None:
                self._forget(change.row)
            else:
                self._take(change.after)
        for name in self._stale_tables:
            table = self._tables.get(name)
            if table:
                self._hold(ROUTE, envoy_name(self._team, name), table.resource(self._team, name))
        self._stale_tables.clear()
        self._settle_system_ca()
        for type_url in self._moved:
            held = self._held[type_url]
            self._served[type_url] = MappingProxyType({name: held[name] for name in sorted(held)})
        self._moved.clear()
        return TeamSnapshot(self._team, revision, MappingProxyType(dict(self._served)), self.problems)

    def _take(self, row: Row) -> None:
        key = (row.kind, row.name)
        try:
            self._translate[row.kind](row)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one row must not stop the others
            self._problems[key] = Problem(row.kind, row.name, _reason(row.kind, error))
        else:
            self._problems.pop(key, None)

    def _forget(self, row: Row) -> None:
        self._problems.pop((row.kind, row.name), None)
        full = envoy_name(self._team, row.name)
        if row.kind == "cluster":
            self._hold(CLUSTER, full, None)
            self._hold(ENDPOINT, full, None)
        elif row.kind == "listener":
            self._hold(LISTENER, full, None)
        elif row.kind == "secret":
            self._hold(SECRET, full, None)
        elif row.kind == "route_config":
            # Its routes went with it.
            self._tables.pop(row.name, None)
            self._drop_problems(f"{row.name}/")
            self._hold(ROUTE, full, None)
        else:
            config, host, route = row.name.split("/")
            if config in self._tables:
                self._tables[config].drop_route(host, route)
                self._stale_tables.add(config)

    def _drop_problems(self, prefix: str) -> None:
        for key in [key for key in self._problems if key[0] == "route" and key[1].startswith(prefix)]:
            del self._problems[key]

    def _cluster(self, row: Row) -> None:
        spec = Cluster.model_validate(row.spec)
        full = envoy_name(self._team, row.name)
        body = encode(cluster(self._team, row.name, spec))
        endpoints = assignment(self._team, row.name, spec)
        self._hold(CLUSTER, full, self._resource(CLUSTER, row, body, cluster_refs(self._team, spec)))
        if endpoints is None:
            self._hold(ENDPOINT, full, None)
        else:
            self._hold(ENDPOINT, full, self._resource(ENDPOINT, row, encode(endpoints), covers=body))

    def _listener(self, row: Row) -> None:
        spec = Listener.model_validate(row.spec)
        body = encode(listener(self._team, row.name, spec))
        full = envoy_name(self._team, row.name)
        self._hold(LISTENER, full, self._resource(LISTENER, row, body, listener_refs(self._team, spec)))

    def _secret(self, row: Row) -> None:
        body = encode(secret(self._team, row.name, Secret.model_validate(row.spec)))
        self._hold(SECRET, envoy_name(self._team, row.name), self._resource(SECRET, row, body))

    def _route_config(self, row: Row) -> None:
        self._table(row.name).put_config(self._team, row.name, row.spec)

    def _route(self, row: Row) -> None:
        config, host, route = row.name.split("/")
        self._table(config).put_route(self._team, host, route, row.position, row.spec)

    def _table(self, name: str) -> RouteTable:
        self._stale_tables.add(name)
        return self._tables.setdefault(name, RouteTable())

    def _resource(
        self, type_url: str, row: Row, body: bytes, refs: frozenset[Ref] = frozenset(), covers: bytes = b""
    ) -> Resource:
        assert row.kind != "route"  # noqa: S101 - a route is part of its route config's resource
        version = content_hash(body, covers) if covers else content_hash(body)
        return Resource(type_url, envoy_name(self._team, row.name), version, body, refs, (row.kind, row.name))

    def _builtin(self, pem: str) -> Resource:
        body = encode(authorities(self._team, SYSTEM_CA, pem))
        return Resource(SECRET, envoy_name(self._team, SYSTEM_CA), content_hash(body), body)

    def _hold(self, type_url: str, name: str, resource: Resource | None) -> None:
        held = self._held[type_url]
        before = held.get(name)
        if resource is None:
            if before is None:
                return
            del held[name]
        elif before is not None and before.version == resource.version:
            return
        else:
            held[name] = resource
        self._moved.add(type_url)

    def _settle_system_ca(self) -> None:
        if CLUSTER not in self._moved or not self._system_ca:
            return
        name = envoy_name(self._team, SYSTEM_CA)
        wanted = any((SECRET, name) in resource.refs for resource in self._held[CLUSTER].values())
        if wanted != (name in self._held[SECRET]):
            self._hold(SECRET, name, self._builtin(self._system_ca) if wanted else None)


def _reason(kind: RowKind, error: Exception) -> str:
    # Whatever a secret's error says might quote the secret.
    return type(error).__name__ if kind == "secret" else f"{type(error).__name__}: {error}"
