"""Cluster: where requests can be sent, how they are spread, and when an endpoint is left alone.

Source of the meanings: envoy.config.cluster.v3.Cluster and envoy.config.endpoint.v3.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from headgate.controlplane.model.base import Host, HostOrNothing, Line, Name, Percent, Port, Spec, Text, is_ip

Uint32 = Annotated[int, Field(ge=1, le=4_294_967_295)]


class Locality(Spec):
    """Where an endpoint is. Envoy is told, and shares a priority's load by the endpoints' weights all the same."""

    region: Annotated[Text, Field(max_length=100)] = ""
    zone: Annotated[Text, Field(max_length=100)] = ""
    sub_zone: Annotated[Text, Field(max_length=100)] = ""


class Endpoint(Spec):
    """One address of the upstream."""

    address: Host
    port: Port
    weight: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Share of the load among endpoints of the same priority, whatever their localities."""
    priority: Annotated[int, Field(ge=0, le=127)] = 0
    """0 is used first; priorities must be 0, 1, 2, ... without gaps."""
    locality: Locality = Locality()


class LoadBalancing(Spec):
    """How an endpoint is picked."""

    policy: Literal["round_robin", "least_request", "ring_hash", "maglev", "random"] = "round_robin"
    choice_count: Annotated[int, Field(ge=2, le=100)] = 2
    """least_request: how many random endpoints are compared."""
    minimum_ring_size: Annotated[int, Field(ge=1, le=8_388_608)] = 1024
    """ring_hash."""
    maximum_ring_size: Annotated[int, Field(ge=1, le=8_388_608)] = 8_388_608
    """ring_hash."""
    table_size: Annotated[int, Field(ge=2, le=5_000_011)] = 65_537
    """maglev: a prime number."""
    slow_start_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 0
    """round_robin and least_request: a new endpoint's share grows over this time; 0 is off."""

    @model_validator(mode="after")
    def _consistent(self) -> "LoadBalancing":
        if self.minimum_ring_size > self.maximum_ring_size:
            raise ValueError("minimum_ring_size must not exceed maximum_ring_size")
        if not _is_prime(self.table_size):
            raise ValueError("table_size must be a prime number, such as 65537")
        for name, policies in _FIELDS_OF_POLICIES.items():
            if self.policy not in policies and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no meaning with policy '{self.policy}'; it goes with {policies}")
        return self


_FIELDS_OF_POLICIES = {
    "choice_count": "least_request",
    "minimum_ring_size": "ring_hash",
    "maximum_ring_size": "ring_hash",
    "table_size": "maglev",
    "slow_start_ms": "round_robin and least_request",
}


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


class StatusRange(Spec):
    """HTTP status codes from `start` up to and including `end`."""

    start: Annotated[int, Field(ge=100, le=599)]
    end: Annotated[int, Field(ge=100, le=599)]

    @model_validator(mode="after")
    def _ordered(self) -> "StatusRange":
        if self.start > self.end:
            raise ValueError("start must not exceed end")
        return self


class HttpHealthCheck(Spec):
    """A request whose status tells the health."""

    path: Annotated[Line, Field(pattern=r"^/", max_length=1024)] = "/health"
    host: Annotated[Line, Field(max_length=253)] = ""
    """The Host header; the cluster's name when empty."""
    method: Literal["GET", "HEAD"] = "GET"
    expected_statuses: list[StatusRange] = Field(default=[StatusRange(start=200, end=200)], min_length=1, max_length=16)


class TcpHealthCheck(Spec):
    """A connection, and bytes in hexadecimal to send and to find in the answer."""

    send: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$", max_length=2048)] = ""
    receive: list[Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=2048)]] = Field(
        default=[], max_length=8
    )


class GrpcHealthCheck(Spec):
    """grpc.health.v1.Health/Check. The cluster must speak HTTP/2."""

    service: Annotated[Line, Field(max_length=256)] = ""
    authority: Annotated[Line, Field(max_length=253)] = ""
    """The :authority header; the cluster's name when empty."""


class HealthCheck(Spec):
    """An active check. Exactly one of http, tcp and grpc."""

    interval_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 10_000
    timeout_ms: Annotated[int, Field(ge=10, le=600_000)] = 2_000
    healthy_threshold: Annotated[int, Field(ge=1, le=100)] = 2
    unhealthy_threshold: Annotated[int, Field(ge=1, le=100)] = 3
    http: HttpHealthCheck | None = None
    tcp: TcpHealthCheck | None = None
    grpc: GrpcHealthCheck | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "HealthCheck":
        if sum(check is not None for check in (self.http, self.tcp, self.grpc)) != 1:
            raise ValueError("needs exactly one of http, tcp, grpc")
        if self.timeout_ms >= self.interval_ms:
            raise ValueError("timeout_ms must be less than interval_ms")
        return self


class Thresholds(Spec):
    """Limits towards the upstream; a request over a limit is answered 503 at once."""

    max_connections: Uint32 = 1024
    max_pending_requests: Uint32 = 1024
    max_requests: Uint32 = 1024
    max_retries: Uint32 = 3


class CircuitBreakers(Spec):
    """Limits for requests of default and of high priority."""

    default: Thresholds = Thresholds()
    high: Thresholds = Thresholds()


