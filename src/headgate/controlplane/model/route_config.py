"""RouteConfig: virtual hosts and their routes, in the order they are tried.

Source of the meanings: envoy.config.route.v3.RouteConfiguration.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import re2
from pydantic import AfterValidator, Field, model_validator

from headgate.controlplane.model.base import (
    HeaderChanges,
    HeaderName,
    Host,
    Line,
    Name,
    Percent,
    Port,
    RouteName,
    Spec,
    Text,
    Weight,
)
from headgate.controlplane.model.matchers import Path, PathTemplate, Regex, RouteMatch

Timeout = Annotated[int, Field(ge=0, le=86_400_000)]
RetryOn = Literal[
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
]  # fmt: skip


class RetryPolicy(Spec):
    """When a failed request is tried again."""

    retry_on: list[RetryOn] = Field(
        default=["connect-failure", "refused-stream", "reset-before-request"], min_length=1, max_length=15
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = 1
    """How many times beyond the first."""
    per_try_timeout_ms: Timeout = 0
    """0 is the route's timeout."""
    retriable_status_codes: list[Annotated[int, Field(ge=400, le=599)]] = Field(default=[], max_length=32)
    base_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 25
    max_interval_ms: Annotated[int, Field(ge=1, le=600_000)] = 250
    avoid_previous_hosts: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> "RetryPolicy":
        if self.base_interval_ms > self.max_interval_ms:
            raise ValueError("base_interval_ms must not exceed max_interval_ms")
        return self


class WeightedCluster(Spec):
    """A cluster and its share of the requests."""

    cluster: Name
    weight: Weight


class RegexRewrite(Spec):
    r"""Replace what matches `pattern`; `\1` to `\9` stand for the groups."""

    pattern: Regex
    substitution: Annotated[Line, Field(max_length=1024)]

    @model_validator(mode="after")
    def _groups_exist(self) -> "RegexRewrite":
        groups = re2.compile(self.pattern).groups
        for escaped in re.findall(r"\\(.?)", self.substitution):
            if escaped.isdigit() and int(escaped) > groups:
                raise ValueError(f"substitution uses \\{escaped}, but pattern has {groups} groups")
            if not escaped.isdigit() and escaped != "\\":
                raise ValueError("in substitution a backslash goes before a digit or another backslash")
        return self


def refuse_repeated_clusters(targets: Sequence[WeightedCluster]) -> None:
    """Raise ValueError when a cluster stands twice."""
    if len({target.cluster for target in targets}) != len(targets):
        raise ValueError("weighted_clusters names a cluster twice")


class Mirror(Spec):
    """Send a copy of the request to another cluster and ignore its answer."""

    cluster: Name
    percent: Percent = 100


class HashPolicy(Spec):
    """What a ring_hash or maglev cluster hashes. Exactly one of header, cookie, query, source_ip."""

    header: HeaderName | None = None
    cookie: Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$")] | None = None
    cookie_ttl_ms: Timeout | None = None
    """With cookie: Envoy makes the cookie when absent; 0 is a session cookie; null never makes one."""
    query: Annotated[Line, Field(min_length=1, max_length=256)] | None = None
    source_ip: Literal[True] | None = None
    terminal: bool = False
    """Later policies are ignored when this one yields a hash."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "HashPolicy":
        if sum(way is not None for way in (self.header, self.cookie, self.query, self.source_ip)) != 1:
            raise ValueError("needs exactly one of header, cookie, query, source_ip")
        if self.cookie_ttl_ms is not None and self.cookie is None:
            raise ValueError("cookie_ttl_ms goes with cookie")
        return self


MAX_REWRITE_VARIABLES = 9


class Forward(Spec):
    """Send the request to a cluster, or spread it over several."""

    cluster: Name | None = None
    weighted_clusters: list[WeightedCluster] = Field(default=[], max_length=32)
    """Instead of `cluster`: at least one weight must not be 0."""
    prefix_rewrite: Path | None = None
    """What replaces the matched prefix, or the whole exact path. With path_separated_prefix no double slash
    arises: `/a` to `/` makes `/b` of `/a/b`."""
    regex_rewrite: RegexRewrite | None = None
    template_rewrite: PathTemplate | None = None
    """A new path made of the variables of a template match."""
    host_rewrite: Host | None = None
    auto_host_rewrite: bool = False
    """Host header becomes the endpoint's DNS name."""
    timeout_ms: Timeout = 15_000
    """Until the whole response; 0 is none, for streams."""
    idle_timeout_ms: Timeout | None = None
    """Without any byte either way; 0 is none; null is the listener's."""
    max_stream_duration_ms: Timeout = 0
    """0 is none."""
    retry: RetryPolicy | None = None
    mirrors: list[Mirror] = Field(default=[], max_length=8)
    hash_policy: list[HashPolicy] = Field(default=[], max_length=8)
    upgrades: list[Literal["websocket"]] = Field(default=[], max_length=1)
    priority: Literal["default", "high"] = "default"

    @model_validator(mode="after")
    def _consistent(self) -> "Forward":
        if (self.cluster is None) == (not self.weighted_clusters):
            raise ValueError("needs either cluster or weighted_clusters")
        if self.weighted_clusters and not any(target.weight for target in self.weighted_clusters):
            raise ValueError("weighted_clusters needs a weight above 0")
        refuse_repeated_clusters(self.weighted_clusters)
        if sum(way is not None for way in (self.prefix_rewrite, self.regex_rewrite, self.template_rewrite)) > 1:
            raise ValueError("takes one of prefix_rewrite, regex_rewrite and template_rewrite")
        if self.host_rewrite and self.auto_host_rewrite:
            raise ValueError("takes one of host_rewrite and auto_host_rewrite")
        if self.retry and self.timeout_ms and self.retry.per_try_timeout_ms > self.timeout_ms:
            raise ValueError("retry.per_try_timeout_ms must not exceed timeout_ms")
        return self


