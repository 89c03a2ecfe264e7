"""Ask Envoy before anything is committed: the pieces that changed, on their own, in one static configuration.

A cluster, a listener, a virtual host, a single route is a fragment. What Envoy has accepted once is
remembered by its digest, cluster names masked, so that sending a route to another cluster asks nothing.
When a whole is refused it is halved until every culprit is found.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from envoy.config.cluster.v3.cluster_pb2 import Cluster as EnvoyCluster
from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.message import Message

from headgate.controlplane.core.resources import RowViolation
from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.kinds import Kind
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import Route, RouteConfig
from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.translate.blame import explained, proto_path
from headgate.controlplane.translate.cluster import assignment, cluster
from headgate.controlplane.translate.listener import listener
from headgate.controlplane.translate.pointers import locate
from headgate.controlplane.translate.resource import content_hash
from headgate.controlplane.translate.route import route, route_config, virtual_host
from headgate.controlplane.translate.static import bootstrap, masked_route, static_cluster, static_listener
from headgate.controlplane.translate.wire import encode

MOST_CULPRITS = 20
"""After so many the search ends: the rest shows when these are mended."""

LARGE_CHANGE = 50
"""Row changes from which translation goes to a thread, so that the event loop lives on."""


class Gate(Protocol):
    """Whoever can say what Envoy thinks of a bootstrap document (proto JSON)."""

    async def check(self, config: Mapping[str, Any]) -> str | None:
        """Return Envoy's reason to refuse it; None when it accepts."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Fragment:
    """A piece of configuration that Envoy can judge alone. `message` is its proto, `source` the whole it is of."""

    row: Row
    source: tuple[Kind, str]
    digest: str
    message: Any


class Preflight:
    """Checks row changes. Remembers `capacity` accepted fragments, those used longest ago forgotten first."""

    def __init__(self, gate: Gate, *, capacity: int = 10_000) -> None:
        self._gate = gate
        self._capacity = capacity
        self._accepted: OrderedDict[str, None] = OrderedDict()

    async def check(self, team: str, changes: Sequence[RowChange]) -> Sequence[RowViolation]:
        """Return what Envoy refuses of the changes; empty when it accepts them all.

        Secrets are not looked at. Raises what the gate raises when Envoy cannot be asked.
        """
        rows = [change.after for change in changes if change.after and change.after.kind != "secret"]
        if len(rows) > LARGE_CHANGE:
            fragments = await asyncio.to_thread(_fragments, team, rows)
        else:
            fragments = _fragments(team, rows)
        unknown = [fragment for fragment in fragments if not self._recall(fragment)]
        return [] if not unknown else await self._culprits(unknown, MOST_CULPRITS)

    def _recall(self, fragment: _Fragment) -> bool:
        if fragment.digest not in self._accepted:
            return False
        self._accepted.move_to_end(fragment.digest)
        return True

    def _remember(self, fragments: Iterable[_Fragment]) -> None:
        for fragment in fragments:
            self._accepted[fragment.digest] = None
            self._accepted.move_to_end(fragment.digest)
        while len(self._accepted) > self._capacity:
            self._accepted.popitem(last=False)

    async def _culprits(self, fragments: Sequence[_Fragment], most: int) -> list[RowViolation]:
        reason = await self._gate.check(await asyncio.to_thread(_configuration, fragments))
        if reason is None:
            self._remember(fragments)
            return []
        if len(fragments) == 1:
            return [_violation(fragments[0], reason)]
        middle = len(fragments) // 2
        found: list[RowViolation] = []
        for half in (fragments[:middle], fragments[middle:]):
            if len(found) < most:
                found += await self._culprits(half, most - len(found))
        # Each half alone is fine and both together are not: the change as a whole is refused all the same.
        return found or [_violation(fragments[0], reason)]


def _fragments(team: str, rows: Iterable[Row]) -> list[_Fragment]:
    return [_fragment(team, row) for row in rows]


def _fragment(team: str, row: Row) -> _Fragment:
    if row.kind == "cluster":
        spec = Cluster.model_validate(row.spec)
        message = static_cluster(cluster(team, row.name, spec), assignment(team, row.name, spec))
        return _made(row, ("cluster", row.name), message)
    if row.kind == "listener":
        message = static_listener(listener(team, row.name, Listener.model_validate(row.spec)))
        return _made(row, ("listener", row.name), message)
    if row.kind == "route_config":
        config = RouteConfig.model_validate(row.spec)
        message = route_config(team, row.name, config)
        message.virtual_hosts.extend(virtual_host(host) for host in config.virtual_hosts)
        return _made(row, ("route_config", row.name), message)
    message = masked_route(route(team, Route.model_validate(row.spec)))
    return _made(row, ("route_config", row.name.split("/")[0]), message)


def _made(row: Row, source: tuple[Kind, str], message: Message) -> _Fragment:
    return _Fragment(row, source, content_hash(row.kind.encode(), encode(message)), message)


def _configuration(fragments: Sequence[_Fragment]) -> Mapping[str, Any]:
    routes = [fragment.message for fragment in fragments if fragment.row.kind == "route"]
    messages = [fragment.message for fragment in fragments if fragment.row.kind != "route"]
    configs = [message for message in messages if isinstance(message, RouteConfiguration)]
    if routes:
        configs.append(_around(routes))
    return bootstrap(
        [message for message in messages if isinstance(message, EnvoyCluster)],
        [message for message in messages if isinstance(message, EnvoyListener)],
        configs,
    )


def _around(routes: Sequence[Any], host: str = "all") -> RouteConfiguration:
    """Return a route config made up around routes."""
    message = route_config("preflight", "routes", RouteConfig())
    message.virtual_hosts.add(name=host, domains=["*"], routes=routes)
    return message


def _violation(fragment: _Fragment, refusal: str) -> RowViolation:
    row, message, reason = fragment.row, fragment.message, explained(refusal)
    if row.kind == "route":
        message = _around([message], row.name.split("/")[1])
    place = locate(fragment.source, message, proto_path(message, reason))
    # What is said of the route config that was made up around a route is said of the route.
    pointer = place.pointer if place.kind == row.kind else ""
    return RowViolation(row.kind, row.name, pointer, f"Envoy refuses it: {reason}")
