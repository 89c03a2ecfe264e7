"""Other things with a start and an end as parts of what a process serves.

serving.add(Adapted(broker, name="broker"))         # broker.start(), broker.stop(grace)
code = await serve(app, port=8080, grpc=grpc_server)
"""

import asyncio
import inspect
from typing import Any, Protocol

from headgate.kit.serve.ports import ensure_free
from headgate.kit.tls.rotation import Certificates


class StartStop(Protocol):
    """What has a start and an end. `stop` waits at most `grace` seconds for what is under way, then cancels it."""

    async def start(self) -> Any:
        """Begin."""

    async def stop(self, grace: float) -> Any:
        """End."""


class Adapted:
    """`thing` as a part. With `host`, `port` and `setting` its port is known to be free before anything starts."""

    certificates: Certificates | None = None

    def __init__(self, thing: StartStop, *, name: str, host: str = "", port: int = 0, setting: str = "") -> None:
        self.name = name
        self._thing = thing
        self._address = (host, port, setting)
        self._started = False
        self._ended = asyncio.Event()

    async def bind(self) -> None:
        """Raise what `ports.bind` would. Somebody else may take the port until `start`."""
        if self._address[1]:
            ensure_free(*self._address)

    async def start(self) -> None:
        """Start it."""
        await self._thing.start()
        self._started = True

    async def wait(self) -> None:
        """Return when it was stopped."""
        await self._ended.wait()

    def leave(self) -> None:
        """Tell it, where it has a `drain` that lets its health say no."""
        drain = getattr(self._thing, "drain", None)
        if drain is not None and not inspect.iscoroutinefunction(drain):
            drain()

    async def drain(self, grace: float) -> None:
        """Stop it."""
        if self._started:
            self._started = False
            await self._thing.stop(grace)

    async def stop(self) -> None:
        """Stop it at once, unless that is done."""
        await self.drain(0.0)
        self._ended.set()
