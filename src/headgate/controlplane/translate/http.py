"""The HTTP connection manager, hardened for an edge.

Source: envoy.extensions.filters.network.http_connection_manager.v3 and Envoy's "Configuring Envoy as an
edge proxy".
"""

from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager as EnvoyManager,
)

from headgate.controlplane.model.listener import HttpConnectionManager
from headgate.controlplane.translate.accesslog import access_log
from headgate.controlplane.translate.wire import ADS, Shape, duration, envoy_name, extension, value

MANAGER = "envoy.filters.network.http_connection_manager"
ROUTER = "envoy.filters.http.router"
NOBODY: Shape = {"address_prefix": "255.255.255.255", "prefix_len": value(32)}

_ESCAPED_SLASHES = {
    "reject": "REJECT_REQUEST",
    "unescape_and_redirect": "UNESCAPE_AND_REDIRECT",
    "unescape_and_forward": "UNESCAPE_AND_FORWARD",
    "keep": "KEEP_UNCHANGED",
}
_UNDERSCORES = {"allow": "ALLOW", "reject": "REJECT_REQUEST", "drop": "DROP_HEADER"}


def connection_manager(team: str, stat_prefix: str, spec: HttpConnectionManager) -> Shape:
    """Return the network filter."""
    manager = EnvoyManager(
        stat_prefix=stat_prefix,
        codec_type=spec.codec.upper(),
        rds={"config_source": ADS, "route_config_name": envoy_name(team, spec.route_config)},
        http_filters=[extension(ROUTER, Router())],
        access_log=[access_log(log, "http") for log in spec.access_logs],
        **_paths(spec),
        **_client(spec),
        **_limits(spec),
        **_identity(spec),
    )
    return extension(MANAGER, manager)


def _paths(spec: HttpConnectionManager) -> Shape:
    return {
        "normalize_path": value(spec.normalize_path),
        "merge_slashes": spec.merge_slashes,
        "path_with_escaped_slashes_action": _ESCAPED_SLASHES[spec.escaped_slashes],
        # "example.org." is the same host as "example.org".
        "strip_trailing_host_dot": True,
    }


def _client(spec: HttpConnectionManager) -> Shape:
    return {
        "use_remote_address": value(True),
        "xff_num_trusted_hops": spec.xff_trusted_hops,
        # Headers such as x-envoy-* are believed from internal addresses. Without ranges that is loopback, so
        # every client of a proxy on the same machine; no connection comes from the broadcast address.
        "internal_address_config": {"cidr_ranges": [NOBODY]},
        "upgrade_configs": [{"upgrade_type": upgrade, "enabled": value(True)} for upgrade in spec.upgrades],
    }


def _limits(spec: HttpConnectionManager) -> Shape:
    common: Shape = {
        "idle_timeout": duration(spec.idle_timeout_ms),
        "max_headers_count": value(spec.max_request_headers_count),
        "headers_with_underscores_action": _UNDERSCORES[spec.headers_with_underscores],
    }
    if spec.max_requests_per_connection:
        common["max_requests_per_connection"] = value(spec.max_requests_per_connection)
    return {
        "common_http_protocol_options": common,
        "http2_protocol_options": {
            "max_concurrent_streams": value(spec.max_concurrent_streams),
            "initial_stream_window_size": value(spec.initial_stream_window_bytes),
            "initial_connection_window_size": value(spec.initial_connection_window_bytes),
            # WebSocket over HTTP/2 is an extended CONNECT (RFC 8441).
            "allow_connect": "websocket" in spec.upgrades,
        },
        "max_request_headers_kb": value(spec.max_request_headers_kb),
        "request_headers_timeout": duration(spec.request_headers_timeout_ms),
        "request_timeout": duration(spec.request_timeout_ms),
        "stream_idle_timeout": duration(spec.stream_idle_timeout_ms),
        "drain_timeout": duration(spec.drain_timeout_ms),
    }


def _identity(spec: HttpConnectionManager) -> Shape:
    return {
        # A request id is ours, and the client learns it.
        "generate_request_id": value(True),
        "preserve_external_request_id": False,
        "always_set_request_id_in_response": True,
        "server_name": spec.server_name,
        "server_header_transformation": "OVERWRITE" if spec.server_name else "PASS_THROUGH",
    }
