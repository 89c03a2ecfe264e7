"""Small valid documents to change things with."""

from collections.abc import Iterable
from typing import Any

from headgate.controlplane.core.changes import Actor, Change

ME = Actor("alice", "native", request_id="req-1", token_id="tok_1")
TEAM = "default"


def cluster(port: int = 8001, **fields: Any) -> dict[str, Any]:
    """A cluster of one endpoint on loopback."""
    return {"endpoints": [{"address": "127.0.0.1", "port": port}], **fields}


def route(name: str, to: str = "a", path: str | None = None) -> dict[str, Any]:
    """A route by prefix to a cluster."""
    return {"name": name, "match": {"path": {"prefix": path or f"/{name}"}}, "forward": {"cluster": to}}


def route_config(routes: Iterable[dict[str, Any]] = (), host: str = "default") -> dict[str, Any]:
    """A route config with one virtual host for every domain."""
    return {"virtual_hosts": [{"name": host, "domains": ["*"], "routes": list(routes)}]}


def listener(port: int = 10000, config: str = "gw", **fields: Any) -> dict[str, Any]:
    """A listener that serves a route config."""
    return {"port": port, "filter_chains": [{"name": "http", "http": {"route_config": config}}], **fields}


def world() -> list[Change]:
    """Cluster `a`, route config `gw` with routes r0, r1, r2 to it, listener `l` on port 10000."""
    return [
        Change("create", "cluster", "a", cluster()),
        Change("create", "route_config", "gw", route_config([route("r0"), route("r1"), route("r2")])),
        Change("create", "listener", "l", listener()),
    ]
