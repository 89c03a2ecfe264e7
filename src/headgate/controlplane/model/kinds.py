"""The kinds of resource a team has, and who refers to whom.

`SPECS` is the table: a new kind is one model file and one line here. A resource is named by
`(kind, name)` inside its team. `references` lists every name a specification mentions, with the JSON
pointer of the place, so that a dangling one can be refused where it was written.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

from headgate.controlplane.model.base import Spec
from headgate.controlplane.model.cluster import Cluster
from headgate.controlplane.model.listener import Listener
from headgate.controlplane.model.route_config import RouteConfig
from headgate.controlplane.model.secret import Secret

Kind = Literal["cluster", "route_config", "listener", "secret"]

SPECS: dict[Kind, type[Spec]] = {
    "cluster": Cluster,
    "route_config": RouteConfig,
    "listener": Listener,
    "secret": Secret,
}

PLURALS: dict[Kind, str] = {
    "cluster": "clusters",
    "route_config": "route-configs",
    "listener": "listeners",
    "secret": "secrets",
}


class Reference(NamedTuple):
    """A name that a specification mentions: where (RFC 6901), of what kind, which."""

    pointer: str
    kind: Kind
    name: str


def references(spec: Spec) -> Iterator[Reference]:
    """Every resource that `spec` names."""
    if isinstance(spec, Cluster):
        yield from _cluster_references(spec)
    elif isinstance(spec, RouteConfig):
        yield from _route_config_references(spec)
    elif isinstance(spec, Listener):
        yield from _listener_references(spec)


def _cluster_references(spec: Cluster) -> Iterator[Reference]:
    if spec.tls and spec.tls.ca_secret:
        yield Reference("/tls/ca_secret", "secret", spec.tls.ca_secret)
    if spec.tls and spec.tls.client_certificate_secret:
        yield Reference("/tls/client_certificate_secret", "secret", spec.tls.client_certificate_secret)


def _route_config_references(spec: RouteConfig) -> Iterator[Reference]:
    for i, host in enumerate(spec.virtual_hosts):
        for j, route in enumerate(host.routes):
            for pointer, name in route.clusters():
                yield Reference(f"/virtual_hosts/{i}/routes/{j}{pointer}", "cluster", name)


def _listener_references(spec: Listener) -> Iterator[Reference]:
    for i, chain in enumerate(spec.filter_chains):
        at = f"/filter_chains/{i}"
        if chain.tls:
            for j, name in enumerate(chain.tls.certificate_secrets):
                yield Reference(f"{at}/tls/certificate_secrets/{j}", "secret", name)
            if chain.tls.client_ca_secret:
                yield Reference(f"{at}/tls/client_ca_secret", "secret", chain.tls.client_ca_secret)
        if chain.http:
            yield Reference(f"{at}/http/route_config", "route_config", chain.http.route_config)
        if chain.tcp and chain.tcp.cluster:
            yield Reference(f"{at}/tcp/cluster", "cluster", chain.tcp.cluster)
        if chain.tcp:
            for j, target in enumerate(chain.tcp.weighted_clusters):
                yield Reference(f"{at}/tcp/weighted_clusters/{j}/cluster", "cluster", target.cluster)
