"""Listener: an address Envoy serves, and what it does with a connection.

Source of the meanings: envoy.config.listener.v3.Listener and
envoy.extensions.filters.network.http_connection_manager.v3. The defaults are Envoy's edge best practices.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from headgate.controlplane.model.base import IpAddress, Line, Name, Port, Spec, Text
from headgate.controlplane.model.cluster import TlsVersion
from headgate.controlplane.model.route_config import Timeout, WeightedCluster, refuse_repeated_clusters


class AccessLog(Spec):
    """Where a line per request or connection goes, and its form. With neither form, a JSON line of the usual fields."""

    destination: Literal["stdout", "stderr", "file"] = "stdout"
    path: Annotated[Line, Field(pattern=r"^/", max_length=1024)] | None = None
    """With destination `file`: an absolute path on the data plane."""
    json_format: (
        dict[Annotated[Text, Field(min_length=1, max_length=128)], Annotated[Text, Field(max_length=1024)]] | None
    ) = None
    text_format: Annotated[Text, Field(min_length=1, max_length=4096)] | None = None
    """A new line is put at the end when there is none."""

    @model_validator(mode="after")
    def _consistent(self) -> "AccessLog":
        if (self.destination == "file") != (self.path is not None):
            raise ValueError("path goes with destination 'file', and destination 'file' needs it")
        if self.json_format is not None and self.text_format is not None:
            raise ValueError("takes one of json_format and text_format")
        if self.json_format is not None and not 1 <= len(self.json_format) <= 64:
            raise ValueError("json_format needs 1 to 64 fields")
        return self


class DownstreamTls(Spec):
    """TLS termination."""

    certificate_secrets: list[Name] = Field(min_length=1, max_length=8)
    """Secrets with `tls_certificate`."""
    client_ca_secret: Name | None = None
    """A secret with `trusted_ca`; clients that show a certificate are verified against it."""
    require_client_certificate: bool = False
    alpn: list[Literal["h2", "http/1.1"]] | None = Field(default=None, max_length=2)
    """What is offered; null offers what the chain's codec speaks, and nothing for tcp."""
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"

    @model_validator(mode="after")
    def _consistent(self) -> "DownstreamTls":
        if self.require_client_certificate and self.client_ca_secret is None:
            raise ValueError("require_client_certificate needs client_ca_secret")
        if self.min_version > self.max_version:
            raise ValueError("min_version must not exceed max_version")
        return self


class HttpConnectionManager(Spec):
    """HTTP: which routes, and the limits an edge needs."""

    route_config: Name
    codec: Literal["auto", "http1", "http2"] = "auto"
    normalize_path: bool = True
    merge_slashes: bool = True
    escaped_slashes: Literal["reject", "unescape_and_redirect", "unescape_and_forward", "keep"] = "reject"
    """What to do with `%2F` and `%5C` in a path."""
    headers_with_underscores: Literal["allow", "reject", "drop"] = "allow"
    xff_trusted_hops: Annotated[int, Field(ge=0, le=32)] = 0
    """How many proxies in front of this one are trusted to write X-Forwarded-For."""
    max_request_headers_kb: Annotated[int, Field(ge=1, le=8192)] = 60
    max_request_headers_count: Annotated[int, Field(ge=1, le=10_000)] = 100
    request_headers_timeout_ms: Timeout = 10_000
    """Until the request headers have arrived; 0 is none."""
    request_timeout_ms: Timeout = 300_000
    """Until the whole request has arrived; 0 is none, for streamed uploads."""
    stream_idle_timeout_ms: Timeout = 300_000
    idle_timeout_ms: Timeout = 900_000
    """Connections without a request."""
    drain_timeout_ms: Timeout = 5_000
    max_concurrent_streams: Annotated[int, Field(ge=1, le=2_147_483_647)] = 100
    """HTTP/2, per connection."""
    initial_stream_window_bytes: Annotated[int, Field(ge=65_535, le=2_147_483_647)] = 65_536
    initial_connection_window_bytes: Annotated[int, Field(ge=65_535, le=2_147_483_647)] = 1_048_576
    max_requests_per_connection: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """0 is unlimited."""
    server_name: Annotated[str, Field(pattern=r"^[!-~]{0,128}$")] = "headgate"
    """The `server` response header; empty passes the upstream's."""
    upgrades: list[Literal["websocket"]] = Field(default=[], max_length=1)
    """Upgrades every route may do; routes can allow them one by one instead."""
    access_logs: list[AccessLog] = Field(default=[], max_length=8)


class TcpProxy(Spec):
    """Bytes through to a cluster, or spread over several."""

    cluster: Name | None = None
    weighted_clusters: list[WeightedCluster] = Field(default=[], max_length=32)
    idle_timeout_ms: Timeout = 3_600_000
    max_connect_attempts: Annotated[int, Field(ge=1, le=10)] = 1
    access_logs: list[AccessLog] = Field(default=[], max_length=8)

    @model_validator(mode="after")
    def _consistent(self) -> "TcpProxy":
        if (self.cluster is None) == (not self.weighted_clusters):
            raise ValueError("needs either cluster or weighted_clusters")
        if self.weighted_clusters and not any(target.weight for target in self.weighted_clusters):
            raise ValueError("weighted_clusters needs a weight above 0")
        refuse_repeated_clusters(self.weighted_clusters)
        return self


class FilterChain(Spec):
    """What happens to the connections it matches: exactly one of http and tcp."""

    name: Name
    server_names: list[Annotated[str, Field(pattern=r"^(\*\.)?[a-z0-9._-]+$", max_length=253)]] = Field(
        default=[], max_length=1000
    )
    """SNI names, `host` or `*.suffix`, in lower case; empty matches every connection."""
    tls: DownstreamTls | None = None
    http: HttpConnectionManager | None = None
    tcp: TcpProxy | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "FilterChain":
        if (self.http is None) == (self.tcp is None):
            raise ValueError("needs exactly one of http and tcp")
        unspoken = {"http1": "h2", "http2": "http/1.1"}.get(self.http.codec) if self.http else None
        if self.tls and unspoken in (self.tls.alpn or []):
            raise ValueError(f"tls.alpn offers '{unspoken}', which http.codec does not speak")
        if len(set(self.server_names)) != len(self.server_names):
            raise ValueError("server_names names one twice")
        return self


class Listener(Spec):
    """An address and the filter chains behind it."""

    address: IpAddress = "127.0.0.1"
    port: Port
    filter_chains: list[FilterChain] = Field(min_length=1, max_length=1000)
    per_connection_buffer_limit_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 32_768
    max_connections: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """Open connections at most, in each filter chain; 0 is unlimited."""

    @model_validator(mode="after")
    def _consistent(self) -> "Listener":
        names = [chain.name for chain in self.filter_chains]
        if len(set(names)) != len(names):
            raise ValueError("two filter chains have the same name")
        seen: dict[str, str] = {}
        for chain in self.filter_chains:
            for server_name in chain.server_names or [""]:
                holder = seen.setdefault(server_name, chain.name)
                if holder != chain.name:
                    what = f"server name '{server_name}'" if server_name else "every connection"
                    raise ValueError(f"filter chains '{holder}' and '{chain.name}' both match {what}")
        return self
