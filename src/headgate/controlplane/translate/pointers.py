"""From a path in a resource's proto back to the place in the user's document.

One table per kind of document: the first pattern that matches the path gives the JSON pointer. What no
pattern knows leads to the document as a whole.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headgate.controlplane.model.kinds import Kind
from headgate.controlplane.model.rows import RowKind
from headgate.controlplane.translate.template import PATH_CHARACTERS

Rule = tuple[str, str]


class Place(NamedTuple):
    """A document and a JSON pointer (RFC 6901) into it."""

    kind: RowKind
    name: str
    pointer: str


_HEADERS: Sequence[Rule] = (
    (r"(request|response)_headers_to_add\[(\d+)\]\.header\.value", r"/\1_headers/set/\2/value"),
    (r"(request|response)_headers_to_add\[(\d+)\]\.header\.key", r"/\1_headers/set/\2/name"),
    (r"(request|response)_headers_to_add\[(\d+)\]", r"/\1_headers/set/\2"),
    (r"(request|response)_headers_to_remove\[(\d+)\]", r"/\1_headers/remove/\2"),
)
_ROUTE: Sequence[Rule] = (
    *_HEADERS,
    (r"match\.path_match_policy", "/match/path/template"),
    (r"match\.safe_regex", "/match/path/regex"),
    (r"match\.path\b", "/match/path/exact"),
    (r"match\.(prefix|path_separated_prefix)", r"/match/path/\1"),
    (r"match\.headers\[(\d+)\]", r"/match/headers/\1"),
    (r"match\.query_parameters\[(\d+)\]", r"/match/query/\1"),
    (r"match\b", "/match"),
    (r"route\.weighted_clusters\.clusters\[(\d+)\]\.weight", r"/forward/weighted_clusters/\1/weight"),
    (r"route\.weighted_clusters\.clusters\[(\d+)\]", r"/forward/weighted_clusters/\1/cluster"),
    (r"route\.weighted_clusters", "/forward/weighted_clusters"),
    (r"route\.(cluster|prefix_rewrite)\b", r"/forward/\1"),
    (r"route\.regex_rewrite\.pattern", "/forward/regex_rewrite/pattern"),
    (r"route\.regex_rewrite", "/forward/regex_rewrite"),
    (r"route\.path_rewrite_policy", "/forward/template_rewrite"),
    (r"route\.host_rewrite_literal", "/forward/host_rewrite"),
    (r"route\.(timeout|idle_timeout)\b", r"/forward/\1_ms"),
    (r"route\.max_stream_duration", "/forward/max_stream_duration_ms"),
    (r"route\.retry_policy\.retriable_status_codes", "/forward/retry/retriable_status_codes"),
    (r"route\.retry_policy\.per_try_timeout", "/forward/retry/per_try_timeout_ms"),
    (r"route\.retry_policy\.retry_back_off\.(base|max)_interval", r"/forward/retry/\1_interval_ms"),
    (r"route\.retry_policy", "/forward/retry"),
    (r"route\.request_mirror_policies\[(\d+)\]\.cluster", r"/forward/mirrors/\1/cluster"),
    (r"route\.request_mirror_policies\[(\d+)\]", r"/forward/mirrors/\1"),
    (r"route\.hash_policy\[(\d+)\]", r"/forward/hash_policy/\1"),
    (r"route\.upgrade_configs\[(\d+)\]", r"/forward/upgrades/\1"),
    (r"route\b", "/forward"),
    (r"redirect\.(host|port|path)_redirect", r"/redirect/\1"),
    (r"redirect\.(prefix_rewrite|regex_rewrite)", r"/redirect/\1"),
    (r"redirect\b", "/redirect"),
    (r"direct_response\.(status|body)", r"/direct_response/\1"),
    (r"direct_response\b", "/direct_response"),
)
_ROUTE_CONFIG: Sequence[Rule] = (
    *_HEADERS,
    (r"virtual_hosts\[(\d+)\]\.(request|response)_headers_to_add\[(\d+)\]", r"/virtual_hosts/\1/\2_headers/set/\3"),
    (
        r"virtual_hosts\[(\d+)\]\.(request|response)_headers_to_remove\[(\d+)\]",
        r"/virtual_hosts/\1/\2_headers/remove/\3",
    ),
    (r"virtual_hosts\[(\d+)\]\.domains\[(\d+)\]", r"/virtual_hosts/\1/domains/\2"),
    (r"virtual_hosts\[(\d+)\]\.retry_policy", r"/virtual_hosts/\1/retry"),
    (r"virtual_hosts\[(\d+)\]\.(name|domains|require_tls)", r"/virtual_hosts/\1/\2"),
    (r"virtual_hosts\[(\d+)\]", r"/virtual_hosts/\1"),
)
_TLS = r"transport_socket\.typed_config<\w+>\.(?:common_tls_context\.)?"
_CLUSTER: Sequence[Rule] = (
    (r"connect_timeout", "/connect_timeout_ms"),
    (r"health_checks\[(\d+)\]\.(interval|timeout)", r"/health_checks/\1/\2_ms"),
    (r"health_checks\[(\d+)\]\.(healthy|unhealthy)_threshold", r"/health_checks/\1/\2_threshold"),
    (r"health_checks\[(\d+)\]\.(http|tcp|grpc)_health_check", r"/health_checks/\1/\2"),
    (r"health_checks\[(\d+)\]", r"/health_checks/\1"),
    (r"circuit_breakers\.thresholds\[0\]\.(\w+)", r"/circuit_breakers/default/\1"),
    (r"circuit_breakers\.thresholds\[1\]\.(\w+)", r"/circuit_breakers/high/\1"),
    (r"circuit_breakers", "/circuit_breakers"),
    (r"outlier_detection\.(base|max)_ejection_time", r"/outlier_detection/\1_ejection_ms"),
    (r"outlier_detection\.interval", "/outlier_detection/interval_ms"),
    (
        r"outlier_detection\.(?:enforcing_)?(max_ejection_percent|success_rate|consecutive_\w+)",
        r"/outlier_detection/\1",
    ),
    (r"outlier_detection", "/outlier_detection"),
    (r"ring_hash_lb_config\.(\w+)", r"/load_balancing/\1"),
    (r"maglev_lb_config", "/load_balancing/table_size"),
    (r"least_request_lb_config\.choice_count", "/load_balancing/choice_count"),
    (r"(?:round_robin|least_request)_lb_config", "/load_balancing/slow_start_ms"),
    (r"lb_policy|load_balancing_policy", "/load_balancing"),
    (r"cluster_type\.typed_config<\w+>\.dns_refresh_rate", "/dns_refresh_ms"),
    (r"cluster_type\.typed_config<\w+>\.dns_lookup_family", "/dns_family"),
    (r"cluster_type|type\b|eds_cluster_config", "/discovery"),
    (r"load_assignment\.endpoints\[0\]\.lb_endpoints\[(\d+)\]", r"/endpoints/\1"),
    (r"load_assignment", "/endpoints"),
    (r"per_connection_buffer_limit_bytes", "/per_connection_buffer_limit_bytes"),
    (r"typed_extension_protocol_options.*idle_timeout", "/idle_timeout_ms"),
    (r"typed_extension_protocol_options.*max_requests_per_connection", "/max_requests_per_connection"),
    (r"typed_extension_protocol_options", "/protocol"),
    (_TLS + r"sni", "/tls/sni"),
    (_TLS + r".*match_typed_subject_alt_names", "/tls/subject_alt_names"),
    (_TLS + r".*validation_context_sds_secret_config", "/tls/ca_secret"),
    (_TLS + r"tls_certificate_sds_secret_configs", "/tls/client_certificate_secret"),
    (_TLS + r"tls_params\.tls_(min|max)imum_protocol_version", r"/tls/\1_version"),
    (r"transport_socket", "/tls"),
)
_ENDPOINTS: Sequence[Rule] = (
    (r"endpoints\[0\]\.lb_endpoints\[(\d+)\]\.endpoint\.address\.socket_address\.address", r"/endpoints/\1/address"),
    (r"endpoints\[0\]\.lb_endpoints\[(\d+)\]", r"/endpoints/\1"),
    (r"", "/endpoints"),
)
_IN_CHAIN = r"filter_chains\[(\d+)\]\."
_HTTP = _IN_CHAIN + r"filters\[\d+\]\.typed_config<HttpConnectionManager>\."
_TCP = _IN_CHAIN + r"filters\[\d+\]\.typed_config<TcpProxy>\."
_LOG = r"access_log\[(\d+)\]"


def _logs(chain: str, proto: str) -> Sequence[Rule]:
    at = rf"/filter_chains/\1/{proto}/access_logs/\2"
    return (
        (chain + _LOG + r".*\.json_format\.fields\[(.*?)\]", at + r"/json_format/\3"),
        (chain + _LOG + r".*\.text_format_source", at + "/text_format"),
        (chain + _LOG + r"\.typed_config<FileAccessLog>\.path", at + "/path"),
        (chain + _LOG, at),
    )


_LISTENER: Sequence[Rule] = (
    (r"address\.socket_address\.port_value", "/port"),
    (r"address", "/address"),
    (r"per_connection_buffer_limit_bytes", "/per_connection_buffer_limit_bytes"),
    (_IN_CHAIN + r"filters\[\d+\]\.typed_config<ConnectionLimit>", "/max_connections"),
    *_logs(_HTTP, "http"),
    *_logs(_TCP, "tcp"),
    (_HTTP + r"(?:common_http_protocol_options\.)?(\w*(?:timeout))", r"/filter_chains/\1/http/\2_ms"),
    (_HTTP + r"rds", r"/filter_chains/\1/http/route_config"),
    (_HTTP + r"(max_request_headers_kb|server_name|normalize_path|merge_slashes)", r"/filter_chains/\1/http/\2"),
    (_HTTP + r"http2_protocol_options\.max_concurrent_streams", r"/filter_chains/\1/http/max_concurrent_streams"),
    (_HTTP, r"/filter_chains/\1/http"),
    (_TCP + r"cluster", r"/filter_chains/\1/tcp/cluster"),
    (_TCP + r"weighted_clusters", r"/filter_chains/\1/tcp/weighted_clusters"),
    (_TCP, r"/filter_chains/\1/tcp"),
    (_IN_CHAIN + r"filter_chain_match", r"/filter_chains/\1/server_names"),
    (_IN_CHAIN + _TLS + r".*validation_context_sds_secret_config", r"/filter_chains/\1/tls/client_ca_secret"),
    (
        _IN_CHAIN + _TLS + r"tls_certificate_sds_secret_configs\[(\d+)\]",
        r"/filter_chains/\1/tls/certificate_secrets/\2",
    ),
    (_IN_CHAIN + r"transport_socket", r"/filter_chains/\1/tls"),
    (r"filter_chains\[(\d+)\]", r"/filter_chains/\1"),
    (r"filter_chains", "/filter_chains"),
)
_SECRET: Sequence[Rule] = (
    (r"tls_certificate\.(certificate_chain|private_key)", r"/tls_certificate/\1"),
    (r"validation_context", "/trusted_ca"),
)
_IN_ROUTE = re.compile(r"virtual_hosts\[(\d+)\]\.routes\[(\d+)\]\.?")


def locate(source: tuple[Kind, str], message: Any, path: str) -> Place:
    """Return the place in a user's document that the path in the Envoy resource `message` was made of."""
    kind, name = source
    inside = _IN_ROUTE.match(path)
    if kind == "route_config" and inside:
        host = message.virtual_hosts[int(inside[1])]
        route = host.routes[int(inside[2])]
        return Place("route", f"{name}/{host.name}/{route.name}", route_pointer(route, path[inside.end() :]))
    if kind == "cluster" and message.DESCRIPTOR.name == "ClusterLoadAssignment":
        return Place(kind, name, _endpoint_pointer(message, path))
    table = {"route_config": _ROUTE_CONFIG, "cluster": _CLUSTER, "listener": _LISTENER, "secret": _SECRET}[kind]
    return Place(kind, name, _looked_up(table, path))


