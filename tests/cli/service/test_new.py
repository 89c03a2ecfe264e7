"""`headgate new`: what a new project is."""

import json
import subprocess
import sys

import pytest

from tests.cli.service.conftest import SLOW, environment, json_of, spawned


def tool(folder, *arguments):
    """Run a tool in a project."""
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("template", SLOW)
def test_tests_pass(project, template):
    """The tests of a new project pass."""
    done = tool(project(template), "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


@pytest.mark.parametrize("template", SLOW)
def test_is_typed(project, template, tmp_path):
    """A new project passes mypy in its strict mode."""
    done = tool(project(template), "mypy", "--cache-dir", str(tmp_path / "cache"))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("template", SLOW)
def test_contract_is_kept(project, template):
    """A new project is committed with the locks of its contracts."""
    done = spawned("-o", "json", "contract", "check", cwd=project(template))
    assert [each["state"] for each in json.loads(done.stdout)] == ["kept"] * (2 if template == "full" else 1)


def test_same_names_same_bytes(tmp_path):
    """The same name and template give the same files, to the byte."""
    made = []
    for place in (tmp_path / "one", tmp_path / "two"):
        place.mkdir()
        assert spawned("new", "hello", cwd=place).returncode == 0
        made.append({each.relative_to(place): each.read_bytes() for each in place.rglob("*") if each.is_file()})
    assert len(made[0]) > 10
    assert made[0] == made[1]


def test_nothing_is_overwritten(headgate, tmp_path, monkeypatch):
    """A directory that holds something is refused, and stays as it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "notes").write_text("mine")
    done = headgate("new", "hello")
    assert (done.code, "is there already" in done.err) == (1, True)
    assert [each.name for each in tmp_path.rglob("*")] == ["hello", "notes"]


def test_dry_run(headgate, tmp_path, monkeypatch):
    """--dry-run lists the files and writes none."""
    monkeypatch.chdir(tmp_path)
    told = json_of(headgate("-o", "json", "new", "hello", "--dry-run"))
    assert "src/hello/api.py" in told["files"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "hint"), [("Hello", "hello"), ("class", "class-service"), ("json", "json-service")])
def test_bad_names(headgate, tmp_path, monkeypatch, name, hint):
    """A name that Python or the wire cannot have is usage, and a good one is offered."""
    monkeypatch.chdir(tmp_path)
    done = headgate("new", name)
    assert (done.code, f"such as {hint}" in done.err) == (2, True), done.err
    assert list(tmp_path.iterdir()) == []
