"""The three words to learn: `make up`, `make test`, `make check`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MAKEFILE = Path(__file__).parents[2] / "Makefile"
STUB = '#!/bin/sh\necho "$(basename "$0") $*" >> calls\n'


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose virtualenv holds stubs that write down how they are called."""
    if not shutil.which("make"):
        pytest.fail("needs make") if os.environ.get("CI") else pytest.skip("needs make")
    shutil.copy(MAKEFILE, tmp_path)
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "constraints.txt").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "headgate"):
        (programs / name).write_text(STUB)
        (programs / name).chmod(0o755)
    return tmp_path


def make(checkout, *arguments):
    """Run make, as if no make ran this test; return what it did and what was called."""
    outer = {"ARGS", "ONLY", "MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"}
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = checkout / "calls"
    called = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return done, called


def test_help_is_the_menu(checkout):
    """Bare make shows every target with a line of what it does."""
    done, called = make(checkout)
    targets = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert {"up", "test", "check", "bench", "soak", "help"} <= set(targets)
    assert not called


def test_up_installs_once(checkout):
    """The first `make up` installs with the pinned versions, the second only starts."""
    done, called = make(checkout, "up", "ARGS=--no-demo")
    assert done.returncode == 0, done.stderr
    installs = [call for call in called if "pip" in call and "install" in call]
    assert len(installs) == 1
    assert "-c constraints.txt -e .[all]" in installs[0]
    assert called[-1] == "headgate up --no-demo"
    assert make(checkout, "up")[1] == ["headgate up"]


def test_up_installs_again_when_the_pins_change(checkout):
    """New pins are installed at the next start."""
    make(checkout, "up")
    stamp = (checkout / ".venv" / ".run").stat().st_mtime
    os.utime(checkout / "constraints.txt", (stamp + 10, stamp + 10))
    assert any("install" in call for call in make(checkout, "up")[1])


def test_old_python_is_named(checkout):
    """An interpreter that is too old is refused with what to type."""
    old = checkout / "old-python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done, _ = make(checkout, f"PYTHON={old}", "up")
    assert done.returncode != 0
    assert "Headgate needs Python 3.11 or newer" in done.stderr
