"""Leases: an instance stays known for as long as its process says so.

    async with await registry.register(instance) as lease:
        await lease.update(weight=0.5)
        ...                                    # deregistered at the end

A lease renews itself, and registers anew when the registry forgot it: after a restart of the registry all come back,
each at its own moment. Where the registry is down, the service serves on and the lease goes on trying.
"""

import asyncio
import zlib
from collections.abc import Callable
from typing import Any, Protocol, Self

import msgspec
import structlog

from headgate.kit.controls.faults import Fault, InvalidArgument, PermissionDenied, Unauthenticated
from headgate.service.registry.instance import Instance
from headgate.service.registry.policy import RegistryObserver, RegistryPolicy
from headgate.service.registry.watcher import told

_log = structlog.get_logger("headgate.registry")

_FINAL = (InvalidArgument, PermissionDenied, Unauthenticated)
"""What does not go away by trying again: told to who registers."""


class Keeper(Protocol):
    """How one registry keeps an instance. Every method raises faults."""

    @property
    def interval(self) -> float:
        """Seconds between two renewals; 0 when none are needed."""

    async def put(self, instance: Instance) -> None:
        """Make the instance known, in place of what was known under its id."""

    async def renew(self, instance: Instance) -> bool:
        """Say that it is there; False when the registry does not know it (any more)."""

    async def remove(self, instance: Instance) -> None:
        """Forget it; nothing when it is not known."""


class Lease:
    """An instance that is kept known. `held` says whether the registry knows it, as far as was heard."""

    def __init__(
        self,
        registry: str,
        instance: Instance,
        keeper: Keeper,
        policy: RegistryPolicy,
        observer: RegistryObserver,
        ended: Callable[["Lease"], None],
    ) -> None:
        self.instance = instance
        self.held = False
        self._registry, self._keeper, self._policy, self._observer = registry, keeper, policy, observer
        self._ended = ended
        self._stopping = asyncio.Event()
        self._turn = asyncio.Lock()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._releasing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Register, or begin to try. Raises what trying again cannot help: a bad instance, a missing right."""
        try:
            await self._put()
        except _FINAL:
            raise
        except Exception as error:  # noqa: BLE001 - the service serves, the registry is tried again
            self._failed(told(error))
        self._task = asyncio.create_task(self._keep(), name=f"lease {self._registry} {self.instance.id}")

    async def update(self, **changes: Any) -> Instance:
        """Tell something else of the instance: `weight=0.5`, `metadata={...}`; its id and service stay.

        Raises InvalidArgument. When the registry cannot be reached, it is told later.
        """
        if self._stopping.is_set():
            raise InvalidArgument("the lease was released", code="lease_released")
        if fixed := sorted({"id", "service"} & changes.keys()):
            raise InvalidArgument(f"{' and '.join(fixed)} of a lease cannot change", code="invalid_instance")
        if unknown := sorted(changes.keys() - set(Instance.__struct_fields__)):
            raise InvalidArgument(f"an instance has no {', '.join(unknown)}", code="invalid_instance")
        self.instance = msgspec.structs.replace(self.instance, **changes)
        try:
            await self._put()
        except _FINAL:
            raise
        except Exception as error:  # noqa: BLE001
            self._failed(told(error))
        return self.instance

    async def release(self) -> None:
        """Deregister. Never raises: what cannot be told, the registry finds out by itself."""
        if self._releasing is None:
            self._stopping.set()
            self._releasing = asyncio.create_task(self._leave(), name=f"release {self._registry} {self.instance.id}")
        await asyncio.shield(self._releasing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(self._policy.release_timeout):
                if self._task is not None:
                    await asyncio.wait([self._task])
                async with self._turn:
                    await self._keeper.remove(self.instance)
        except Exception as error:  # noqa: BLE001
            fault = told(error)
            _log.warning("could not deregister", instance=self.instance.id, code=fault.code, reason=fault.message)
        finally:
            if self._task is not None:
                self._task.cancel()
            self._hold(held=False)
            self._ended(self)

    async def _keep(self) -> None:
        # The first renewal comes at a moment of the instance's own, so that those started together spread out.
        phase = 0.5 + zlib.crc32(self.instance.id.encode()) / 2**33
        while not await self._stopped_within(self._next() * phase):
            phase = 0.9 + self._policy.spread() / 10
            try:
                await self._renew()
                self._failures = 0
            except Exception as error:  # noqa: BLE001
                self._failed(told(error))

    def _next(self) -> float:
        if self._failures:
            return self._policy.pause(self._failures)
        return self._keeper.interval or 3600.0

    async def _renew(self) -> None:
        if self.held:
            if not self._keeper.interval:
                return
            async with self._turn:
                if await self._keeper.renew(self.instance):
                    return
            self._hold(held=False)
            _log.warning("the registry forgot the instance; registering anew", instance=self.instance.id)
            if await self._stopped_within(self._policy.spread() * self._policy.rejoin_within):
                return
        await self._put()

    async def _put(self) -> None:
        async with self._turn:
            if not self._stopping.is_set():
                await self._keeper.put(self.instance)
                self._hold(held=True)

    def _failed(self, fault: Fault) -> None:
        self._failures += 1
        if self._failures == 1:
            _log.warning(
                "could not register; trying on", instance=self.instance.id, code=fault.code, reason=fault.message
            )
        self._observer.failed(self._registry, self.instance.service, fault)
        self._hold(held=False)

    def _hold(self, *, held: bool) -> None:
        if held is not self.held:
            self.held = held
            self._observer.leased(self._registry, self.instance, held=held)

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._stopping.wait()
        except TimeoutError:
            return False
