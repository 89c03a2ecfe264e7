"""A control plane and real Envoys that follow it: changes go in through the API, requests through Envoy."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from headgate.testing.controlplane import RunningControlPlane
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually
from headgate.testing.server import free_port

NATIVE = "/api/v1/native"


def put(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A change that writes a resource, whether it is there or not."""
    return {"operation": "put", "kind": kind, "name": name, "spec": spec}


def patch(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A change that merges into a resource."""
    return {"operation": "patch", "kind": kind, "name": name, "spec": spec}


def delete(kind: str, name: str) -> dict[str, Any]:
    """A change that removes a resource."""
    return {"operation": "delete", "kind": kind, "name": name}


def cluster(*ports: int, **more: Any) -> dict[str, Any]:
    """A cluster with endpoints on this machine."""
    return {"endpoints": [{"address": "127.0.0.1", "port": port} for port in ports], **more}


def forward(name: str, to: str, path: str = "/", **more: Any) -> dict[str, Any]:
    """A route of a prefix to a cluster; `more` are fields of the forward."""
    return {"name": name, "match": {"path": {"prefix": path}}, "forward": {"cluster": to, **more}}


def direct(name: str, path: str = "/", status: int = 200) -> dict[str, Any]:
    """A route that answers with its own name."""
    return {"name": name, "match": {"path": {"prefix": path}}, "direct_response": {"status": status, "body": name}}


def routes(*several: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A route config with one virtual host `all`."""
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": list(several), **more}]}


def http(port: int, route_config: str, **manager: Any) -> dict[str, Any]:
    """A plain HTTP listener."""
    return {"port": port, "filter_chains": [{"name": "http", "http": {"route_config": route_config, **manager}}]}


@dataclass
class Live:
    """An Envoy of a team, and the client of the control plane it follows. `port` is free for its listener."""

    api: httpx.AsyncClient
    team: str
    envoy: RealEnvoy
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        """Where the listener is, once there is one."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def node(self) -> str:
        """The dataplane's id: that of its team."""
        return self.team

    async def apply(self, *changes: dict[str, Any]) -> int:
        """Make changes in one revision; return its number."""
        answer = await self.api.post(f"{NATIVE}/changes", params={"team": self.team}, json={"changes": changes})
        assert answer.status_code == httpx.codes.OK, answer.text
        return int(answer.json()["revision"])

    async def settle(self, *changes: dict[str, Any], within: float = 20.0) -> int:
        """Make changes in one revision and wait until Envoy has acknowledged all of it."""
        revision = await self.apply(*changes)
        await self.synced(revision, within)
        return revision

    async def synced(self, revision: int, within: float = 20.0) -> None:
        """Wait until Envoy has acknowledged all of a revision."""
        seen: dict[str, Any] = {}

        async def is_synced() -> bool:
            seen.update(await self.status())
            return seen.get("state") == "in_sync" and seen["revision_acked"] >= revision

        try:
            await eventually(is_synced, within)
        except AssertionError:
            raise AssertionError(f"revision {revision} was not acknowledged: {seen}") from None

    async def status(self) -> dict[str, Any]:
        """What the control plane says of this dataplane; {} when it does not know it."""
        answer = await self.api.get(f"{NATIVE}/dataplanes/{self.node}", params={"team": self.team})
        return answer.json() if answer.status_code == httpx.codes.OK else {}

    async def refusals(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until this dataplane has refused so many resources, and return them."""

        async def has_them() -> bool:
            return len((await self.status()).get("refused", ())) == count

        await eventually(has_them, why=f"not {count} refusals")
        refused: list[dict[str, Any]] = (await self.status())["refused"]
        return refused

    async def get(self, path: str = "/", **options: Any) -> httpx.Response:
        """Ask through Envoy, over a connection of its own."""
        async with httpx.AsyncClient(trust_env=False, timeout=10.0) as client:
            return await client.get(self.url + path, **options)

    async def upstream_of(self, path: str = "/") -> str:
        """Which `Echo` answers."""
        return (await self.get(path)).headers.get("x-echo-upstream", "")

    async def active(self, cluster_name: str) -> dict[str, Any]:
        """The cluster as Envoy uses it (not as it warms it); {} when there is none."""
        dump = await self.envoy.admin.get_json("/config_dump?resource=dynamic_active_clusters")
        found = [each["cluster"] for each in dump.get("configs", ())]
        return next((each for each in found if each["name"] == f"{self.team}/{cluster_name}"), {})


@asynccontextmanager
async def dataplane(
    running: RunningControlPlane, directory: Path, *, team: str = "default", mode: Any = "delta"
) -> AsyncIterator[Live]:
    """Start an Envoy that follows a control plane. The team is made when there is none."""
    if team != "default":
        await running.client.post("/api/v1/teams", json={"name": team})
    bootstrap = bootstrap_for(running.xds_port, node_id=team, team=team, mode=mode)
    async with RealEnvoy(bootstrap, directory) as envoy:
        yield Live(running.client, team, envoy)


async def metric(api: httpx.AsyncClient, name: str) -> float:
    """The sum of a metric over its labels."""
    text = (await api.get("/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE))


async def peer_serial(port: int, authority: Path, server_name: str) -> str:
    """The serial number of the certificate shown on a TLS port, verified."""
    context = ssl.create_default_context(cafile=str(authority))
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=server_name)
    try:
        return str(writer.get_extra_info("peercert")["serialNumber"])
    finally:
        writer.close()
        await writer.wait_closed()
