"""Listener into envoy.config.listener.v3.Listener: its filter chains, TLS, and limits."""

from envoy.config.listener.v3.listener_pb2 import Listener as EnvoyListener
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector
from envoy.extensions.filters.network.connection_limit.v3.connection_limit_pb2 import ConnectionLimit
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy as EnvoyTcpProxy

from headgate.controlplane.model.listener import FilterChain, Listener, TcpProxy
from headgate.controlplane.translate.accesslog import access_log
from headgate.controlplane.translate.http import connection_manager
from headgate.controlplane.translate.tls import downstream_socket
from headgate.controlplane.translate.wire import Shape, address, duration, envoy_name, extension, value

TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"
CONNECTION_LIMIT = "envoy.filters.network.connection_limit"
TCP_PROXY = "envoy.filters.network.tcp_proxy"


def listener(team: str, name: str, spec: Listener) -> EnvoyListener:
    """Translate a listener."""
    full = envoy_name(team, name)
    shape: Shape = {
        "name": full,
        "stat_prefix": full,
        "address": address(spec.address, spec.port),
        "per_connection_buffer_limit_bytes": value(spec.per_connection_buffer_limit_bytes),
        "filter_chains": [_chain(team, name, spec, chain) for chain in spec.filter_chains],
    }
    if any(chain.server_names or chain.tls for chain in spec.filter_chains):
        shape["listener_filters"] = [extension(TLS_INSPECTOR, TlsInspector())]
    return EnvoyListener(**shape)


def _chain(team: str, name: str, spec: Listener, chain: FilterChain) -> Shape:
    stat_prefix = f"{envoy_name(team, name)}/{chain.name}"
    filters: list[Shape] = []
    if spec.max_connections:
        limit = ConnectionLimit(stat_prefix=stat_prefix, max_connections=value(spec.max_connections))
        filters.append(extension(CONNECTION_LIMIT, limit))
    if chain.http:
        filters.append(connection_manager(team, stat_prefix, chain.http))
    elif chain.tcp:
        filters.append(_tcp_proxy(team, stat_prefix, chain.tcp))
    shape: Shape = {"name": chain.name, "filters": filters}
    if chain.server_names:
        shape["filter_chain_match"] = {"server_names": chain.server_names}
    if chain.tls:
        shape["transport_socket"] = downstream_socket(team, chain)
    return shape


def _tcp_proxy(team: str, stat_prefix: str, spec: TcpProxy) -> Shape:
    shape: Shape = {
        "stat_prefix": stat_prefix,
        "idle_timeout": duration(spec.idle_timeout_ms),
        "max_connect_attempts": value(spec.max_connect_attempts),
        "access_log": [access_log(log, "tcp") for log in spec.access_logs],
    }
    if spec.cluster:
        shape["cluster"] = envoy_name(team, spec.cluster)
    else:
        # Envoy's TCP proxy takes no weight of 0: such a cluster gets nothing, and is left out.
        clusters = [
            {"name": envoy_name(team, target.cluster), "weight": target.weight}
            for target in spec.weighted_clusters
            if target.weight
        ]
        shape["weighted_clusters"] = {"clusters": clusters}
    return extension(TCP_PROXY, EnvoyTcpProxy(**shape))
