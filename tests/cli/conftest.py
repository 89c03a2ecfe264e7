"""A fake API, and the command line run against it."""

import sys
from dataclasses import dataclass

import pytest

from headgate.cli.root import run
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
