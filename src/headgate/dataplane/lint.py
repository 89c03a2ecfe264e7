"""What Envoy takes in silence, or dies of: found in a bootstrap before Envoy sees it. Pure.

Envoy 1.40 crashes on a `tap` filter with `admin_config` where there is no admin listener, on a
`credential_injector` that names a static secret which is not there, and on SDS over ADS inside a static
resource. It accepts per-route settings of a filter that is not in the chain, and a filter whose name is not
that of its type. `without_sds` takes the third away; `findings` tells the others.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from headgate.dataplane.placeholder import CERTIFICATE, PRIVATE_KEY

Node = Mapping[str, Any]
Typed = tuple[str, Node]

_HTTP_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_INJECTOR = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
_TAPS = {
    "envoy.extensions.filters.http.tap.v3.Tap",
    "envoy.extensions.transport_sockets.tap.v3.Tap",
}


def findings(document: Node) -> Iterator[str]:
    """Yield what is wrong with a bootstrap document (proto JSON), in words."""
    nodes = _nodes(document)
    typed = [found for node in nodes for found in _typed(node)]
    yield from _taps(document, typed)
    yield from _injected_credentials(document, typed)
    yield from _filter_names(nodes)
    yield from _settings_without_filter(typed)


def without_sds(node: Any) -> Any:
    """Return a copy in which TLS contexts hold a placeholder wherever SDS would bring a certificate."""
    if isinstance(node, Mapping):
        copy = {key: without_sds(value) for key, value in node.items()}
        return copy if _SDS_FIELDS.isdisjoint(copy) else _with_placeholders(copy)
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


def _taps(document: Node, typed: Sequence[Typed]) -> Iterator[str]:
    if _get(document, "admin"):
        return
    for name, payload in typed:
        if name in _TAPS and _get(_get(payload, "common_config"), "admin_config") is not None:
            yield "a tap has admin_config, and this Envoy has no admin listener: it would crash"


def _injected_credentials(document: Node, typed: Sequence[Typed]) -> Iterator[str]:
    secrets = _get(_get(document, "static_resources"), "secrets") or []
    known = {secret.get("name") for secret in secrets}
    for name, payload in typed:
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


def _filter_names(nodes: Sequence[Node]) -> Iterator[str]:
    for node in nodes:
        for field in _FILTER_LISTS & node.keys():
            for item in node[field] or []:
                if isinstance(item, Mapping):
                    yield from _filter_name(item)


def _filter_name(item: Node) -> Iterator[str]:
    given = item.get("name", "")
    for type_name, _ in _typed(_get(item, "typed_config")):
        match = re.match(r"envoy\.(?:extensions\.)?(filters\.(?:http|network|listener)\.\w+)\.v\d", type_name)
        if not match:
            continue
        canonical = f"envoy.{match[1]}"
        accepted = given in {canonical, f"envoy.extensions.{match[1]}"} or given.startswith(f"{canonical}/")
        if not accepted:
            yield f"filter '{given}' is of type {type_name}: its name must be '{canonical}', or '{canonical}/LABEL'"


def _settings_without_filter(typed: Sequence[Typed]) -> Iterator[str]:
    for name, payload in typed:
        if name != _HTTP_MANAGER:
            continue
        chain = {item.get("name") for item in _get(payload, "http_filters") or []}
        for node in _nodes(_get(payload, "route_config")):
            for filter_name in _get(node, "typed_per_filter_config") or {}:
                if filter_name not in chain:
                    yield f"a route has settings for filter '{filter_name}', which is not in the listener's chain"


def _typed(node: Any) -> Iterator[Typed]:
    """Yield what an Any in proto JSON holds: its type's name and payload, a TypedStruct as what it stands for."""
    if not isinstance(node, Mapping) or "@type" not in node:
        return
    type_name = str(node["@type"]).rpartition("/")[2]
    if type_name.endswith(".TypedStruct"):
        yield str(_get(node, "type_url") or "").rpartition("/")[2], node.get("value") or {}
    else:
        yield type_name, node


def _nodes(document: Any) -> list[Node]:
    """Return every object in a document, itself included."""
    found: list[Node] = []
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            found.append(value)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found


def _get(node: Any, field: str) -> Any:
    """Return a field of a message in proto JSON, under its own name or its camel-case one."""
    if not isinstance(node, Mapping):
        return None
    return node[field] if field in node else node.get(_camel(field))


def _take(node: dict[str, Any], field: str) -> Any:
    return node.pop(field, None) or node.pop(_camel(field), None)


@cache
def _camel(field: str) -> str:
    return re.sub(r"_(\w)", lambda match: match[1].upper(), field)


def _spellings(*fields: str) -> frozenset[str]:
    return frozenset(fields) | {_camel(field) for field in fields}


_FILTER_LISTS = _spellings("http_filters", "filters", "listener_filters")
_SDS_FIELDS = _spellings(
    "tls_certificate_sds_secret_configs", "validation_context_sds_secret_config", "combined_validation_context"
)
