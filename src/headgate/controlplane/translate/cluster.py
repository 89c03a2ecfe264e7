"""Cluster into envoy.config.cluster.v3.Cluster, and its endpoints into what EDS hands out."""

from envoy.config.cluster.v3.cluster_pb2 import Cluster as EnvoyCluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.clusters.dns.v3.dns_cluster_pb2 import DnsCluster
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions

from headgate.controlplane.model.cluster import Cluster, LoadBalancing, Thresholds
from headgate.controlplane.translate.endpoints import load_assignment
from headgate.controlplane.translate.health import health_check, outlier_detection
from headgate.controlplane.translate.tls import upstream_socket
from headgate.controlplane.translate.wire import ADS, Shape, duration, envoy_name, extension, packed, value

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(team: str, name: str, spec: Cluster) -> EnvoyCluster:
    """Translate a cluster; with static discovery its endpoints travel apart, see `assignment`."""
    shape: Shape = {
        "name": envoy_name(team, name),
        "connect_timeout": duration(spec.connect_timeout_ms),
        "per_connection_buffer_limit_bytes": value(spec.per_connection_buffer_limit_bytes),
        "typed_extension_protocol_options": {HTTP_OPTIONS: packed(HttpProtocolOptions(**_protocol(spec)))},
        "circuit_breakers": {
            "thresholds": [
                _thresholds("DEFAULT", spec.circuit_breakers.default),
                _thresholds("HIGH", spec.circuit_breakers.high),
            ]
        },
        "health_checks": [health_check(name, spec, check) for check in spec.health_checks],
        # An endpoint that was taken away gets no more requests, however healthy it still looks.
        "ignore_health_on_host_removal": True,
        **_discovery(team, name, spec),
        **_load_balancing(spec.load_balancing),
    }
    if spec.outlier_detection:
        shape["outlier_detection"] = outlier_detection(spec.outlier_detection)
    if spec.tls:
        shape["transport_socket"] = upstream_socket(team, spec, spec.tls)
    return EnvoyCluster(**shape)


def assignment(team: str, name: str, spec: Cluster) -> ClusterLoadAssignment | None:
    """Return what EDS hands out for the cluster; None when Envoy finds the endpoints by DNS."""
    if spec.discovery != "static":
        return None
    return ClusterLoadAssignment(**load_assignment(envoy_name(team, name), spec.endpoints))


def _discovery(team: str, name: str, spec: Cluster) -> Shape:
    full = envoy_name(team, name)
    if spec.discovery == "static":
        return {"type": "EDS", "eds_cluster_config": {"eds_config": ADS, "service_name": full}}
    dns = DnsCluster(
        dns_refresh_rate=duration(spec.dns_refresh_ms),
        dns_lookup_family=spec.dns_family.upper(),
        all_addresses_in_single_endpoint=spec.discovery == "logical_dns",
    )
    return {
        "cluster_type": extension("envoy.clusters.dns", dns),
        "load_assignment": load_assignment(full, spec.endpoints),
    }


def _protocol(spec: Cluster) -> Shape:
    common: Shape = {"idle_timeout": duration(spec.idle_timeout_ms)}
    if spec.max_requests_per_connection:
        common["max_requests_per_connection"] = value(spec.max_requests_per_connection)
    shape: Shape = {"common_http_protocol_options": common}
    if spec.protocol == "auto":
        shape["auto_config"] = {"http_protocol_options": {}, "http2_protocol_options": {}}
    else:
        options = "http2_protocol_options" if spec.protocol == "http2" else "http_protocol_options"
        shape["explicit_http_config"] = {options: {}}
    return shape


def _thresholds(priority: str, limits: Thresholds) -> Shape:
    return {
        "priority": priority,
        "max_connections": value(limits.max_connections),
        "max_pending_requests": value(limits.max_pending_requests),
        "max_requests": value(limits.max_requests),
        "max_retries": value(limits.max_retries),
    }


def _load_balancing(spec: LoadBalancing) -> Shape:
    slow_start: Shape = {}
    if spec.slow_start_ms:
        slow_start["slow_start_config"] = {"slow_start_window": duration(spec.slow_start_ms)}
    if spec.policy == "least_request":
        return {
            "lb_policy": "LEAST_REQUEST",
            "least_request_lb_config": {"choice_count": value(spec.choice_count), **slow_start},
        }
    if spec.policy == "ring_hash":
        sizes = {
            "minimum_ring_size": value(spec.minimum_ring_size),
            "maximum_ring_size": value(spec.maximum_ring_size),
        }
        return {"lb_policy": "RING_HASH", "ring_hash_lb_config": sizes}
    if spec.policy == "maglev":
        return {"lb_policy": "MAGLEV", "maglev_lb_config": {"table_size": value(spec.table_size)}}
    if spec.policy == "random":
        return {"lb_policy": "RANDOM"}
    return {"lb_policy": "ROUND_ROBIN", **({"round_robin_lb_config": slow_start} if slow_start else {})}
