"""A fake API, and the command line run against it."""

import secrets
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx
import pytest

from headgate.cli.root import run
from headgate.dataplane.leash import leashed
from headgate.testing.server import free_port
from tests.cli.api import running


@pytest.fixture(scope="session")
def api_server():
    """One server for all tests."""
    with running() as api:
        yield api


@pytest.fixture
def api(api_server, monkeypatch, tmp_path):
    """A fake API that knows nothing yet, as the API of the command line, in an empty directory."""
    api_server.answers = {"GET /api/v1/native/dataplanes": {"items": [], "total": 0, "next_cursor": ""}}
    api_server.asked = []
    for name in ("HEADGATE_TEAM", "HEADGATE_OUTPUT", "HEADGATE_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_API", api_server.url)
    monkeypatch.setenv("HEADGATE_TOKEN", "hg_test")
    return api_server


@dataclass
class Result:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def headgate(monkeypatch, capsys):
    """Run a command in this process, through the same door as the script."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["headgate", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        captured = capsys.readouterr()
        return Result(left.value.code or 0, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory):
    """A real control plane in a process of its own, on a new database: its URL, token and xDS port."""
    directory = tmp_path_factory.mktemp("control-plane")
    ports = {"api_port": free_port(), "xds_port": free_port(), "gateway_port": free_port()}
    flags = [f"--{name.replace('_', '-')}={port}" for name, port in ports.items()]
    files = [f"--state-dir={directory}", f"--admin-token-file={directory / 'admin-token'}", "--preflight=off"]
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            leashed([sys.executable, "-m", "headgate.cli", "serve", *flags, *files]),
            stdout=log,
            stderr=log,
            cwd=directory,
        )
    deadline = time.monotonic() + 60
    while not (directory / "admin-token").exists() or not (directory / "admin-token").read_text().endswith("\n"):
        assert process.poll() is None, (directory / "log").read_text()
        assert time.monotonic() < deadline, (directory / "log").read_text()
        time.sleep(0.05)
    yield Plane(f"http://127.0.0.1:{ports['api_port']}", (directory / "admin-token").read_text().strip(), ports)
    process.terminate()
    process.wait(30)


@dataclass
class Plane:
    """A running control plane."""

    url: str
    token: str
    ports: dict[str, int]


@pytest.fixture
def plane(control_plane, monkeypatch, tmp_path):
    """The real control plane as the API of the command line, acting for a team of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADGATE_API", control_plane.url)
    monkeypatch.setenv("HEADGATE_TOKEN", control_plane.token)
    team = f"team-{secrets.token_hex(4)}"
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    httpx.post(f"{control_plane.url}/api/v1/teams", json={"name": team}, headers=headers).raise_for_status()
    monkeypatch.setenv("HEADGATE_TEAM", team)
    return control_plane
