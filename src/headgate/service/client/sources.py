"""Where the instances of a service are told: a registry, an address, a list, this process.

Each gives snapshots; those that never change give one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.registry.instance import Instance, Snapshot


class Watchable(Protocol):
    """The part of a registry that clients need."""

    def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """Snapshots, the first at once."""


class Fixed:
    """Always the same instances."""

    def __init__(self, service: str, instances: Iterable[Instance]) -> None:
        self._snapshot = Snapshot(service, 1, tuple(instances))

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:  # noqa: ARG002
        """The one snapshot there is."""
        yield self._snapshot


def at(service: str, address: str, wire: str) -> Instance:
    """The instance at an address, on a wire. Raises InvalidArgument (`invalid_address`)."""
    if "@" in address.partition("//")[2].partition("/")[0]:
        raise InvalidArgument(
            "an address carries no user and no password", code="invalid_address", hint="send a token as metadata"
        )
    return Instance(id=f"{service}-at-{wire}", service=service, endpoints={wire: address})


class Following:
    """Keeps a subscriber up to date in a task; `first` is done once there was a snapshot."""

    def __init__(self, source: Watchable, service: str, tell: Callable[[Snapshot], None]) -> None:
        loop = asyncio.get_running_loop()
        self.first: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._follow(source, service, tell))

    async def _follow(self, source: Watchable, service: str, tell: Callable[[Snapshot], None]) -> None:
        snapshots = source.watch(service)
        try:
            async for snapshot in snapshots:
                tell(snapshot)
                if not self.first.done():
                    self.first.set_result(None)
        except Exception as error:  # noqa: BLE001 - told to whoever calls
            if not self.first.done():
                self.first.set_exception(error)
        finally:
            if (close := getattr(snapshots, "aclose", None)) is not None:
                await close()
            if not self.first.done():
                self.first.set_result(None)

    @property
    def failed(self) -> bool:
        """Whether it ended before there was a snapshot."""
        return self.first.done() and (self.first.cancelled() or self.first.exception() is not None)

    async def aclose(self) -> None:
        """Follow no more."""
        self._task.cancel()
        await asyncio.wait([self._task])
        if self.first.done() and not self.first.cancelled():
            self.first.exception()
