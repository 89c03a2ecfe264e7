"""Which Envoy resources a resource names, so that they can be with the client before it."""

from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.kinds import Kind, references
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import Route
from headgate.controlplane.translate.resource import CLUSTER, LISTENER, ROUTE, SECRET, Ref
from headgate.controlplane.translate.tls import upstream_secrets
from headgate.controlplane.translate.wire import envoy_name

TYPE_OF: dict[Kind, str] = {"cluster": CLUSTER, "route_config": ROUTE, "listener": LISTENER, "secret": SECRET}


def cluster_refs(team: str, spec: Cluster) -> frozenset[Ref]:
    """Return the secrets a cluster names, the built-in one included."""
    names = upstream_secrets(spec.tls) if spec.tls else ()
    return frozenset((SECRET, envoy_name(team, name)) for name in names)


def listener_refs(team: str, spec: Listener) -> frozenset[Ref]:
    """Return the route configs, clusters and secrets a listener names."""
    return frozenset((TYPE_OF[ref.kind], envoy_name(team, ref.name)) for ref in references(spec))


def route_refs(team: str, spec: Route) -> frozenset[Ref]:
    """Return the clusters a route names."""
    return frozenset((CLUSTER, envoy_name(team, name)) for _, name in spec.clusters())
