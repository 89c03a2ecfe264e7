"""What all registries can do, and how: the protocol, and what they share.

    async for snapshot in registry.watch("orders"):       # the first at once, each of them complete
        balancer.update(snapshot)

    snapshot = await registry.get("orders")
    async with await registry.register(instance) as lease: ...

Watchers are shared: one for each service and registry, which ends some time after the last who wanted it left. Who is
slow sees the latest snapshot, not each. A new registry is a subclass with `_source`, `_keeper` and `services`.

    Fault
    ├── InvalidArgument     invalid_instance, invalid_service_name, invalid_registry_url, invalid_registry_policy
    ├── FailedPrecondition  registry_closed; missing_extra: a library is not installed
    ├── ResourceExhausted   too_many_watched
    ├── PermissionDenied    registry_forbidden: its token may not do that
    ├── Unauthenticated     registry_unauthenticated
    ├── Unimplemented       registry_cannot_list: it knows services only by name
    └── Unavailable         registry_unavailable: it cannot be reached; told in snapshots (`stale`, `reason`)
"""

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from typing import Final, Protocol, Self

from headgate.kit.controls.faults import FailedPrecondition, ResourceExhausted
from headgate.service.registry.instance import Instance, Snapshot, check_service
from headgate.service.registry.lease import Keeper, Lease
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy, Told
from headgate.service.registry.watcher import Source, Watcher

_MOST_REMEMBERED: Final = 1024
"""Services that nobody watches any more, whose last snapshot is kept."""

Versions = Mapping[str, tuple[str, ...]]
"""Versions that are served, in order, by the service."""


class Registry(Protocol):
    """Where instances are found. Belongs to the event loop it is first used in."""

    async def register(self, instance: Instance) -> Lease:
        """Make the instance known until the lease is released. Raises what trying again cannot help."""

    def watch(self, service: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots, the first at once, until the registry is closed. Raises InvalidArgument, ResourceExhausted."""

    async def get(self, service: str) -> Snapshot:
        """The latest snapshot; stale when the registry is down."""

    async def services(self) -> Versions:
        """All services that it knows of, and their versions. Raises what keeps it from telling."""

    def age(self, service: str) -> float | None:
        """Seconds since the registry last said what it knows of a watched service; None if it never did."""

    async def aclose(self) -> None:
        """Release what was registered, end what is watched."""


class BaseRegistry(ABC):
    """See the module. `name` is what logs and observers are told."""

    name: str = "registry"

    def __init__(self, policy: RegistryPolicy | None = None, observer: RegistryObserver | None = None) -> None:
        self.policy = policy or RegistryPolicy()
        self._observer = Told(observer)
        self._watchers: dict[str, Watcher] = {}
        self._ending: dict[str, asyncio.TimerHandle] = {}
        self._last: OrderedDict[str, Snapshot] = OrderedDict()
        self._leases: set[Lease] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @abstractmethod
    def _source(self, service: str) -> Source:
        """What tells of the service."""

    @abstractmethod
    def _keeper(self) -> Keeper:
        """What keeps an instance."""

    @abstractmethod
    async def services(self) -> Versions:
        """All services that it knows of, and their versions. Raises what keeps it from telling."""

    async def _shut(self) -> None:  # noqa: B027 - most share nothing
        """Let go of what all watchers and leases share."""

    async def register(self, instance: Instance) -> Lease:
        """Make the instance known until the lease is released. Raises what trying again cannot help."""
        self._open()
        lease = Lease(self.name, instance, self._keeper(), self.policy, self._observer, self._leases.discard)
        self._leases.add(lease)
        try:
            await lease.start()
        except BaseException:
            await lease.release()
            raise
        return lease

    async def watch(self, service: str) -> AsyncGenerator[Snapshot, None]:
        """Snapshots, the first at once, until the registry is closed. Raises InvalidArgument, ResourceExhausted."""
        watcher = self._join(service)
        try:
            seen: Snapshot | None = None
            while (seen := await watcher.after(seen)) is not None:
                yield seen
        finally:
            self._leave(service, watcher)

    async def get(self, service: str) -> Snapshot:
        """The latest snapshot; stale when the registry is down."""
        watcher = self._join(service)
        try:
            found = await watcher.after(None)
        finally:
            self._leave(service, watcher)
        if found is None:
            raise _closed()
        return found

    def age(self, service: str) -> float | None:
        """Seconds since the registry last said what it knows of a watched service; None if it never did."""
        watcher = self._watchers.get(service)
        if watcher is None or watcher.confirmed_at is None:
            return None
        return asyncio.get_running_loop().time() - watcher.confirmed_at

    @property
    def watched(self) -> tuple[str, ...]:
        """Services that are watched now."""
        return tuple(sorted(self._watchers))

    async def aclose(self) -> None:
        """Release what was registered, end what is watched."""
        self._closed = True
        await asyncio.gather(*(lease.release() for lease in tuple(self._leases)))
        for timer in self._ending.values():
            timer.cancel()
        await asyncio.gather(*(watcher.aclose() for watcher in tuple(self._watchers.values())), *self._tasks)
        self._watchers.clear()
        await self._shut()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _open(self) -> None:
        if self._closed:
            raise _closed()

    def _join(self, service: str) -> Watcher:
        self._open()
        watcher = self._watchers.get(service)
        if watcher is None:
            check_service(service)
            if len(self._watchers) >= self.policy.most_watched:
                raise ResourceExhausted(
                    f"{len(self._watchers)} services are watched already",
                    code="too_many_watched",
                    hint="most_watched of the registry's policy",
                )
            last = self._last.pop(service, None) or Snapshot(service)
            watcher = Watcher(self.name, last, self._source(service), self.policy, self._observer)
            self._watchers[service] = watcher
        watcher.wanted += 1
        if ending := self._ending.pop(service, None):
            ending.cancel()
        return watcher

    def _leave(self, service: str, watcher: Watcher) -> None:
        watcher.wanted -= 1
        if not watcher.wanted and self._watchers.get(service) is watcher and not self._closed:
            loop = asyncio.get_running_loop()
            self._ending[service] = loop.call_later(self.policy.linger, self._end, service)

    def _end(self, service: str) -> None:
        del self._ending[service]
        watcher = self._watchers.pop(service)
        self._last[service] = watcher.snapshot
        if len(self._last) > _MOST_REMEMBERED:
            self._last.popitem(last=False)
        task = asyncio.get_running_loop().create_task(watcher.aclose())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class External:
    """Keeps nothing: instances come to be known without us, by the platform they run on."""

    interval = 0.0

    async def put(self, instance: Instance) -> None:
        """Nothing to do."""

    async def renew(self, instance: Instance) -> bool:  # noqa: ARG002
        """It is there."""
        return True

    async def remove(self, instance: Instance) -> None:
        """Nothing to do."""


def versions(instances: "Mapping[str, list[Instance]] | dict[str, list[Instance]]") -> Versions:
    """The versions of each service."""
    return {name: tuple(sorted({each.version for each in found})) for name, found in sorted(instances.items())}


def missing(library: str, extra: str) -> FailedPrecondition:
    """The fault of a registry whose library is not installed."""
    return FailedPrecondition(
        f"this registry needs {library}", code="missing_extra", hint=f"pip install 'headgate[{extra}]'"
    )


def _closed() -> FailedPrecondition:
    return FailedPrecondition("the registry was closed", code="registry_closed")
