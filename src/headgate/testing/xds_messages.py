"""What an xDS client for tests says and hears, as plain data: modes, answers, nodes, services.

Source: envoy/service/discovery/v3.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.base_pb2 import Node
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET

WILDCARD = "*"
FULL_STATE = frozenset({CLUSTER, LISTENER})
"""Types of which state of the world always sends everything."""

SERVICES: Mapping[str, tuple[str, str]] = {
    "": ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources"),
    CLUSTER: ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"),
    ENDPOINT: ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"),
    LISTENER: ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"),
    ROUTE: ("envoy.service.route.v3.RouteDiscoveryService", "Routes"),
    SECRET: ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets"),
}
_MESSAGES: Mapping[str, Any] = {
    CLUSTER: Cluster,
    ENDPOINT: ClusterLoadAssignment,
    LISTENER: Listener,
    ROUTE: RouteConfiguration,
    SECRET: Secret,
}


@dataclass(frozen=True, slots=True)
class Mode:
    """How a client speaks: delta or state of the world, on one aggregated stream or on one per type."""

    delta: bool = False
    aggregated: bool = True

    def __str__(self) -> str:
        return f"{'delta' if self.delta else 'sotw'}-{'ads' if self.aggregated else 'separate'}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. `resources` are bodies by name, `versions` by name too (delta only), `names` as sent."""

    type_url: str
    version: str
    nonce: str
    names: Sequence[str]
    resources: Mapping[str, bytes] = field(repr=False)
    versions: Mapping[str, str]
    removed: Sequence[str]
    identifier: str
    size: int
    """Bytes of the whole message."""


def node(node_id: str, *, team: str = "default", scope: str = "team", listeners: Collection[str] = ()) -> Node:
    """The node of a dataplane of a team, with the metadata that the control plane reads."""
    made = Node(id=node_id, cluster=team)
    made.metadata.update({"headgate": {"team": team, "scope": scope, "listeners": list(listeners)}})
    return made


def decode(message: Any, *, delta: bool) -> Answer:
    """Decode a response. KeyError for a resource of a type nobody knows."""
    bodies = [resource.resource if delta else resource for resource in message.resources]
    names = [resource.name for resource in message.resources] if delta else [_name(body) for body in bodies]
    return Answer(
        type_url=message.type_url,
        version=message.system_version_info if delta else message.version_info,
        nonce=message.nonce,
        names=tuple(names),
        resources={name: body.value for name, body in zip(names, bodies, strict=True)},
        versions={resource.name: resource.version for resource in message.resources} if delta else {},
        removed=tuple(message.removed_resources) if delta else (),
        identifier=message.control_plane.identifier,
        size=message.ByteSize(),
    )


def _name(body: Any) -> str:
    message = _MESSAGES[body.type_url].FromString(body.value)
    name: str = message.cluster_name if isinstance(message, ClusterLoadAssignment) else message.name
    return name
