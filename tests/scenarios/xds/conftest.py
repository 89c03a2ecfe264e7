"""A server and a client for each scenario; every scenario runs in all modes unless it says otherwise."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headgate.controlplane.settings import ControlPlaneSettings
from headgate.testing.controlplane import local_settings
from headgate.testing.xds import Mode, XdsClient
from tests.scenarios.xds.rig import MODES, Rig, serving
from tests.scenarios.xds.world import Source


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name modes and types shortly."""
    if isinstance(val, Mode):
        return str(val)
    return val.rsplit(".", 1)[-1] if isinstance(val, str) and val.startswith("type.googleapis.com/") else None


@pytest.fixture(params=MODES, ids=str)
def mode(request: pytest.FixtureRequest) -> Mode:
    """How the client speaks."""
    found: Mode = request.param
    return found


@pytest.fixture
def settings(tmp_path: Path) -> ControlPlaneSettings:
    """Settings on free ports."""
    return local_settings(tmp_path)


@pytest.fixture
async def rig(settings: ControlPlaneSettings) -> AsyncIterator[Rig]:
    """A running server."""
    async with serving(settings) as made:
        yield made


@pytest.fixture
def source(rig: Rig) -> Source:
    """What the server serves."""
    found: Source = rig.source
    return found


@pytest.fixture
async def client(rig: Rig, mode: Mode) -> AsyncIterator[XdsClient]:
    """A dataplane."""
    async with rig.client(mode) as made:
        yield made
