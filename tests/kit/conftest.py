"""Shared by the kit's tests: a clean environment."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Iterator[None]:
    """An empty working directory and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HEADGATE_")]:
        monkeypatch.delenv(name)
    return
