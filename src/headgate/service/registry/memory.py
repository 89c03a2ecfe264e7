"""A registry in this process: for tests, for `headgate run`, for services that are one program.

registry = MemoryRegistry()

directory = Directory(ttl=5.0)                          # what several registries share, as if it were a server
here, there = MemoryRegistry(directory), MemoryRegistry(directory)
there.reachable = False                                 # cut off: its snapshots grow stale, its leases expire
"""

import asyncio
from collections.abc import AsyncIterator

from headgate.kit.controls.faults import Unavailable
from headgate.service.registry.base import BaseRegistry, Versions, versions
from headgate.service.registry.instance import Instance
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.watcher import Answer


class Directory:
    """What is registered. An instance that is not renewed for `ttl` seconds is forgotten; None keeps all."""

    def __init__(self, *, ttl: float | None = None) -> None:
        self.ttl = ttl
        self._found: dict[str, dict[str, tuple[Instance, asyncio.TimerHandle | None]]] = {}
        self._news = asyncio.Event()

    def put(self, instance: Instance) -> None:
        """Make it known for another `ttl`."""
        there = self._found.setdefault(instance.service, {})
        old = there.get(instance.id)
        if old is not None and old[1] is not None:
            old[1].cancel()
        timer = None
        if self.ttl is not None:
            timer = asyncio.get_running_loop().call_later(self.ttl, self.remove, instance)
        there[instance.id] = (instance, timer)
        if old is None or old[0] != instance:
            self.wake()

    def remove(self, instance: Instance) -> None:
        """Forget it."""
        there = self._found.get(instance.service, {})
        old = there.pop(instance.id, None)
        if not there:
            self._found.pop(instance.service, None)
        if old is not None:
            if old[1] is not None:
                old[1].cancel()
            self.wake()

    def clear(self) -> None:
        """Forget all, as a registry does that kept nothing on disk."""
        for instance in [each for service in self._found.values() for each, _ in service.values()]:
            self.remove(instance)

    def of(self, service: str) -> tuple[Instance, ...]:
        """The instances of a service."""
        return tuple(instance for instance, _ in self._found.get(service, {}).values())

    def services(self) -> Versions:
        """The versions of each service."""
        return versions({name: list(self.of(name)) for name in self._found})

    def wake(self) -> None:
        """Let all who follow look again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    @property
    def news(self) -> asyncio.Event:
        """Set when something may have changed since it was taken."""
        return self._news


class MemoryRegistry(BaseRegistry):
    """See the module. `interval` is how often leases look whether they are still known, in seconds."""

    name = "memory"

    def __init__(
        self,
        directory: Directory | None = None,
        *,
        interval: float = 1.0,
        policy: RegistryPolicy | None = None,
        observer: RegistryObserver | None = None,
    ) -> None:
        super().__init__(policy, observer)
        self.directory = directory or Directory()
        self._interval = interval
        self._reachable = True

    @property
    def reachable(self) -> bool:
        """Whether the directory can be asked from here; set it to cut this registry off."""
        return self._reachable

    @reachable.setter
    def reachable(self, reachable: bool) -> None:
        self._reachable = reachable
        self.directory.wake()

    def asked(self) -> Directory:
        """The directory. Raises Unavailable when it is cut off."""
        if not self._reachable:
            raise Unavailable("the registry is cut off", code="registry_unavailable")
        return self.directory

    async def services(self) -> Versions:
        """All services that it knows of, and their versions. Raises Unavailable."""
        return self.asked().services()

    def _source(self, service: str) -> "_Source":
        return _Source(self, service)

    def _keeper(self) -> "_Keeper":
        return _Keeper(self, self._interval)


class _Source:
    def __init__(self, registry: MemoryRegistry, service: str) -> None:
        self._registry, self._service = registry, service

    async def follow(self) -> AsyncIterator[Answer]:
        while True:
            news = self._registry.directory.news
            yield Answer(self._registry.asked().of(self._service))
            await news.wait()

    async def aclose(self) -> None:
        pass


class _Keeper:
    def __init__(self, registry: MemoryRegistry, interval: float) -> None:
        self._registry, self.interval = registry, interval

    async def put(self, instance: Instance) -> None:
        self._registry.asked().put(instance)

    async def renew(self, instance: Instance) -> bool:
        directory = self._registry.asked()
        if instance not in directory.of(instance.service):
            return False
        directory.put(instance)
        return True

    async def remove(self, instance: Instance) -> None:
        self._registry.asked().remove(instance)
