"""Finding Envoy: the setting, the package, the path; and what it calls itself."""

import stat
from pathlib import Path

import pytest

from headgate.dataplane import binary
from headgate.dataplane.binary import envoy_version, find_envoy
from headgate.kit.controls.faults import FailedPrecondition
from headgate.testing.envoy import require_envoy


def program(path: Path, body: str = "exit 0") -> Path:
    """An executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(stat.S_IRWXU)
    return path


def test_the_setting_comes_first(tmp_path):
    """envoy_path wins over the package."""
    assert find_envoy(program(tmp_path / "mine")) == tmp_path / "mine"


def test_a_wrong_setting_is_an_error(tmp_path):
    """A path that is no program is refused with the setting's name, not passed over."""
    with pytest.raises(FailedPrecondition, match="envoy_path") as caught:
        find_envoy(tmp_path / "gone")
    assert caught.value.code == "envoy_not_found"
    assert caught.value.hint


def test_the_package_comes_before_the_path(tmp_path, monkeypatch):
    """Without a setting it is the package's Envoy, and one on PATH only when there is no package."""
    monkeypatch.setenv("PATH", str(program(tmp_path / "bin/envoy").parent))
    monkeypatch.setattr(binary, "_packaged", lambda: tmp_path / "packaged")
    assert find_envoy() == tmp_path / "packaged"
    monkeypatch.setattr(binary, "_packaged", lambda: None)
    assert find_envoy() == tmp_path / "bin/envoy"


def test_no_envoy_says_how_to_get_one(tmp_path, monkeypatch):
    """With none anywhere the fault says what to install or set."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binary, "_packaged", lambda: None)
    with pytest.raises(FailedPrecondition) as caught:
        find_envoy()
    assert "envoy_path" in caught.value.hint


@pytest.mark.envoy
async def test_the_version_of_a_real_envoy():
    """Number and build come from Envoy itself."""
    version = await envoy_version(require_envoy())
    assert version.number.count(".") == 2
    assert version.number in version.build


async def test_what_is_not_envoy_is_said_so(tmp_path):
    """A program that does not answer as Envoy is unusable, and so is one that cannot be run."""
    for path in (
        program(tmp_path / "no"),
        program(tmp_path / "failing", "echo version: 1.2.3; exit 3"),
        tmp_path / "gone",
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await envoy_version(path)
        assert caught.value.code == "envoy_unusable"
