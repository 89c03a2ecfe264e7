"""TLS towards the upstream and towards the client. Certificates come by SDS over ADS.

Source: envoy.extensions.transport_sockets.tls.v3.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Literal

from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext

from headgate.controlplane.model.base import is_ip
from headgate.controlplane.model.cluster import Cluster, UpstreamTls
from headgate.controlplane.model.listener import FilterChain
from headgate.controlplane.translate.wire import SYSTEM_CA, Shape, extension, sds

SOCKET = "envoy.transport_sockets.tls"
_VERSIONS = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}
_UPSTREAM_ALPN = {"http1": ["http/1.1"], "http2": ["h2"], "auto": []}
_DOWNSTREAM_ALPN = {"auto": ["h2", "http/1.1"], "http1": ["http/1.1"], "http2": ["h2"]}


def upstream_secrets(tls: UpstreamTls) -> Iterator[str]:
    """Names of the secrets an upstream's TLS needs, the built-in one included."""
    if tls.verify != "none":
        yield tls.ca_secret or SYSTEM_CA
    if tls.client_certificate_secret:
        yield tls.client_certificate_secret


def upstream_socket(team: str, cluster: Cluster, tls: UpstreamTls) -> Shape:
    """Return the transport socket of a cluster."""
    common: Shape = {
        "tls_params": _params(tls.min_version, tls.max_version),
        # With `auto` the connection pool offers both, and takes what the upstream picks.
        "alpn_protocols": _UPSTREAM_ALPN[cluster.protocol],
    }
    if tls.client_certificate_secret:
        common["tls_certificate_sds_secret_configs"] = [sds(team, tls.client_certificate_secret)]
    if tls.verify != "none":
        common["combined_validation_context"] = {
            "default_validation_context": {"match_typed_subject_alt_names": _accepted_names(tls)},
            "validation_context_sds_secret_config": sds(team, tls.ca_secret or SYSTEM_CA),
        }
    context = UpstreamTlsContext(
        common_tls_context=common,
        sni="" if is_ip(tls.sni) else tls.sni,
        auto_host_sni=not tls.sni and any(not is_ip(endpoint.address) for endpoint in cluster.endpoints),
    )
    return extension(SOCKET, context)


def _accepted_names(tls: UpstreamTls) -> list[Shape]:
    names = tls.subject_alt_names or [tls.sni]
    return [{"san_type": _san_type(name), "matcher": {"exact": _san_text(name)}} for name in names]


def _san_type(name: str) -> Literal["IP_ADDRESS", "URI", "DNS"]:
    if is_ip(name):
        return "IP_ADDRESS"
    return "URI" if ":" in name else "DNS"


def _san_text(name: str) -> str:
    return str(ip_address(name)) if is_ip(name) else name


def downstream_socket(team: str, chain: FilterChain) -> Shape:
    """Return the transport socket of a filter chain that terminates TLS."""
    tls = chain.tls
    assert tls is not None  # noqa: S101 - asked for only where there is TLS
    common: Shape = {
        "tls_params": _params(tls.min_version, tls.max_version),
        "alpn_protocols": _offered(chain),
        "tls_certificate_sds_secret_configs": [sds(team, name) for name in tls.certificate_secrets],
    }
    if tls.client_ca_secret:
        common["validation_context_sds_secret_config"] = sds(team, tls.client_ca_secret)
    context = DownstreamTlsContext(common_tls_context=common)
    if tls.client_ca_secret:
        # Said even when it is not: Envoy will change what silence means.
        context.require_client_certificate.value = tls.require_client_certificate
    return extension(SOCKET, context)


def _offered(chain: FilterChain) -> list[str]:
    if chain.tls and chain.tls.alpn is not None:
        return list(chain.tls.alpn)
    return _DOWNSTREAM_ALPN[chain.http.codec] if chain.http else []


def _params(lowest: str, highest: str) -> Shape:
    return {
        "tls_minimum_protocol_version": _VERSIONS[lowest],
        "tls_maximum_protocol_version": _VERSIONS[highest],
    }
