"""One control plane for all tests of the Native API; each test has a team of its own in it."""

import itertools
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import RunningControlPlane, running_control_plane
from tests.controlplane.native.samples import certificate

_numbers = itertools.count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningControlPlane]:
    """A control plane, with the admin's client."""
    async with running_control_plane(tmp_path_factory.mktemp("native")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def team(running: RunningControlPlane) -> str:
    """A team that has nothing yet."""
    name = f"team-{next(_numbers)}"
    answer = await running.client.post("/api/v1/teams", json={"name": name})
    assert answer.status_code == 201, answer.text
    return name


@pytest_asyncio.fixture(loop_scope="session")
async def api(running: RunningControlPlane, team: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin's client, acting on the team, below `/api/v1/native`."""
    headers = {"authorization": f"Bearer {running.token}", "x-headgate-team": team}
    async with httpx.AsyncClient(base_url=f"{running.url}/api/v1/native", headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def pem() -> dict[str, str]:
    """A self-signed certificate and its key: {"certificate_chain", "private_key"}."""
    return certificate("api.example.com")
