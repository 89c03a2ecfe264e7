"""What the real servers of tests have in common: a directory and a port of their own, outages, and an end.

class Shop(Server):
    def __init__(self) -> None:
        super().__init__("shop")            # its directory is self.directory

    pid: int = ...                          # and `start`, `stop`

with running(Shop()) as shop:               # in a test `running_or_skip(Shop, "a shop")`
    shop.pause()                            # connections stay open, and hang
    shop.resume()
"""

import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

HOST = "127.0.0.1"


def free_port(host: str = HOST) -> int:
    """Return a TCP port nobody listens on, below the range that outgoing connections take theirs from."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = 12_000 + secrets.randbelow(20_000)
        with socket.socket(family, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.bind((host, port))
            return port


def freeze(pid: int) -> None:
    """Stop a child process with SIGSTOP. Its threads run on until it hears of that, so wait until they stand still."""
    os.kill(pid, signal.SIGSTOP)
    with suppress(ChildProcessError, AttributeError):  # it is another's child; there is no waitid on macOS
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)


class Server:
    """A process on a port that it keeps over restarts; 0 before the first."""

    def __init__(self, name: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"headgate-{name}-"))
        self.port = 0
        self._paused = False

    @property
    def pid(self) -> int:
        """Its process; 0 when there is none."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, on the port it had before when there was one. Returns when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Kill it, as an outage would."""
        raise NotImplementedError

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers. Returns when all of its threads stand still."""
        freeze(self.pid)
        self._paused = True

    def resume(self) -> None:
        """Let it go on after `pause`."""
        if self._paused:
            self._paused = False
            os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its directory."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


S = TypeVar("S", bound=Server)


@contextmanager
def running(server: S) -> Iterator[S]:
    """The server, started; gone afterwards."""
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def running_or_skip(make: Callable[[], S], what: str) -> Iterator[S]:
    """The same; without what `make` imports the test is skipped and says `what` it needs, unless CI is set."""
    import pytest

    try:
        server = make()
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs {what}: {error}")
    with running(server):
        yield server
