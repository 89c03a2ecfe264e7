"""The platform under measurement: `headgate up` in a directory of its own, on free ports."""

import asyncio
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.traffic import Caller
from headgate.testing.server import free_port

START_LIMIT = 60.0


@dataclass
class Platform:
    """A running platform: its ports, its token's client, its directory and its process."""

    api: httpx.AsyncClient
    api_port: int
    xds_port: int
    gateway_port: int
    state: Path
    process: asyncio.subprocess.Process

    async def call(self, method: str, path: str, document: Any = None, **options: Any) -> Any:
        """Call the API; return its JSON. Raises for any status but 2xx."""
        answer = await self.api.request(method, path, json=document, **options)
        if answer.is_error:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer.json() if answer.content else None

    async def acknowledged(self, limit: float = 30.0) -> None:
        """Wait until every connected dataplane runs the newest revision."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            items = (await self.call("GET", "/api/v1/native/dataplanes"))["items"]
            connected = [item for item in items if item["connected"]]
            if connected and all(item["revision_acked"] >= item["revision_wanted"] for item in connected):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError(f"no dataplane acknowledged the newest revision within {limit} s")

    def control_plane(self) -> psutil.Process:
        """The process of the control plane."""
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if "serve" in child.cmdline():
                return child
        raise LookupError("no control-plane process below `headgate up`")


def free_ports() -> dict[str, int]:
    """Ports for a platform."""
    return {name: free_port() for name in ("api", "xds", "gateway", "admin", "demo")}


@asynccontextmanager
async def platform(
    state: Path | None = None,
    *,
    demo: bool = False,
    command: tuple[str, ...] = (),
    ports: Mapping[str, int] | None = None,
    **environment: str,
) -> AsyncIterator[Platform]:
    """Start the platform, wait until its API is ready, and stop it afterwards."""
    with tempfile.TemporaryDirectory(prefix="headgate-bench-") as directory:
        state = state or Path(directory)
        ports = ports or free_ports()
        flags = [f"--{name}-port={port}" for name, port in ports.items()]
        flags += [f"--state-dir={state}", *([] if demo else ["--no-demo"])]
        start = (
            [*command, f"ARGS={' '.join(flags)}"] if command else [sys.executable, "-m", "headgate.cli", "up", *flags]
        )
        with (state / "up.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *start, stdout=log, stderr=log, env={**os.environ, **_prefixed(environment)}, start_new_session=True
            )
        try:
            token = await _token(state, process)
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{ports['api']}", headers={"authorization": f"Bearer {token}"}, timeout=60
            ) as api:
                running = Platform(api, ports["api"], ports["xds"], ports["gateway"], state, process)
                await _ready(running)
                yield running
        finally:
            await _stop(process)


def _prefixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {f"HEADGATE_{name.upper()}": value for name, value in environment.items()}


async def _token(state: Path, process: asyncio.subprocess.Process) -> str:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.returncode is None:
        file = state / "admin-token"
        if file.exists() and (text := file.read_text().strip()):
            return text
        await asyncio.sleep(0.02)
    raise RuntimeError(f"the platform did not start:\n{(state / 'up.log').read_text()[-4000:]}")


async def _ready(running: Platform) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        try:
            if (await running.api.get("/ready")).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.02)
    raise RuntimeError(f"the platform is not ready:\n{(running.state / 'up.log').read_text()[-4000:]}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), 30)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def until_answered(port: int, path: str, wanted: bytes | None = None, limit: float = 60.0) -> float:
    """Ask until the answer is 200 (and its body is `wanted`); return when that was (`time.perf_counter`)."""
    caller = Caller(port)
    deadline = time.perf_counter() + limit
    try:
        while time.perf_counter() < deadline:
            try:
                status, body = await caller.get(path)
            except (OSError, asyncio.IncompleteReadError):
                caller.close()
                await asyncio.sleep(0.005)
                continue
            if status == httpx.codes.OK and wanted in (None, body):
                return time.perf_counter()
            await asyncio.sleep(0)
    finally:
        caller.close()
    raise TimeoutError(f"{path} did not answer as wanted within {limit} s")


def cluster(port: int) -> dict[str, Any]:
    """A cluster of one endpoint on loopback."""
    return {"endpoints": [{"address": "127.0.0.1", "port": port}]}


def forward(name: str, path: str, target: str) -> dict[str, Any]:
    """A route of an exact path to a cluster."""
    return {"name": name, "match": {"path": {"exact": path}}, "forward": {"cluster": target}}


def listener(port: int, route_config: str) -> dict[str, Any]:
    """A plain HTTP listener."""
    return {"port": port, "filter_chains": [{"name": "http", "http": {"route_config": route_config}}]}
