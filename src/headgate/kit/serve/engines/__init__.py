"""The servers behind `HttpServer`: uvicorn, granian and hypercorn, each made to keep the same promises.

    engine = engine_of("uvicorn")(calls, limits, certificates)
    await engine.start(listener)        # accepting
    await engine.refuse()               # no new connections; idle ones close, calls under way go on
    await engine.finish(5.0)            # what was answered is written out, connections are closed
    await engine.close()                # whatever is left is dropped

What no engine is asked to do: run the application's lifespan, count calls or cancel them, handle signals.
"""

from dataclasses import dataclass
from importlib import import_module
from socket import socket
from typing import Final, Literal, Protocol

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.serve.calls import Calls
from headgate.kit.tls.rotation import Certificates

ServerName = Literal["uvicorn", "granian", "hypercorn"]

_ENGINES: Final = {
    "uvicorn": ("headgate.kit.serve.engines.uvicorn", "UvicornEngine", ("uvicorn", "httptools", "websockets")),
    "granian": ("headgate.kit.serve.engines.granian", "GranianEngine", ("granian",)),
    "hypercorn": ("headgate.kit.serve.engines.hypercorn", "HypercornEngine", ("hypercorn",)),
}


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """How much a connection may take.

    `keep_alive_seconds`: how long an idle connection is kept. `head_seconds`: how long a request's line and headers
    may take to arrive (hypercorn and granian have one time for both, `keep_alive_seconds`). `head_bytes`: their
    size; more is answered 431, or 400 by hypercorn when it comes in pieces; granian allows no less than 8192.
    `backlog`: connections that wait to be accepted. `websocket_bytes`: the size of a WebSocket message; more closes
    with 1009. `websocket_ping_seconds`: how often an open WebSocket is pinged, 0 never; granian does not ping.
    """

    keep_alive_seconds: float = 75.0
    head_seconds: float = 30.0
    head_bytes: int = 65_536
    backlog: int = 4096
    websocket_bytes: int = 1_048_576
    websocket_ping_seconds: float = 20.0


class Engine(Protocol):
    """One HTTP server. Methods are called in the order they stand here; `close` may come at any time."""

    def __init__(self, calls: Calls, limits: HttpLimits, certificates: Certificates | None) -> None: ...

    async def start(self, listener: socket) -> None:
        """Accept connections. The listener is the engine's from now on."""

    async def wait(self) -> None:
        """Return or raise when it stops by itself, which it should not."""

    async def refuse(self) -> None:
        """Take no new connections, and close those that are idle. What is under way goes on, WebSockets too."""

    async def finish(self, seconds: float) -> None:
        """Wait at most so long until all connections are closed."""

    async def close(self) -> None:
        """Drop all that is left."""


def engine_of(server: str) -> type[Engine]:
    """The engine called `server`. Raises InvalidArgument (`unknown_server`), FailedPrecondition (`extra_missing`)."""
    if server not in _ENGINES:
        raise InvalidArgument(
            f"there is no server '{server}'", code="unknown_server", hint=f"choose one of {', '.join(_ENGINES)}"
        )
    module, name, packages = _ENGINES[server]
    try:
        engine: type[Engine] = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in packages:
            raise
        raise FailedPrecondition(
            f"the server {server} needs the package {error.name}",
            code="extra_missing",
            hint=f"pip install 'headgate[{server}]'",
        ) from error
    return engine
