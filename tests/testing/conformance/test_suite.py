"""The suite itself: what it finds, and how it says so."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.kit.serve.http import HttpServer
from headgate.testing.conformance import CHECKS, Target, run_checks
from headgate.testing.conformance.__main__ import main
from headgate.testing.conformance.apps import app_of

HARDENED = """
from starlette.applications import Starlette
from headgate.kit import HardeningSettings, harden
app = harden(Starlette(), HardeningSettings(rate_limit_default="off"))
"""


@asynccontextmanager
async def bare() -> AsyncIterator[Target]:
    """The order service with nothing round it."""
    server = HttpServer(app_of("starlette"), host="127.0.0.1", port=0, setting="port")
    await server.start()
    try:
        yield Target(server.url)
    finally:
        await server.stop()


def test_every_check_says_its_rule() -> None:
    """A check has a sentence that says what it holds the service to."""
    assert len(CHECKS) > 35
    assert [check.name for check in CHECKS.values() if not check.rule.endswith(".")] == []


async def test_a_bare_application_fails() -> None:
    """What is not hardened is found out: hardly a rule holds, and each failure says what was seen."""
    async with bare() as target:
        outcomes = await run_checks(target, ("any", "rest", "sse"), timeout=3)
    failed = {outcome.check.name: outcome.why for outcome in outcomes if not outcome.passed}
    assert {"unknown_path", "request_id_kept", "announced_body", "chunked_body", "validation", "events_fail"} <= set(
        failed
    )
    assert all(failed.values())


def test_an_application_is_checked_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`MODULE:APP` is started, checked and stopped; every rule holds for an application hardened in one line."""
    (tmp_path / "hardened_shop.py").write_text(HARDENED)
    monkeypatch.chdir(tmp_path)
    assert main(["hardened_shop:app"]) == 0
    said = capsys.readouterr().out
    assert "ok   unknown_path" in said
    assert said.endswith("0 do not\n")
    sys.modules.pop("hardened_shop")


@pytest.mark.parametrize("target", ["no_such_module:app", "json:no_such_app"])
def test_a_bad_target_is_told(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be loaded is exit code 2 and a line that says why."""
    assert main([target]) == 2
    assert f"{target} cannot be checked" in capsys.readouterr().err


def test_nobody_there_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A service that does not answer holds no rule."""
    assert main(["http://127.0.0.1:9"]) == 1
    assert "0 rules hold" in capsys.readouterr().out
