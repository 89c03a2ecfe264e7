"""Shared by the kit's tests: a clean environment and a log that can be read back."""

import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from headgate.kit.observe.logs import configure_logs


@pytest.fixture
def bare(tmp_path, monkeypatch) -> Iterator[None]:
    """An empty working directory and no variable of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.upper().startswith("HEADGATE_")]:
        monkeypatch.delenv(name)
    return


@pytest.fixture
def logged() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Logs of all levels as JSON; call it for the lines so far."""
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    configure_logs("debug", "json", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:], root.level = before[0], before[1]