class OutlierDetection(Spec):
    """When an endpoint that fails is left alone, and for how long."""

    consecutive_5xx: Annotated[int, Field(ge=0, le=10_000)] = 5
    """0 is off."""
    consecutive_gateway_failure: Annotated[int, Field(ge=0, le=10_000)] = 0
    """502, 503, 504 and connection failures; 0 is off."""
    success_rate: bool = False
    """Eject endpoints whose success rate is far below the cluster's mean."""
    interval_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 10_000
    base_ejection_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 30_000
    max_ejection_ms: Annotated[int, Field(ge=100, le=86_400_000)] = 300_000
    max_ejection_percent: Percent = 10

    @model_validator(mode="after")
    def _ordered(self) -> "OutlierDetection":
        if self.base_ejection_ms > self.max_ejection_ms:
            raise ValueError("base_ejection_ms must not exceed max_ejection_ms")
        return self


TlsVersion = Literal["1.2", "1.3"]


class UpstreamTls(Spec):
    """TLS towards the upstream. Its certificate is verified unless `verify` is `none`."""

    sni: HostOrNothing = ""
    """Server name sent and, unless `subject_alt_names` is given, required in the certificate. An IP address is
    required but not sent (RFC 6066). When empty, the DNS name of the endpoint is sent."""
    verify: Literal["system", "secret", "none"] = "system"
    """Whom to trust: the public authorities, those of `ca_secret`, or anybody (testing only)."""
    ca_secret: Name | None = None
    """A secret with `trusted_ca`; required when verify is `secret`."""
    subject_alt_names: list[Annotated[Line, Field(min_length=1, max_length=253)]] = Field(default=[], max_length=32)
    """The certificate must carry one of these (DNS name, IP address or URI)."""
    client_certificate_secret: Name | None = None
    """A secret with `tls_certificate`, shown to the upstream (mutual TLS)."""
    min_version: TlsVersion = "1.2"
    max_version: TlsVersion = "1.3"

    @model_validator(mode="after")
    def _consistent(self) -> "UpstreamTls":
        if (self.verify == "secret") != (self.ca_secret is not None):
            raise ValueError("ca_secret goes with verify 'secret', and verify 'secret' needs it")
        if self.verify != "none" and not (self.sni or self.subject_alt_names):
            raise ValueError("verification needs sni or subject_alt_names: a name the certificate must carry")
        if self.verify == "none" and self.subject_alt_names:
            raise ValueError("subject_alt_names needs verification: verify must not be 'none'")
        if self.min_version > self.max_version:
            raise ValueError("min_version must not exceed max_version")
        return self


class Cluster(Spec):
    """A group of endpoints that answer the same requests."""

    discovery: Literal["static", "strict_dns", "logical_dns"] = "static"
    """`static`: IP addresses as given. `strict_dns`: all addresses of the names. `logical_dns`: the first one."""
    endpoints: list[Endpoint] = Field(default=[], max_length=1000)
    dns_refresh_ms: Annotated[int, Field(ge=100, le=3_600_000)] = 5_000
    dns_family: Literal["auto", "all", "v4_only", "v6_only", "v4_preferred"] = "auto"
    load_balancing: LoadBalancing = LoadBalancing()
    connect_timeout_ms: Annotated[int, Field(ge=1, le=300_000)] = 5_000
    protocol: Literal["http1", "http2", "auto"] = "http1"
    """What the upstream speaks; `auto` negotiates by ALPN and needs TLS."""
    idle_timeout_ms: Annotated[int, Field(ge=0, le=86_400_000)] = 3_600_000
    """Idle upstream connections close after this; 0 keeps them."""
    max_requests_per_connection: Annotated[int, Field(ge=0, le=1_000_000_000)] = 0
    """0 is unlimited."""
    health_checks: list[HealthCheck] = Field(default=[], max_length=1)
    circuit_breakers: CircuitBreakers = CircuitBreakers()
    outlier_detection: OutlierDetection | None = None
    tls: UpstreamTls | None = None
    per_connection_buffer_limit_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 32_768

    @model_validator(mode="after")
    def _consistent(self) -> "Cluster":
        if self.discovery == "static":
            named = [index for index, endpoint in enumerate(self.endpoints) if not is_ip(endpoint.address)]
            if named:
                raise ValueError(
                    f"endpoints[{named[0]}].address is a name: use discovery 'strict_dns' or 'logical_dns'"
                )
            for name in ("dns_refresh_ms", "dns_family"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} has no meaning with discovery 'static'")
        if self.discovery == "logical_dns" and len(self.endpoints) != 1:
            raise ValueError("discovery 'logical_dns' needs exactly one endpoint")
        if self.discovery == "strict_dns" and not self.endpoints:
            raise ValueError("discovery 'strict_dns' needs an endpoint")
        addresses = [(endpoint.address.lower(), endpoint.port) for endpoint in self.endpoints]
        if len(set(addresses)) != len(addresses):
            index = next(i for i, address in enumerate(addresses) if address in addresses[:i])
            raise ValueError(f"endpoints[{index}] has the address and port of an endpoint before it")
        priorities = sorted({endpoint.priority for endpoint in self.endpoints})
        if priorities != list(range(len(priorities))):
            raise ValueError(f"priorities must be 0, 1, 2, ... without gaps; got {priorities}")
        if self.protocol == "auto" and self.tls is None:
            raise ValueError("protocol 'auto' negotiates by ALPN and needs tls")
        if self.protocol != "http2" and any(check.grpc for check in self.health_checks):
            raise ValueError("a grpc health check needs protocol 'http2'")
        return self
