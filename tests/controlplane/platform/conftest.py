"""One control plane for all tests of the Platform API; each test has a team of its own in it."""

from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from headgate.testing.controlplane import RunningControlPlane, running_control_plane
from tests.controlplane.surface import client_of, new_team


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningControlPlane]:
    """A control plane with small limits, and the admin's client."""
    directory = tmp_path_factory.mktemp("platform")
    limits = {"import_max_document_bytes": 20_000_000, "import_max_operations": 2_000}
    async with running_control_plane(directory, **limits) as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def team(running: RunningControlPlane) -> str:
    """A team that has nothing yet."""
    return await new_team(running)


@pytest_asyncio.fixture(loop_scope="session")
async def api(running: RunningControlPlane, team: str) -> AsyncIterator[httpx.AsyncClient]:
    """The admin's client, acting on the team, below `/api/v1`."""
    async with client_of(running, team, "/api/v1") as client:
        yield client
