"""What Envoy takes in silence, or dies of: found in a bootstrap before Envoy sees it. Pure.

Envoy 1.40 crashes on a `tap` filter with `admin_config` where there is no admin listener, on a
`credential_injector` that names a static secret which is not there, and on SDS over ADS inside a static
resource. It accepts per-route settings of a filter that is not in the chain, and a filter whose name is not
that of its type. `without_sds` takes the third away; `findings` tells the others.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from headgate.dataplane.placeholder import CERTIFICATE, PRIVATE_KEY

Node = Mapping[str, Any]

_HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_INJECTOR = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
_TAPS = {
    "envoy.extensions.filters.http.tap.v3.Tap",
    "envoy.extensions.transport_sockets.tap.v3.Tap",
}


def findings(document: Node) -> Iterator[str]:
    """Yield what is wrong with a bootstrap document (proto JSON), in words."""
    yield from _taps(document)
    yield from _injected_credentials(document)
    yield from _filter_names(document)
    yield from _settings_without_filter(document)


def without_sds(node: Any) -> Any:
    """Return a copy in which TLS contexts hold a placeholder wherever SDS would bring a certificate."""
    if isinstance(node, Mapping):
        return _with_placeholders({key: without_sds(value) for key, value in node.items()})
    if isinstance(node, list):
        return [without_sds(value) for value in node]
    return node


def _with_placeholders(node: dict[str, Any]) -> dict[str, Any]:
    authorities = {"trusted_ca": {"inline_string": CERTIFICATE}}
    certificates = _take(node, "tls_certificate_sds_secret_configs")
    if certificates:
        pair = {"certificate_chain": {"inline_string": CERTIFICATE}, "private_key": {"inline_string": PRIVATE_KEY}}
        node["tls_certificates"] = [pair]
    if _take(node, "validation_context_sds_secret_config"):
        node["validation_context"] = authorities
    combined = _get(node, "combined_validation_context")
    if isinstance(combined, dict) and _get(combined, "validation_context"):
        _take(node, "combined_validation_context")
        default = _get(combined, "default_validation_context") or {}
        node["validation_context"] = {**default, **authorities}
    return node


def _taps(document: Node) -> Iterator[str]:
    if _get(document, "admin"):
        return
    for name, payload in _typed(document):
        if name in _TAPS and _get(_get(payload, "common_config"), "admin_config") is not None:
            yield "a tap has admin_config, and this Envoy has no admin listener: it would crash"


def _injected_credentials(document: Node) -> Iterator[str]:
    secrets = _get(_get(document, "static_resources"), "secrets") or []
    known = {secret.get("name") for secret in secrets}
    for name, payload in _typed(document):
        if name != _INJECTOR:
            continue
        for reference in _secret_references(_get(_get(payload, "credential"), "typed_config")):
            if reference not in known:
                yield f"credential_injector names the static secret '{reference}', which is not there: it would crash"


def _secret_references(injected: Any) -> Iterator[str]:
    for field in ("credential", "client_secret", "client_credentials"):
        reference = _get(injected, field)
        if not isinstance(reference, Mapping):
            continue
        if "name" in reference and not _get(reference, "sds_config"):
            yield reference["name"]
        yield from _secret_references(reference)


def _filter_names(document: Node) -> Iterator[str]:
    for node in _nodes(document):
        for field in ("http_filters", "filters", "listener_filters"):
            for item in _get(node, field) or []:
                if isinstance(item, Mapping):
                    yield from _filter_name(item)


def _filter_name(item: Node) -> Iterator[str]:
    given = item.get("name", "")
    for type_name, _ in _typed(item, deep=False):
        match = re.match(r"envoy\.(?:extensions\.)?(filters\.(?:http|network|listener)\.\w+)\.v\d", type_name)
        if not match:
            continue
        canonical = f"envoy.{match[1]}"
        accepted = given in {canonical, f"envoy.extensions.{match[1]}"} or given.startswith(f"{canonical}/")
        if not accepted:
            yield f"filter '{given}' is of type {type_name}: its name must be '{canonical}', or '{canonical}/LABEL'"


def _settings_without_filter(document: Node) -> Iterator[str]:
    for name, payload in _typed(document):
        if name != _HTTP_MANAGER:
            continue
        chain = {item.get("name") for item in _get(payload, "http_filters") or []}
        for node in _nodes(_get(payload, "route_config")):
            for filter_name in _get(node, "typed_per_filter_config") or {}:
                if filter_name not in chain:
                    yield f"a route has settings for filter '{filter_name}', which is not in the listener's chain"


def _typed(node: Any, *, deep: bool = True) -> Iterator[tuple[str, Node]]:
    """Yield every Any below `node` as (type name, payload), a TypedStruct as what it stands for."""
    found = _nodes(node) if deep else [value for value in (_get(node, "typed_config"),) if isinstance(value, Mapping)]
    for item in found:
        type_name = str(item.get("@type", "")).rpartition("/")[2]
        if type_name.endswith(".TypedStruct"):
            yield str(_get(item, "type_url") or "").rpartition("/")[2], item.get("value") or {}
        elif type_name:
            yield type_name, item


def _nodes(node: Any) -> Iterator[Node]:
    if isinstance(node, Mapping):
        yield node
        for value in node.values():
            yield from _nodes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _nodes(value)


def _get(node: Any, field: str) -> Any:
    """Return a field of a message in proto JSON, under its own name or its camel-case one."""
    if not isinstance(node, Mapping):
        return None
    return node.get(field, node.get(_camel(field)))


def _take(node: dict[str, Any], field: str) -> Any:
    return node.pop(field, None) or node.pop(_camel(field), None)


def _camel(field: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), field)
