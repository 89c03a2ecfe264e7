"""From nothing to the first answer."""

import json
import time

from tests.cli.service.conftest import running, spawned

SECONDS = 10.0
"""What is promised of `headgate new hello && cd hello && headgate run` and the first call."""


def test_first_call(tmp_path):
    """A new project is made, runs, and has answered its first call within ten seconds; then it ends in order."""
    began = time.monotonic()
    assert spawned("new", "hello", cwd=tmp_path).returncode == 0
    with running(tmp_path / "hello") as run:
        run.wait("ready: 1 of 1")
        done = spawned("call", "hello/Hello", '{"name": "Ada"}', cwd=tmp_path / "hello")
        took = time.monotonic() - began
        assert json.loads(done.stdout) == {"text": "Hello, Ada!", "language": "en"}
        assert run.stop() == 0, run.text
    assert "stopped" in run.text
    assert took < SECONDS, f"{took:.1f} s; what it said:\n{run.text}"
