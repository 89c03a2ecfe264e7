"""`headgate up` as a user runs it: a process in a directory, on free ports."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import psutil

from headgate.dataplane.leash import leashed
from headgate.testing.envoy import require_envoy
from headgate.testing.server import free_port

HEADGATE = [sys.executable, "-m", "headgate.cli"]
SETTINGS = ("api_port", "xds_port", "gateway_port", "admin_port", "demo_port")


def free_ports() -> dict[str, int]:
    """Return a port for each setting of `headgate up`."""
    return {setting: free_port() for setting in SETTINGS}


def environment() -> dict[str, str]:
    """Return the environment without what would steer the command line."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")}


class Up:
    """A running `headgate up`. As a context manager it is stopped by Ctrl-C at the end."""

    def __init__(
        self, directory: Path, ports: dict[str, int], *arguments: str, variables: Mapping[str, str] | None = None
    ) -> None:
        require_envoy()
        self.directory = directory
        self.ports = ports
        self.output: list[str] = []
        flags = [f"--{setting.replace('_', '-')}={port}" for setting, port in ports.items()]
        self.process = subprocess.Popen(
            leashed([*HEADGATE, "up", *flags, *arguments]),
            cwd=directory,
            env={**environment(), **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def text(self) -> str:
        """All it printed so far."""
        return "".join(self.output)

    @property
    def gateway(self) -> str:
        """The URL of the gateway."""
        return f"http://127.0.0.1:{self.ports['gateway_port']}"

    @property
    def api(self) -> str:
        """The URL of the API."""
        return f"http://127.0.0.1:{self.ports['api_port']}"

    @property
    def token(self) -> str:
        """The admin token it left."""
        return (self.directory / ".headgate" / "admin-token").read_text().strip()

    def wait_ready(self, within: float = 60.0) -> Self:
        """Wait until it has printed its table."""
        self.wait_for(r"Try:\n(.|\n)*curl .*\n\s*curl .*\n\s*curl .*\n", within)
        return self

    def wait_for(self, pattern: str, within: float = 60.0) -> None:
        """Wait until what it printed has something that matches."""
        deadline = time.monotonic() + within
        while not re.search(pattern, self.text):
            assert self.process.poll() is None, f"left with {self.process.returncode}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {pattern} in:\n{self.text}\n{self.logs()}"
            time.sleep(0.02)

    def curls(self) -> list[str]:
        """The curl lines it printed."""
        return [line.strip() for line in self.text.splitlines() if line.strip().startswith("curl ")]

    def family(self) -> list[psutil.Process]:
        """Itself and all its children."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def child(self, part: str) -> psutil.Process:
        """The child whose command line holds a text."""
        return next(one for one in self.family()[1:] if any(part in word for word in one.cmdline()))

    def run(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """Run another command in the same directory."""
        return run(self.directory, *arguments, **how)

    def stop(self, how: signal.Signals = signal.SIGINT, within: float = 30.0) -> int:
        """Send a signal and wait until it is gone."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(within)
        self._reader.join(5)
        return code

    def logs(self) -> str:
        """The end of every log."""
        return "\n".join(f"== {file.name}\n{file.read_text()[-3000:]}" for file in self.directory.rglob("*.log"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise

    def _read(self) -> None:
        assert self.process.stdout
        self.output.extend(iter(self.process.stdout.readline, ""))


def run(directory: Path, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run a command in a directory, without a terminal."""
    return subprocess.run(
        [*HEADGATE, *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )
