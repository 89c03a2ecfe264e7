"""One control plane for all tests of the Native API; each test has a team of its own in it."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import RunningControlPlane, running_control_plane
from tests.controlplane.native.samples import certificate
from tests.controlplane.surface import client_of, new_team


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningControlPlane]:
    """A control plane, with the admin's client."""
    async with running_control_plane(tmp_path_factory.mktemp("native")) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def team(running: RunningControlPlane) -> str:
    """A team that has nothing yet."""
    return await new_team(running)


@pytest_asyncio.fixture(loop_scope="session")
async def api(running: RunningControlPlane, team: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin's client, acting on the team, below `/api/v1/native`."""
    async with client_of(running, team, "/api/v1/native") as client:
        yield client


@pytest.fixture(scope="session")
def pem() -> dict[str, str]:
    """A self-signed certificate and its key: {"certificate_chain", "private_key"}."""
    return certificate("api.example.com")
