"""The suite as tests of a project's own."""

import subprocess
import sys
from pathlib import Path

HARDENED = """
from starlette.applications import Starlette
from headgate.kit import HardeningSettings, harden
app = harden(Starlette(), HardeningSettings(rate_limit_default="off"))
"""


def pytest_in(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest as a project would."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_each_rule_is_a_test(tmp_path: Path) -> None:
    """The option adds a passing test for each rule to the project's own."""
    (tmp_path / "shop.py").write_text(HARDENED)
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = pytest_in(tmp_path, "--headgate-conformance", "shop:app")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 passed" in done.stdout


def test_a_broken_rule_fails(tmp_path: Path) -> None:
    """An application that breaks a rule fails that test, which says the rule and what was seen."""
    (tmp_path / "shop.py").write_text(
        HARDENED.replace("rate_limit_default", "security_headers=False, rate_limit_default")
    )
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    done = pytest_in(tmp_path, "--headgate-conformance", "shop:app")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "404 lacks content-security-policy" in done.stdout


def test_without_the_option_nothing_is_added(tmp_path: Path) -> None:
    """A project that does not ask for the suite does not get it."""
    (tmp_path / "test_own.py").write_text("def test_own(): pass\n")
    assert "1 passed" in pytest_in(tmp_path).stdout
