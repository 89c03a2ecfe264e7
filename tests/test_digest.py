"""A run that fails, or breaks off, says so in its last lines."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "test_a.py": """
import os
import pytest

@pytest.fixture
def bad():
    raise ValueError("no set-up")

def test_set_up(bad): pass
def test_well(): pass
def test_half_a_character(): assert "\\ud800" == "x"
""",
    "test_b.py": """
import os

def test_worker_dies(): os._exit(3)
""",
}


def run(directory: Path, *arguments: str, **environment: str) -> list[str]:
    """What pytest says with the plugin, in lines."""
    (directory / "conftest.py").write_text("from tests.digest import register as pytest_configure\n")
    for name, text in TESTS.items():
        (directory / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=directory,
        env={"PYTHONPATH": str(ROOT), "PATH": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 1, done.stdout  # 3 would be a run that broke off
    return done.stdout.splitlines()


def test_what_failed_comes_last(tmp_path: Path) -> None:
    """Each failure is a line with its reason, also of a dead worker; a report of half a character breaks nothing."""
    said = run(tmp_path, "-n", "2", CI="1")
    assert "--- what failed" in said, "\n".join(said)
    told = said[said.index("--- what failed") + 1 :]
    assert told[-1].endswith(")")
    assert "MiB of memory" in told[-1]
    for part in (
        "test_a.py::test_set_up (setup): ValueError: no set-up",
        "test_a.py::test_half_a_character (call): AssertionError",
        "is gone: Not properly terminated",
        "crashed while running 'test_b.py::test_worker_dies'",
    ):
        assert any(part in line for line in told), (part, said)
    assert not any("test_well" in line for line in told)


def test_nothing_is_added_elsewhere(tmp_path: Path) -> None:
    """Who runs tests by hand has pytest's own summary."""
    assert "--- what failed" not in run(tmp_path, "-n", "0", "test_a.py")
