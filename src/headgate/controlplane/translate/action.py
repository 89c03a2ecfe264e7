"""What becomes of a request: forward, redirect, or answer directly. Source: envoy.config.route.v3."""

from envoy.extensions.retry.host.previous_hosts.v3.previous_hosts_pb2 import PreviousHostsPredicate

from headgate.controlplane.model.matchers import PathMatch
from headgate.controlplane.model.route_config import (
    DirectResponse,
    Forward,
    HashPolicy,
    Redirect,
    RegexRewrite,
    RetryPolicy,
    Route,
)
from headgate.controlplane.translate import template
from headgate.controlplane.translate.wire import (
    Shape,
    duration,
    envoy_name,
    extension,
    header_value,
    host_in_url,
    value,
    wire_path,
)

LONGEST_BODY = 4 * 4096
"""Bytes of a direct response: the model's characters, in UTF-8."""

_HOST_ATTEMPTS = 5
_REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def route_action(team: str, route: Route) -> Shape:
    """Return the action of a route, and what it adds to the response."""
    if route.forward:
        return {"route": _forward(team, route, route.forward)}
    if route.redirect:
        return {"redirect": _redirect(route.match.path, route.match.case_sensitive, route.redirect)}
    assert route.direct_response is not None  # noqa: S101 - the model demands exactly one
    return _direct_response(route.direct_response)


def _forward(team: str, route: Route, forward: Forward) -> Shape:
    shape: Shape = {
        **_target(team, forward),
        **_rewrite(route, forward),
        "timeout": duration(forward.timeout_ms),
        "priority": forward.priority.upper(),
    }
    if forward.host_rewrite:
        shape["host_rewrite_literal"] = host_in_url(forward.host_rewrite)
    if forward.auto_host_rewrite:
        shape["auto_host_rewrite"] = value(True)
    if forward.idle_timeout_ms is not None:
        shape["idle_timeout"] = duration(forward.idle_timeout_ms)
    if forward.max_stream_duration_ms:
        shape["max_stream_duration"] = {"max_stream_duration": duration(forward.max_stream_duration_ms)}
    if forward.retry:
        shape["retry_policy"] = retry_policy(forward.retry)
    if forward.mirrors:
        shape["request_mirror_policies"] = [_mirror(team, mirror.cluster, mirror.percent) for mirror in forward.mirrors]
    if forward.hash_policy:
        shape["hash_policy"] = [_hash_policy(policy) for policy in forward.hash_policy]
    if forward.upgrades:
        shape["upgrade_configs"] = [{"upgrade_type": upgrade, "enabled": value(True)} for upgrade in forward.upgrades]
    return shape


def _target(team: str, forward: Forward) -> Shape:
    if forward.cluster:
        return {"cluster": envoy_name(team, forward.cluster)}
    clusters = [
        {"name": envoy_name(team, target.cluster), "weight": value(target.weight)}
        for target in forward.weighted_clusters
    ]
    return {"weighted_clusters": {"clusters": clusters}}


def _rewrite(route: Route, forward: Forward) -> Shape:
    if forward.prefix_rewrite:
        return _prefix_rewrite(route.match.path, route.match.case_sensitive, forward.prefix_rewrite)
    if forward.regex_rewrite:
        return {"regex_rewrite": _regex_rewrite(forward.regex_rewrite)}
    if forward.template_rewrite:
        return template.rewrite(route.match.path.template or "", forward.template_rewrite)
    return {}


def _prefix_rewrite(path: PathMatch, case_sensitive: bool, prefix: str) -> Shape:
    if path.path_separated_prefix and prefix.endswith("/"):
        # Plain replacement would turn /a/b into //b: the slash behind the prefix goes with it.
        flags = "" if case_sensitive else "(?i)"
        pattern = f"^{flags}{template.escaped_path(path.path_separated_prefix)}/?"
        substitution = wire_path(prefix).replace("\\", "\\\\")
        return {"regex_rewrite": {"pattern": {"regex": pattern}, "substitution": substitution}}
    return {"prefix_rewrite": wire_path(prefix)}


def _regex_rewrite(rewrite: RegexRewrite) -> Shape:
    return {"pattern": {"regex": rewrite.pattern}, "substitution": rewrite.substitution}


def retry_policy(retry: RetryPolicy) -> Shape:
    """Translate a retry policy."""
    conditions = list(dict.fromkeys(retry.retry_on))
    if retry.retriable_status_codes and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    shape: Shape = {
        "retry_on": ",".join(conditions),
        "num_retries": value(retry.attempts),
        "retriable_status_codes": retry.retriable_status_codes,
        "retry_back_off": {
            "base_interval": duration(retry.base_interval_ms),
            "max_interval": duration(retry.max_interval_ms),
        },
    }
    if retry.per_try_timeout_ms:
        shape["per_try_timeout"] = duration(retry.per_try_timeout_ms)
    if retry.avoid_previous_hosts:
        predicate = extension("envoy.retry_host_predicates.previous_hosts", PreviousHostsPredicate())
        shape["retry_host_predicate"] = [predicate]
        shape["host_selection_retry_max_attempts"] = _HOST_ATTEMPTS
    return shape


def _mirror(team: str, cluster: str, percent: int) -> Shape:
    return {
        "cluster": envoy_name(team, cluster),
        "runtime_fraction": {"default_value": {"numerator": percent, "denominator": "HUNDRED"}},
        # A copy: the Host header stays what the client sent.
        "disable_shadow_host_suffix_append": True,
    }


def _hash_policy(policy: HashPolicy) -> Shape:
    shape: Shape = {"terminal": policy.terminal}
    if policy.header:
        shape["header"] = {"header_name": policy.header}
    elif policy.cookie:
        shape["cookie"] = {"name": policy.cookie}
        if policy.cookie_ttl_ms is not None:
            shape["cookie"] |= {"ttl": duration(policy.cookie_ttl_ms), "path": "/"}
    elif policy.query:
        shape["query_parameter"] = {"name": policy.query}
    else:
        shape["connection_properties"] = {"source_ip": True}
    return shape


def _redirect(path: PathMatch, case_sensitive: bool, redirect: Redirect) -> Shape:
    shape: Shape = {
        "https_redirect": redirect.https,
        "host_redirect": host_in_url(redirect.host or ""),
        "port_redirect": redirect.port or 0,
        "response_code": _REDIRECTS[redirect.status],
        "strip_query": redirect.strip_query,
    }
    if redirect.path:
        shape["path_redirect"] = wire_path(redirect.path)
    elif redirect.prefix_rewrite:
        shape |= _prefix_rewrite(path, case_sensitive, redirect.prefix_rewrite)
    elif redirect.regex_rewrite:
        shape["regex_rewrite"] = _regex_rewrite(redirect.regex_rewrite)
    return shape


def _direct_response(response: DirectResponse) -> Shape:
    shape: Shape = {"direct_response": {"status": response.status}}
    if response.body:
        shape["direct_response"]["body"] = {"inline_string": response.body}
        # A percent sign would start one of Envoy's substitution commands.
        shape["response_headers_to_add"] = [header_value("content-type", response.content_type.replace("%", "%%"))]
    return shape
