"""What nodes reach each other by, each with the network between: calls, the registry, the broker.

wire = NetworkWire(inner, network, "shop-1", "orders-1", connect_timeout=2.0)
registry = NodeRegistry(directory, network, "orders-1")
broker = NodeBroker(MemoryBroker(), network, "orders-1")
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

from headgate.kit.controls.faults import Fault, Unavailable
from headgate.service.broker.base import Broker, Delivery, Handler, Subscription
from headgate.service.client.wires import ClientWire, Outgoing
from headgate.service.registry.base import BaseRegistry, Versions
from headgate.service.registry.instance import Instance
from headgate.service.registry.lease import Keeper
from headgate.service.registry.memory import Directory, MemoryRegistry
from headgate.service.registry.policy import RegistryPolicy
from headgate.service.registry.watcher import Answer, Source
from headgate.service.topic import Topic
from headgate.testing.world.network import Network

REGISTRY: Final = "registry"
BROKER: Final = "broker"


class NetworkWire:
    """A wire of clients, with the network between `source` and `target`. Streams are never doubled."""

    def __init__(
        self, inner: ClientWire, network: Network, source: str, target: str, *, connect_timeout: float
    ) -> None:
        self._inner = inner
        self._network = network
        self._source = source
        self._target = target
        self._connect_timeout = connect_timeout
        self._doubles: set[asyncio.Task[Any]] = set()

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        twice = await self._sent(out)
        if twice:
            self._double(out, request)
        try:
            response = await self._inner.unary(out, request)
        except Fault as fault:
            await self._network.answer(self._target, self._source, f"{out.path} {fault.code}")
            raise
        await self._network.answer(self._target, self._source, out.path)
        return response

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come."""
        await self._sent(out)
        async with aclosing(self._inner.stream(out, request)) as responses:
            try:
                async for response in responses:
                    await self._network.answer(self._target, self._source, out.path)
                    yield response
            except Fault as fault:
                await self._network.answer(self._target, self._source, f"{out.path} {fault.code}")
                raise

    async def aclose(self) -> None:
        """Close what is below."""
        for task in tuple(self._doubles):
            task.cancel()
        await asyncio.gather(*self._doubles, return_exceptions=True)
        await self._inner.aclose()

    async def _sent(self, out: Outgoing) -> bool:
        return await self._network.send(self._source, self._target, out.path, connect_timeout=self._connect_timeout)

    def _double(self, out: Outgoing, request: Any) -> None:
        """Let the service hear the request once more; nobody hears its answer."""
        task = asyncio.get_running_loop().create_task(self._unheard(out, request))
        self._doubles.add(task)
        task.add_done_callback(self._doubles.discard)

    async def _unheard(self, out: Outgoing, request: Any) -> None:
        try:
            await self._inner.unary(out, request)
        except Fault as fault:
            self._network.note(self._target, f"{out.path} {fault.code}, for a double")


class NodeRegistry(MemoryRegistry):
    """The registry as one node sees it: down while the network is cut between them."""

    def __init__(self, directory: Directory, network: Network, node: str, policy: RegistryPolicy) -> None:
        super().__init__(directory, policy=policy)
        self._network = network
        self._node = node

    def asked(self) -> Directory:
        """The directory. Raises Unavailable when it is cut off."""
        if not self._network.reaches(self._node, REGISTRY):
            raise Unavailable("the registry is cut off", code="registry_unavailable")
        return super().asked()


class FarRegistry(BaseRegistry):
    """A real registry as one node sees it: down while the network is cut between them."""

    def __init__(self, far: BaseRegistry, network: Network, node: str) -> None:
        super().__init__(far.policy)
        self.name = far.name
        self._far = far
        self._network = network
        self._node = node

    async def services(self) -> Versions:
        """See Registry."""
        self.reach()
        return await self._far.services()

    def reach(self) -> asyncio.Event:
        """What is set when that may have changed. Raises Unavailable when it is cut off."""
        if not self._network.reaches(self._node, REGISTRY):
            raise Unavailable("the registry is cut off", code="registry_unavailable")
        return self._network.news

    def _source(self, service: str) -> Source:
        return _FarSource(self, self._far._source(service))  # noqa: SLF001 - it stands in for that registry

    def _keeper(self) -> Keeper:
        return _FarKeeper(self, self._far._keeper())  # noqa: SLF001

    async def _shut(self) -> None:
        await self._far.aclose()


class _FarSource:
    def __init__(self, registry: FarRegistry, inner: Source) -> None:
        self._registry, self._inner = registry, inner

    async def follow(self) -> AsyncIterator[Answer]:
        async with aclosing(self._inner.follow()) as answers:  # type: ignore[type-var]
            while True:
                yield await self._next(answers)

    async def _next(self, answers: AsyncIterator[Answer]) -> Answer:
        """The next answer. Raises Unavailable as soon as the registry is cut off."""
        coming = asyncio.ensure_future(anext(answers))
        try:
            while not coming.done():
                change = asyncio.ensure_future(self._registry.reach().wait())
                await asyncio.wait({coming, change}, return_when=asyncio.FIRST_COMPLETED)
                change.cancel()
            return coming.result()
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _FarKeeper:
    def __init__(self, registry: FarRegistry, inner: Keeper) -> None:
        self._registry, self._inner = registry, inner
        self.interval = inner.interval

    async def put(self, instance: Instance) -> None:
        self._registry.reach()
        await self._inner.put(instance)

    async def renew(self, instance: Instance) -> bool:
        self._registry.reach()
        return await self._inner.renew(instance)

    async def remove(self, instance: Instance) -> None:
        self._registry.reach()
        await self._inner.remove(instance)


class NodeBroker:
    """The broker as one node sees it."""

    def __init__(self, broker: Broker, network: Network, node: str, *, connect_timeout: float = 2.0) -> None:
        self._broker = broker
        self._network = network
        self._node = node
        self._connect_timeout = connect_timeout

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(
        self, topic: Topic[Any] | str, event: Any, *, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> None:
        """Publish. Raises Unreachable, ConnectionLost."""
        subject = topic.subject if isinstance(topic, Topic) else topic
        network = self._network
        twice = await network.send(self._node, BROKER, subject, connect_timeout=self._connect_timeout)
        for _ in range(2 if twice else 1):
            await self._broker.publish(topic, event, headers=headers, key=key)
        await network.answer(BROKER, self._node, subject)

    async def subscribe(self, pattern: str, handler: Handler, **told: Any) -> Subscription:
        """Hand events to `handler`, as far as they come through; one that is lost is a failure, and tried again."""

        async def reached(delivery: Delivery) -> None:
            network = self._network
            twice = await network.send(BROKER, self._node, delivery.subject, connect_timeout=self._connect_timeout)
            for _ in range(2 if twice else 1):
                await handler(delivery)
            await network.answer(self._node, BROKER, delivery.subject)

        return await self._broker.subscribe(pattern, reached, **told)


def broker_of(broker: Broker, network: Network, node: str) -> Broker:
    """The broker as one node sees it."""
    return cast("Broker", NodeBroker(broker, network, node))


def node_of(instance: Instance) -> str:
    """The node that an instance is on."""
    return instance.id.removesuffix(f"-{instance.service}")
