"""The file Envoy starts with: who it is, where its control plane is, and the limits of the process.

Everything else (clusters, listeners, routes, secrets) comes over ADS. Pure: options in, document out.
Source: envoy.config.bootstrap.v3.Bootstrap.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from headgate.kit.controls.faults import InvalidArgument, Violation

Scope = Literal["all", "team", "allowlist"]
Mode = Literal["delta", "sotw"]
Format = Literal["json", "yaml"]

XDS_CLUSTER = "headgate_xds"
"""Name of the cluster that leads to the control plane."""

NODE_METADATA_KEY = "headgate"
"""Where the control plane finds team, scope and listeners in the node's metadata."""

RUNTIME: Mapping[str, Any] = {"re2.max_program_size.error_level": 65_536}
"""Envoy's default refuses ordinary path patterns (program size over 100); RE2 stays linear in time."""

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_HTTP = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTIONS = (
    "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
)
_HEAP = "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"


@dataclass(frozen=True, slots=True)
class Address:
    """A host (IPv4, IPv6 or a DNS name) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port` or `[ipv6]:port`; InvalidArgument when it is neither."""
        match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^:\[\]\s/]+)):([0-9]{1,5})", text.strip())
        if not match or not 1 <= int(match[3]) <= 65_535:
            raise InvalidArgument(f"'{text}' is not an address", hint="write host:port, or [ipv6]:port")
        return cls(match[1] or match[2], int(match[3]))

    @property
    def is_ip(self) -> bool:
        """Whether the host needs no DNS."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (self.is_ip and ipaddress.ip_address(self.host).is_loopback)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class XdsTls:
    """TLS to the control plane. Paths are on the data plane's machine.

    `certificate` and `private_key` go together: the identity Envoy shows. The server must show a
    certificate for `server_name` signed by `ca`.
    """

    ca: str
    server_name: str
    certificate: str = ""
    private_key: str = ""


@dataclass(frozen=True, slots=True)
class BootstrapOptions:
    """What a bootstrap is made of. `listeners` are named when the scope is `allowlist`.

    `max_heap_bytes` 0 is no limit; at 95 % of it Envoy refuses requests instead of being killed.
    """

    node_id: str
    team: str = "default"
    scope: Scope = "team"
    listeners: tuple[str, ...] = ()
    cluster: str = "headgate"
    xds: tuple[Address, ...] = (Address("127.0.0.1", 18000),)
    mode: Mode = "delta"
    admin: Address | None = Address("127.0.0.1", 9901)
    tls: XdsTls | None = None
    max_connections: int = 50_000
    max_heap_bytes: int = 0
    reconnect_max_ms: int = 800

    def __post_init__(self) -> None:
        violations = list(_violations(self))
        if violations:
            raise InvalidArgument("the bootstrap cannot be made", violations=violations)


def _violations(options: BootstrapOptions) -> list[Violation]:
    found = []
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._:/-]{0,198}[A-Za-z0-9])?", options.node_id):
        found.append(Violation("/node_id", "must be 1 to 200 of A-Z, a-z, 0-9 and '._:/-'"))
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?", options.team):
        found.append(Violation("/team", "must be 1 to 100 of a-z, 0-9, '.', '_' and '-'"))
    if (options.scope == "allowlist") != bool(options.listeners):
        found.append(Violation("/listeners", "are named with scope 'allowlist', and only with it"))
    if options.admin and not options.admin.is_loopback:
        found.append(Violation("/admin", "must be a loopback address", "Envoy's admin can stop it and has no login"))
    if not options.xds:
        found.append(Violation("/xds", "must name a control plane"))
    if len({address.is_ip for address in options.xds}) > 1:
        found.append(Violation("/xds", "must be all IP addresses or all DNS names"))
    if options.tls and bool(options.tls.certificate) != bool(options.tls.private_key):
        found.append(Violation("/tls", "certificate and private_key go together"))
    if options.max_connections < 1:
        found.append(Violation("/max_connections", "must be 1 or more"))
    if options.max_heap_bytes and options.max_heap_bytes < 1 << 26:
        found.append(Violation("/max_heap_bytes", "must be 0 or at least 64 MiB"))
    if not 100 <= options.reconnect_max_ms <= 60_000:
        found.append(Violation("/reconnect_max_ms", "must be 100 to 60000"))
    return found


def bootstrap(options: BootstrapOptions) -> dict[str, Any]:
    """Return the bootstrap as a JSON document."""
    document: dict[str, Any] = {
        "node": _node(options),
        "dynamic_resources": _dynamic_resources(options),
        "static_resources": {"clusters": [_xds_cluster(options)]},
        "layered_runtime": {
            "layers": [{"name": "headgate", "static_layer": dict(RUNTIME)}, {"name": "admin", "admin_layer": {}}]
        },
        "overload_manager": _overload(options),
        "stats_config": {"stats_tags": [{"tag_name": "headgate_team", "fixed_value": options.team}]},
    }
    if options.admin:
        document["admin"] = {"address": _socket(_numeric(options.admin)), "ignore_global_conn_limit": True}
    return document


def _node(options: BootstrapOptions) -> dict[str, Any]:
    ours: dict[str, Any] = {"team": options.team, "scope": options.scope}
    if options.listeners:
        ours["listeners"] = list(options.listeners)
    return {"id": options.node_id, "cluster": options.cluster, "metadata": {NODE_METADATA_KEY: ours}}


def _dynamic_resources(options: BootstrapOptions) -> dict[str, Any]:
    # No time-out on the first fetch: an Envoy that never had a configuration must not call itself ready.
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    back_off = {"base_interval": "0.1s", "max_interval": f"{options.reconnect_max_ms / 1000:g}s"}
    return {
        "ads_config": {
            "api_type": "DELTA_GRPC" if options.mode == "delta" else "GRPC",
            "transport_api_version": "V3",
            # Without it every acknowledgement carries the node again: 61 KB.
            "set_node_on_first_message_only": True,
            "grpc_services": [
                {"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": {"retry_back_off": back_off}}}
            ],
        },
        "cds_config": source,
        "lds_config": source,
    }


def _xds_cluster(options: BootstrapOptions) -> dict[str, Any]:
    static = options.xds[0].is_ip
    cluster: dict[str, Any] = {
        "name": XDS_CLUSTER,
        "type": "STATIC" if static else "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP,
                "explicit_http_config": {
                    "http2_protocol_options": {"connection_keepalive": {"interval": "15s", "timeout": "5s"}}
                },
            }
        },
        "load_assignment": {
            "cluster_name": XDS_CLUSTER,
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _socket(address)}} for address in options.xds]},
            ],
        },
    }
    if not static:
        cluster["respect_dns_ttl"] = True
    if options.tls:
        cluster["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": _tls(options.tls)}
    return cluster


def _tls(tls: XdsTls) -> dict[str, Any]:
    common: dict[str, Any] = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "alpn_protocols": ["h2"],
        "validation_context": {
            "trusted_ca": {"filename": tls.ca},
            "match_typed_subject_alt_names": [
                {
                    "san_type": "IP_ADDRESS" if Address(tls.server_name, 1).is_ip else "DNS",
                    "matcher": {"exact": tls.server_name},
                }
            ],
        },
    }
    if tls.certificate:
        common["tls_certificates"] = [
            {"certificate_chain": {"filename": tls.certificate}, "private_key": {"filename": tls.private_key}}
        ]
    return {"@type": _TLS, "sni": tls.server_name, "common_tls_context": common}


def _overload(options: BootstrapOptions) -> dict[str, Any]:
    monitors: list[dict[str, Any]] = [
        {
            "name": "envoy.resource_monitors.global_downstream_max_connections",
            "typed_config": {"@type": _CONNECTIONS, "max_active_downstream_connections": options.max_connections},
        }
    ]
    if not options.max_heap_bytes:
        return {"resource_monitors": monitors}
    monitor = "envoy.resource_monitors.fixed_heap"
    monitors.append({"name": monitor, "typed_config": {"@type": _HEAP, "max_heap_size_bytes": options.max_heap_bytes}})
    actions = {"envoy.overload_actions.shrink_heap": 0.9, "envoy.overload_actions.stop_accepting_requests": 0.95}
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": monitors,
        "actions": [
            {"name": action, "triggers": [{"name": monitor, "threshold": {"value": value}}]}
            for action, value in actions.items()
        ],
    }


def _numeric(address: Address) -> Address:
    return Address("127.0.0.1", address.port) if address.host == "localhost" else address


def _socket(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def render(document: Mapping[str, Any], form: Format = "json") -> str:
    """Write a document as JSON, or as YAML that every parser reads alike (Envoy's takes a bare `n` for false)."""
    if form == "json":
        return json.dumps(document, indent=2) + "\n"
    return yaml.dump(json.loads(json.dumps(document)), Dumper=_Quoting, sort_keys=False, width=1000)


class _Quoting(yaml.SafeDumper):
    """Quotes every string but lower-case words joined by underscores, which no parser reads as anything else."""


def _quoted(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = re.fullmatch(r"[a-z]+(_[a-z]+)+", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Quoting.add_representer(str, _quoted)
