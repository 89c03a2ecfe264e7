"""What of an application begins and ends with its process, as parts of the kit's `Serving`.

serving.parts.insert(0, Hosting(kit, hosted, held=[registry]))      # on_start before the first port answers
serving.add(Telling(registry, instances_of))                        # known to others once all answer
serving.on_stopping = telling.withdraw                              # and no longer, before anything ends

    Unavailable
    └── service_not_started     what `on_start` of a service raised, unless that is a fault of its own
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

import structlog

from headgate.kit.controls.call import Control, Pipeline
from headgate.kit.controls.faults import Fault, Unavailable
from headgate.kit.kit import Kit
from headgate.kit.serve.lifecycle import Part
from headgate.kit.tls.rotation import Certificates
from headgate.service.broker.base import Broker
from headgate.service.host import Hosted
from headgate.service.invoke import Conditions
from headgate.service.registry.base import Registry
from headgate.service.registry.instance import Instance
from headgate.service.registry.lease import Lease
from headgate.service.service import Service
from headgate.service.subscriptions import Subscriptions

_log = structlog.get_logger("headgate.service")


class Closing(Protocol):
    """What is closed at the end."""

    async def aclose(self) -> None:
        """Let go of everything."""


class Quiet:
    """A part without an address. Subclasses say what begins and ends."""

    name = "part"
    certificates: Certificates | None = None

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    async def bind(self) -> None:
        """There is nothing to take."""

    async def start(self) -> None:
        """Begin."""

    async def wait(self) -> None:
        """Return when it was stopped."""
        await self._ended.wait()

    def leave(self) -> None:
        """Nobody need know."""

    async def drain(self, grace: float) -> None:
        """There is nothing under way."""

    async def stop(self) -> None:
        """End."""
        self._ended.set()


class Hosting(Quiet):
    """The services themselves: begun in their order, ended in the reverse one. `held` is closed after them."""

    name = "services"

    def __init__(self, kit: Kit, hosted: Iterable[Hosted], held: Sequence[Closing] = ()) -> None:
        super().__init__()
        self._kit = kit
        self._hosted = tuple(hosted)
        self._held = tuple(held)
        self._started: list[Service] = []
        self._opened = False

    async def start(self) -> None:
        """Call `on_start` of each. Raises the fault it raises, else Unavailable (`service_not_started`)."""
        await self._kit.on_startup()
        self._opened = True
        for each in self._hosted:
            self._started.append(each.service)
            try:
                await each.service.on_start()
            except Fault:
                raise
            except Exception as error:
                raise Unavailable(
                    f"{each.contract.title} did not start: {type(error).__name__}: {error}"[:500],
                    code="service_not_started",
                    hint="see its on_start",
                    internal=repr(error),
                ) from error

    async def stop(self) -> None:
        """Call `on_stop` of those whose `on_start` was called, then close what they stood on."""
        started, self._started = self._started, []
        for service in reversed(started):
            try:
                await service.on_stop()
            except Exception:  # noqa: BLE001 - the others are to end as well
                _log.exception("a service did not stop as it should", service=service.declared.name)
        for each in self._held:
            await each.aclose()
        if self._opened:
            self._opened = False
            await self._kit.on_shutdown()
        await super().stop()


class Connected(Quiet):
    """The broker, connected before services begin and until they have ended; one that was given is not closed."""

    name = "broker"

    def __init__(self, broker: Broker, *, close: bool) -> None:
        super().__init__()
        self._broker = broker
        self._close = close

    async def start(self) -> None:
        """Connect. Raises what the broker does."""
        await self._broker.start()

    async def stop(self) -> None:
        """Let go of it."""
        if self._close:
            await self._broker.aclose()
        await super().stop()


class _Lent:
    """A broker that others close."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def aclose(self) -> None:
        """It is not ours."""


def subscriptions_of(kit: Kit, hosted: Sequence[Hosted], broker: Broker, conditions: Conditions) -> Subscriptions:
    """The subscriptions, watched by the controls that refuse nobody: an event has no caller who could be known."""
    watching = [each for each in kit.controls if type(each).admit is Control.admit]
    lent = cast("Broker", _Lent(broker))
    return Subscriptions(hosted, lent, Pipeline(watching, frozenset((broker.protocol,))), conditions=conditions)


class Telling(Quiet):
    """The instances, told to a registry as long as they serve. `instances` is asked once all parts have addresses."""

    name = "registry"

    def __init__(self, registry: Registry, instances: Callable[[], Iterable[Instance]]) -> None:
        super().__init__()
        self._registry = registry
        self._instances = instances
        self.leases: list[Lease] = []

    async def start(self) -> None:
        """Register. Raises what trying again cannot help."""
        for instance in self._instances():
            self.leases.append(await self._registry.register(instance))

    async def withdraw(self) -> None:
        """Deregister, all at the same time."""
        leases, self.leases = self.leases, []
        await asyncio.gather(*(lease.release() for lease in leases))

    async def stop(self) -> None:
        """Deregister, unless that is done."""
        await self.withdraw()
        await super().stop()


class Background:
    """Parts that need no port, begun and ended by the lifespan of an application that somebody else serves."""

    def __init__(self, make: Callable[[], Sequence[Part]], grace: float) -> None:
        self._make = make
        self._grace = grace
        self._parts: list[Part] = []

    async def on_startup(self) -> None:
        """Begin. Raises the first fault, with everything ended again."""
        parts = self._make()
        try:
            for part in parts:
                self._parts.append(part)
                await part.bind()
                await part.start()
        except BaseException:
            await self.on_shutdown()
            raise

    async def on_shutdown(self) -> None:
        """End."""
        parts, self._parts = self._parts, []
        for part in reversed(parts):
            try:
                await part.drain(self._grace)
                await part.stop()
            except Exception:  # noqa: BLE001 - the others are to end as well
                _log.exception("a part did not stop as it should", part=part.name)