def route_pointer(route: Any, path: str) -> str:
    """Return the pointer into a route's document for a path in its proto."""
    if path.startswith("match.safe_regex") and PATH_CHARACTERS in route.match.safe_regex.regex:
        return "/match/path/template"
    return _looked_up(_ROUTE, _shifted(route, path))


def _shifted(route: Any, path: str) -> str:
    """Take out what translation puts in front: the method among the headers, the content type of a response."""
    shift = _one_less(path)
    if path.startswith("match.headers[") and route.match.headers[0].name == ":method":
        return "match.methods" if path.startswith("match.headers[0]") else shift("match.headers")
    if path.startswith("response_headers_to_add[") and route.direct_response.body.inline_string:
        at_first = path.startswith("response_headers_to_add[0]")
        return "direct_response" if at_first else shift("response_headers_to_add")
    return path


def _one_less(path: str) -> Callable[[str], str]:
    def shift(field: str) -> str:
        return re.sub(rf"^{re.escape(field)}\[(\d+)\]", lambda match: f"{field}[{int(match[1]) - 1}]", path)

    return shift


def _endpoint_pointer(message: Any, path: str) -> str:
    # With several localities the order of the document is not to be had back.
    single = len(message.endpoints) == 1
    return _looked_up(_ENDPOINTS, path) if single else "/endpoints"


def _looked_up(table: Sequence[Rule], path: str) -> str:
    for pattern, pointer in table:
        match = re.match(pattern, path)
        if match:
            return match.expand(pointer)
    return ""
