"""`python -m headgate.kit`: an application, hardened and served, with settings as flags."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from headgate.kit.runner import main
from headgate.testing.conformance.suite import Target, run_checks

SHOP = """
from headgate.testing.conformance.apps import app_of
from headgate.testing.conformance.orders_rpc import add_orders

def app():
    return app_of("starlette")

def hardened():
    from headgate.kit import harden
    return harden(app())
"""


@contextmanager
def served(project: Path, *flags: str, app: str = "shop:app") -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """The shop on free ports: its process, its URL, and where it speaks gRPC."""
    (project / "shop.py").write_text(SHOP)
    log = project / "log.jsonl"
    command = [sys.executable, "-m", "headgate.kit", app, "--rpc", "shop:add_orders", "--log-format", "json"]
    limits = ["--rate-limit-default", "off", "--port", "0", "--grpc-port", "0"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [*command, *limits, *flags], cwd=project, stderr=stream, text=True, env={**os.environ, "PYTHONPATH": "."}
        )
        try:
            yield (
                process,
                _wait(process, log, r'"serving".*"url":"(http://[^"]+)"'),
                _wait(process, log, r'"serving gRPC".*"address":"([^"]+)"'),
            )
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[str], log: Path, pattern: str) -> str:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_and_stops(tmp_path: Path, workers: str) -> None:
    """One process or several answer HTTP and gRPC by the rules, and SIGTERM ends them with exit code 0."""
    with served(tmp_path, "--workers", workers, "--metrics-public") as (process, url, grpc):
        outcomes = asyncio.run(run_checks(Target(url, grpc), ("any", "grpc", "connect")))
        assert {outcome.check.name: outcome.why for outcome in outcomes if not outcome.passed} == {}
        for _ in range(5):
            assert httpx.get(f"{url}/orders/1").status_code == 200
        counted = re.search(
            r'headgate_requests_total\{.*"/orders/\{order\}".*\} (\S+)', httpx.get(f"{url}/metrics").text
        )
        assert counted is not None
        assert float(counted[1]) == 5
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_an_application_that_is_hardened_already_is_not_hardened_again(tmp_path: Path) -> None:
    """Its answers carry each header once, also where several workers serve it."""
    with served(tmp_path, "--workers", "2", app="shop:hardened") as (_, url, _grpc):
        assert len(httpx.get(f"{url}/orders/1").headers.get_list("x-request-id")) == 1


def test_another_server_s_log_is_the_kit_s(tmp_path: Path) -> None:
    """Under a server that sets up no logs, a hardened application's lines are those of the settings."""
    (tmp_path / "shop.py").write_text(SHOP)
    command = [sys.executable, "-m", "uvicorn", "--factory", "shop:hardened", "--port", "0", "--no-access-log"]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=tmp_path, stderr=stream, env={**os.environ, "PYTHONPATH": ".", "LOG_FORMAT": "json"}
        )
        try:
            url = _wait(process, log, r"running on (http://[0-9.:]+)")
            httpx.get(f"{url}/orders/1")
            assert _wait(process, log, r'"event":"request".*"path":"(/orders/1)"')
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["shop:app", "--prot", "1"], "did you mean --port?"),
        (["shop:app", "--port", "nine"], "port"),
        (["no_such_module:app"], "there is no module 'no_such_module'"),
        (["json:no_such_app"], "'json:no_such_app' has no 'no_such_app'"),
        (["shop:app", "--rpc"], "--rpc needs MODULE:ADD"),
        ([], "usage: python -m headgate.kit"),
        (["shop:app", "--workers", "2", "--metrics-port", "9100"], "scrape /metrics at the HTTP port"),
        (["shop:app", "--profile", "production"], "nobody could prove who they are"),
    ],
)
def test_what_cannot_be_is_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong flag, value or name ends it with code 2 and a line that says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (tmp_path / "shop.py").write_text(SHOP)
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert said in told