class Redirect(Spec):
    """Answer with another address."""

    https: bool = False
    host: Host | None = None
    port: Port | None = None
    path: Annotated[Line, Field(pattern=r"^/", max_length=1024)] | None = None
    prefix_rewrite: Path | None = None
    regex_rewrite: RegexRewrite | None = None
    status: Literal[301, 302, 303, 307, 308] = 301
    strip_query: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Redirect":
        if sum(way is not None for way in (self.path, self.prefix_rewrite, self.regex_rewrite)) > 1:
            raise ValueError("takes one of path, prefix_rewrite and regex_rewrite")
        if not (self.https or self.host or self.port or self.path or self.prefix_rewrite or self.regex_rewrite):
            raise ValueError("changes nothing: the client would be sent to the same address again")
        return self


class DirectResponse(Spec):
    """Answer without an upstream."""

    status: Annotated[int, Field(ge=200, le=599)]
    body: Annotated[Text, Field(max_length=4096)] = ""
    content_type: Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9_.+-]+/[A-Za-z0-9_.+-]+( *;[ -~]*)?$")] = (
        "text/plain"
    )
    """Of the body, when there is one."""


class Route(Spec):
    """A match and what to do: exactly one of forward, redirect, direct_response."""

    name: RouteName
    match: RouteMatch
    forward: Forward | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    request_headers: HeaderChanges = Field(default_factory=HeaderChanges)
    response_headers: HeaderChanges = Field(default_factory=HeaderChanges)

    @model_validator(mode="after")
    def _consistent(self) -> "Route":
        if sum(action is not None for action in (self.forward, self.redirect, self.direct_response)) != 1:
            raise ValueError("needs exactly one of forward, redirect, direct_response")
        path = self.match.path
        rewrites = [action for action in (self.forward, self.redirect) if action and action.prefix_rewrite]
        if rewrites and not (path.prefix or path.path_separated_prefix or path.exact):
            raise ValueError("prefix_rewrite needs a prefix, path_separated_prefix or exact path")
        if self.forward and self.forward.template_rewrite:
            if path.template is None:
                raise ValueError("template_rewrite needs a template path")
            missing = template_variables(self.forward.template_rewrite) - template_variables(path.template)
            if missing:
                raise ValueError(f"template_rewrite uses {sorted(missing)}, which the template path does not bind")
            if len(template_variables(self.forward.template_rewrite)) > MAX_REWRITE_VARIABLES:
                raise ValueError(f"template_rewrite uses more than {MAX_REWRITE_VARIABLES} variables")
        return self

    def clusters(self) -> list[tuple[str, str]]:
        """The clusters this route names, each with the JSON pointer of the place, relative to the route."""
        if self.forward is None:
            return []
        named = [("/forward/cluster", self.forward.cluster)] if self.forward.cluster else []
        named += [
            (f"/forward/weighted_clusters/{i}/cluster", t.cluster) for i, t in enumerate(self.forward.weighted_clusters)
        ]
        named += [(f"/forward/mirrors/{i}/cluster", mirror.cluster) for i, mirror in enumerate(self.forward.mirrors)]
        return [(pointer, name) for pointer, name in named if name]


def template_variables(template: str) -> set[str]:
    """Names of the variables of a path template."""
    return {name.partition("=")[0] for name in re.findall(r"\{([^{}]*)\}", template)}


def _domain(text: str) -> str:
    if not re.fullmatch(
        r"\*|(\*[.-])?[A-Za-z0-9._-]+(:(\d{1,5}|\*))?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?|[A-Za-z0-9._-]+[.-]\*",
        text,
    ):
        raise ValueError("must be '*', a host, '*.suffix' or 'prefix.*', with an optional port")
    return text


Domain = Annotated[str, Field(max_length=253), AfterValidator(_domain)]


class VirtualHost(Spec):
    """Routes for a set of domains."""

    name: Name
    domains: list[Domain] = Field(min_length=1, max_length=1000)
    """`*`, `host`, `*.suffix` or `prefix.*`, each with an optional port; unique in the route config. As long as
    no domain of the route config has a port, the port of a request does not matter."""
    routes: list[Route] = Field(default=[], max_length=50_000)
    request_headers: HeaderChanges = Field(default_factory=HeaderChanges)
    response_headers: HeaderChanges = Field(default_factory=HeaderChanges)
    retry: RetryPolicy | None = None
    """For routes without their own."""
    require_tls: Literal["none", "external_only", "all"] = "none"

    @model_validator(mode="after")
    def _consistent(self) -> "VirtualHost":
        _refuse_repeats("routes", [route.name for route in self.routes])
        return self


class RouteConfig(Spec):
    """Virtual hosts; a listener names the route config it serves."""

    virtual_hosts: list[VirtualHost] = Field(default=[], max_length=1000)
    request_headers: HeaderChanges = Field(default_factory=HeaderChanges)
    response_headers: HeaderChanges = Field(default_factory=HeaderChanges)

    @model_validator(mode="after")
    def _consistent(self) -> "RouteConfig":
        _refuse_repeats("virtual_hosts", [host.name for host in self.virtual_hosts])
        domains: dict[str, str] = {}
        for host in self.virtual_hosts:
            for domain in host.domains:
                holder = domains.get(domain.lower())
                if holder:
                    raise ValueError(f"domain '{domain}' stands twice: in virtual hosts '{holder}' and '{host.name}'")
                domains[domain.lower()] = host.name
        return self


def _refuse_repeats(field: str, names: list[str]) -> None:
    if len(set(names)) != len(names):
        repeated = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"{field} has two entries named '{repeated}'")
