"""A whole control plane for a test: real store, API and xDS server, in this process, on free ports.

    async with running_control_plane(tmp_path) as running:
        answer = await running.client.put("/api/v1/native/clusters/a", json={"endpoints": []})
        envoy = RealEnvoy(bootstrap_for(running.xds_port), tmp_path / "envoy")

The client carries the admin token. Everything is kept below `directory`; opening the same directory
again finds the same data (give `token` then: the first one is made only once).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headgate.controlplane.app import ControlPlane, control_plane
from headgate.controlplane.core.preflight import Gate
from headgate.controlplane.settings import ControlPlaneSettings


@dataclass(frozen=True, slots=True)
class RunningControlPlane:
    """What a test needs of a running control plane."""

    plane: ControlPlane
    client: httpx.AsyncClient
    token: str

    @property
    def url(self) -> str:
        """Where the API answers, such as `http://127.0.0.1:41234`."""
        return self.plane.url

    @property
    def xds_port(self) -> int:
        """The port Envoys connect to, on 127.0.0.1."""
        return self.plane.xds.port

    def client_for(self, token: str | None) -> httpx.AsyncClient:
        """A client with another token, or none; close it."""
        return _client(self.url, token)


def local_settings(directory: Path, **overrides: Any) -> ControlPlaneSettings:
    """Settings for a control plane below `directory`: free ports, short waits, quick ends."""
    values: dict[str, Any] = {
        "state_dir": directory,
        "api_port": 0,
        "xds_port": 0,
        "shutdown_grace": 1.0,
        "poll_interval_ms": 200,
        "replica_id": "test",
    }
    return ControlPlaneSettings(**{**values, **overrides})


@asynccontextmanager
async def running_control_plane(
    directory: Path, *, gate: Gate | None = None, token: str | None = None, **settings: Any
) -> AsyncIterator[RunningControlPlane]:
    """Start a control plane and stop it afterwards. `settings` are fields of ControlPlaneSettings."""
    async with control_plane(local_settings(directory, **settings), gate=gate) as plane:
        known = plane.first_token or token or ""
        async with _client(plane.url, known) as client:
            yield RunningControlPlane(plane, client, known)


def _client(url: str, token: str | None) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=30.0, trust_env=False)
