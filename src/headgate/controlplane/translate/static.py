"""Resources as they can stand in a static bootstrap, so that Envoy can be asked about them on its own.

What would come over ADS is put inline: endpoints into their cluster, an empty route config into a listener.
Secrets stay references; whoever asks puts placeholders in. Ports are numbered, and access logs go nowhere:
whether the data plane can bind and write is not for this machine to say.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_components_pb2 import Route
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from headgate.controlplane.translate.http import MANAGER, ROUTER
from headgate.controlplane.translate.wire import Shape, address, extension, packed

_MASK = "any"
_MANAGERS = (HttpConnectionManager, TcpProxy)


def static_cluster(cluster: Cluster, endpoints: ClusterLoadAssignment | None) -> Cluster:
    """Return the cluster with its endpoints inline."""
    copy = Cluster()
    copy.CopyFrom(cluster)
    if endpoints is not None:
        copy.ClearField("eds_cluster_config")
        copy.type = Cluster.STATIC
        copy.load_assignment.CopyFrom(endpoints)
    return copy


def static_listener(listener: Listener) -> Listener:
    """Return the listener with an empty route config inline, and its access log files nowhere."""
    copy = Listener()
    copy.CopyFrom(listener)
    for chain in copy.filter_chains:
        for item in chain.filters:
            for manager in _MANAGERS:
                if item.typed_config.Is(manager.DESCRIPTOR):
                    item.typed_config.CopyFrom(packed(_static_manager(manager.FromString(item.typed_config.value))))
    return copy


def _static_manager(manager: Any) -> Any:
    for log in manager.access_log:
        if log.typed_config.Is(FileAccessLog.DESCRIPTOR):
            file = FileAccessLog.FromString(log.typed_config.value)
            file.path = "/dev/null"
            log.typed_config.CopyFrom(packed(file))
    if isinstance(manager, HttpConnectionManager):
        manager.route_config.CopyFrom(RouteConfiguration(name=manager.rds.route_config_name))
    return manager


def masked_route(route: Route) -> Route:
    """Return the route with every cluster's name masked: whether a cluster is there is not Envoy's to say."""
    copy = Route()
    copy.CopyFrom(route)
    if copy.HasField("route"):
        action = copy.route
        if action.cluster:
            action.cluster = _MASK
        for named in action.weighted_clusters.clusters:
            named.name = _MASK
        for mirror in action.request_mirror_policies:
            mirror.cluster = _MASK
    return copy


def bootstrap(
    clusters: Iterable[Cluster] = (),
    listeners: Sequence[Listener] = (),
    route_configs: Sequence[RouteConfiguration] = (),
) -> dict[str, Any]:
    """Return a bootstrap (proto JSON) that holds the resources; each route config gets a listener of its own."""
    served = [_numbered(listener, port) for port, listener in enumerate(listeners, start=1)]
    served += [
        _serving(config, f"route-config-{port}", port)
        for port, config in enumerate(route_configs, start=len(served) + 1)
    ]
    return {
        "static_resources": {
            "clusters": [_json(cluster) for cluster in clusters],
            "listeners": [_json(listener) for listener in served],
        }
    }


def _numbered(listener: Listener, port: int) -> Listener:
    copy = Listener()
    copy.CopyFrom(listener)
    copy.address.socket_address.port_value = port
    return copy


def _serving(config: RouteConfiguration, name: str, port: int) -> Listener:
    copy = RouteConfiguration()
    copy.CopyFrom(config)
    copy.validate_clusters.value = False
    manager = HttpConnectionManager(stat_prefix=name, route_config=copy, http_filters=[extension(ROUTER, Router())])
    chain: Shape = {"filters": [extension(MANAGER, manager)]}
    return Listener(name=name, address=address("127.0.0.1", port), filter_chains=[chain])


def _json(message: Message) -> dict[str, Any]:
    return MessageToDict(message, preserving_proto_field_name=True)
