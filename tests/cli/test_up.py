"""The pieces of `headgate up`."""

import json
import os
import socket
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from headgate.cli.failures import Failure
from headgate.cli.up.lock import Lock
from headgate.cli.up.logs import Important, LogFile
from headgate.cli.up.plan import Plan, examples
from headgate.controlplane.settings import ControlPlaneSettings
from headgate.dataplane.settings import DataplaneSettings
from headgate.kit.controls.faults import FailedPrecondition
from headgate.testing.server import free_port


def plan(tmp_path, **changes):
    """Return a plan on free ports."""
    ports = {"api_port": free_port(), "xds_port": free_port(), "gateway_port": free_port(), **changes}
    flags = {name: value for name, value in ports.items() if name != "demo_port"}
    return Plan(
        ControlPlaneSettings(state_dir=tmp_path, **flags),
        DataplaneSettings(envoy_admin_port=free_port()),
        flags,
        None,
        demo=True,
        demo_port=changes.get("demo_port", free_port()),
    )


def test_lock_is_held_once(tmp_path):
    """A second one in the same directory is refused, and told who has it; afterwards it is free."""
    lock = Lock(tmp_path)
    with pytest.raises(Failure, match=rf"runs already in .* \(pid {os.getpid()}\)"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()


def test_lock_dies_with_its_holder(tmp_path):
    """A holder that was killed does not keep the lock."""
    script = (
        "import os, sys, pathlib; from headgate.cli.up.lock import Lock\nLock(pathlib.Path(sys.argv[1])); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False).returncode == 9
    Lock(tmp_path).release()


@pytest.mark.parametrize("setting", ["api_port", "xds_port", "gateway_port", "demo_port"])
def test_taken_port_names_its_setting(tmp_path, setting):
    """A port that is taken is refused before anything starts, by the name of its setting."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(FailedPrecondition, match=rf"^{setting}: 127\.0\.0\.1:\d+ is in use") as refused:
            plan(tmp_path, **{setting: taken.getsockname()[1]}).check()
    assert f"--{setting.replace('_', '-')}" in refused.value.hint


def test_one_port_twice(tmp_path):
    """Two settings with one port are refused by their names."""
    port = free_port()
    with pytest.raises(Failure, match="api_port and gateway_port are both"):
        plan(tmp_path, api_port=port, gateway_port=port).check()


def test_port_nought(tmp_path):
    """A port that nobody can know beforehand is refused."""
    with pytest.raises(Failure, match="xds_port is 0"):
        plan(tmp_path, xds_port=0).check()


def test_children_get_what_was_given(tmp_path):
    """Flags go on to `headgate serve`, as they were given, with where the token is to be kept."""
    made = plan(tmp_path)
    command = made.serve_command()
    assert f"--api-port={made.control.api_port}" in command
    assert f"--admin-token-file={tmp_path / 'admin-token'}" in command
    assert made.bootstrap()["node"]["id"] == "local"


@pytest.mark.parametrize(
    ("host", "url"), [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("::1", "http://[::1]:80")]
)
def test_urls_lead_somewhere(tmp_path, host, url):
    """The URLs that are printed can be pasted, even when the server listens on every address."""
    settings = ControlPlaneSettings(state_dir=tmp_path, api_host=host, api_port=80)
    made = Plan(settings, DataplaneSettings(), {}, None, demo=False, demo_port=1)
    assert made.api == url


def test_examples_are_found():
    """The bookshop is found in the repository."""
    assert (examples() / "bookshop" / "openapi.json").is_file()


def test_log_files_are_bounded(tmp_path):
    """A log is turned when it is full, and two old ones are kept."""
    log = LogFile(tmp_path / "a.log", largest=100)
    for number in range(100):
        log(f"line {number:04}\n".encode())
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["a.log", "a.log.1", "a.log.2"]
    assert all(file.stat().st_size < 200 for file in tmp_path.iterdir())
    assert (tmp_path / "a.log").read_text().endswith("line 0099\n")


def test_full_disk_costs_lines_only():
    """A log that cannot be written does not stop the platform."""
    from pathlib import Path

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    LogFile(Path("/dev/full"))(b"a line\n")


def test_important_lines():
    """Errors of a JSON log come through as one line each; all else, and what is no JSON, does not."""
    said = []
    important = Important(said.append)
    for entry in (
        {"level": "info", "event": "serving"},
        {"level": "error", "event": "push failed", "exception": "Traceback\n  ...\nValueError: x"},
        {"level": "CRITICAL", "event": "gone"},
    ):
        important(json.dumps(entry))
    for line in ("plain text", "[1]", "null", ""):
        important(line)
    assert said == ["push failed: ValueError: x", "gone"]


def test_state_is_private(tmp_path, headgate, monkeypatch):
    """The state directory is made for its owner only, even when the start is refused."""
    monkeypatch.chdir(tmp_path)
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = headgate("up", "--api-port", taken.getsockname()[1], "--state-dir", tmp_path / "state")
    assert result.code == 1
    assert "api_port: 127.0.0.1:" in result.err
    assert result.err.count("--api-port") == 1
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_bad_setting_is_usage(headgate, tmp_path, monkeypatch):
    """A flag that is no port is wrong usage and is named."""
    monkeypatch.chdir(tmp_path)
    result = headgate("up", "--gateway-port", "none")
    assert result.code == 2
    assert "gateway_port: flag --gateway-port is 'none'" in result.err
