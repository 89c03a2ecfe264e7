"""A whole system in one event loop: nodes with services, a registry, a broker, and a network that fails on purpose.

    world = World(seed=7)
    world.add(Orders(), at="orders-1")
    world.add(Orders(), at="orders-2")

    async def story() -> None:
        orders = world.client(Orders, at="shop-1")
        world.network.drop(0.5, target="orders-1")
        await orders.place(NewOrder("tea"))
        await world.sleep(3600)                             # takes no time

    world.run(story)

The clock is virtual and chance comes from the seed: what happened once happens again, in `world.trace`. The same story
runs against real servers on free ports with `World.real()`, and a registry and a broker by their URLs; there time is
real, and only the network's faults are not.
Breakers, retries, leases and what is kept by key follow the world's clock; limits of the kit do not, and are off unless
settings say otherwise.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Self, TypeVar, cast

from headgate.kit.controls.breaker import State
from headgate.kit.controls.call import Pipeline
from headgate.kit.resilience.breaker import Outcome
from headgate.kit.serve.lifecycle import Serving
from headgate.service.app import App
from headgate.service.broker import Broker, broker_from
from headgate.service.broker.memory import MemoryBroker
from headgate.service.client.client import Client, WireName
from headgate.service.client.options import ClientPolicy
from headgate.service.client.peers import Opener
from headgate.service.client.wires import ClientWire
from headgate.service.client.wires.choose import WIRES, opener
from headgate.service.client.wires.local import LocalWire
from headgate.service.codecs import JSON, MSGPACK, Codec
from headgate.service.instances import instances_of
from headgate.service.parts import Telling
from headgate.service.registry import registry_from
from headgate.service.registry.base import BaseRegistry
from headgate.service.registry.instance import Instance
from headgate.service.registry.memory import Directory
from headgate.service.registry.policy import RegistryPolicy
from headgate.service.service import Service
from headgate.service.settings import ServiceSettings
from headgate.testing.world.links import FarRegistry, NetworkWire, NodeRegistry, broker_of, node_of
from headgate.testing.world.loop import START, VirtualLoop, virtual_time
from headgate.testing.world.network import Event, Network

S = TypeVar("S", bound=Service)
T = TypeVar("T")
Story = Callable[[], Awaitable[T]]

QUIET: dict[str, Any] = {"rate_limit_default": "off", "access_log": False, "docs": False, "shutdown_grace": 5.0}
"""Settings of nodes, unless they say otherwise."""

_STEP = 0.01


class World:
    """See the module. `lease_ttl` is how long, in seconds, the registry knows an instance that says nothing."""

    def __init__(self, seed: int = 0, *, lease_ttl: float = 5.0) -> None:
        self.seed = seed
        self.is_real = False
        self._chance = random.Random(seed)  # noqa: S311 - shown again, not secret
        self._directory = Directory(ttl=lease_ttl)
        self.network = Network(self._chance, self._directory.wake)
        self.broker: Broker = MemoryBroker()
        """The broker as if one stood beside it; nodes reach it over the network."""
        self._apps: dict[str, App] = {}
        self._serving: dict[str, Serving] = {}
        self._wires: tuple[str, ...] = WIRES
        self._registry_url = ""
        self._loop: VirtualLoop | None = VirtualLoop()
        self._registries: dict[str, BaseRegistry] = {}
        self._clients: list[Client[Any]] = []

    @classmethod
    def real(
        cls, seed: int = 0, *, wire: WireName = "http", registry: str = "", broker: str = "", lease_ttl: float = 5.0
    ) -> Self:
        """A world of real servers on free ports, called over `wire`; time is real, too.

        `registry` and `broker` are URLs (`consul://127.0.0.1:8500`, `nats://127.0.0.1:4222`), "" for those in this
        process; `lease_ttl` is for the latter, others have it in their URL. Raises InvalidArgument.
        """
        world = cls(seed, lease_ttl=lease_ttl)
        if world._loop is not None:
            world._loop.close()
        world._loop, world._registry_url, world.is_real = None, registry, True
        # Over HTTP conversations take another wire.
        world._wires = WIRES if wire == "http" else (wire,)
        if broker:
            world.broker = broker_from(broker)
        return world

    @property
    def trace(self) -> tuple[Event, ...]:
        """What happened on the network, in circuits and to retries, in order."""
        return tuple(self.network.trace)

    @property
    def now(self) -> float:
        """Seconds on the world's clock."""
        if self._loop is not None:
            return self._loop.time()
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return START

    def add(self, *services: Service | App, at: str, **options: Any) -> App:
        """Services on a node, or an application as it is; `options` are those of App. Before `run`."""
        settings = options.pop("settings", None)
        told: dict[str, Any] = {**(settings.model_dump(exclude_unset=True) if settings else {}), "instance_id": at}
        made = {
            "settings": ServiceSettings(**{**QUIET, **told}),
            "registry": self._registry(at),
            "broker": broker_of(self.broker, self.network, at),
            "clients": partial(self._client_options, at),
            "clock": lambda: self.now,
            **options,
        }
        if len(services) == 1 and isinstance(services[0], App):
            app = services[0].like(**{name: made[name] for name in made if name != "settings"})
            app.process = at
        else:
            app = App(*cast("tuple[Service, ...]", services), **made)
        self._apps[at] = app
        return app

    def client(self, service: type[S], *, at: str, **options: Any) -> S:
        """A stub of a service, found and called from a node. `options` are those of Client; it is closed at the end."""
        return self.connect(service, at=at, **options).stub

    def connect(self, service: type[S], *, at: str, **options: Any) -> Client[S]:
        """The same as the client itself, whose instances and circuits can be looked at."""
        told = self._client_options(at, service, options.get("policy"), options.get("codec", MSGPACK.name))
        client = Client(service, **{"registry": self._registry(at), **told, **options})
        self._clients.append(cast("Client[Any]", client))
        return client

    def run(self, story: Story[T]) -> T:
        """Start all nodes, let the story happen, stop them. Returns what the story does. Once for each world."""
        if self._loop is None:
            return asyncio.run(self._run(story))
        with virtual_time(self.seed, self._loop) as loop:
            return loop.run_until_complete(self._run(story))

    async def sleep(self, seconds: float) -> None:
        """Let time pass."""
        await asyncio.sleep(seconds)

    async def until(self, holds: Callable[[], Any], *, within: float = 60.0) -> None:
        """Let time pass until `holds()` is true. Raises AssertionError when it is not within that many seconds."""
        end = self.now + within
        while not holds():
            if self.now >= end:
                raise AssertionError(f"did not happen within {within:g} s:\n{self.told()}")
            await asyncio.sleep(_STEP)

    async def start(self, node: str) -> None:
        """Start a node that was stopped."""
        serving = self._serving[node] = self._made(node)
        await serving.start()

    async def stop(self, node: str) -> None:
        """Stop a node as it would be asked to: deregistered, drained, stopped."""
        serving = self._serving.pop(node, None)
        if serving is not None:
            await serving.stop()

    def count(self, kind: str, *, source: str = "", target: str = "", what: str = "") -> int:
        """How often something happened: `what` is a part of what it was about."""
        return sum(
            each.kind == kind
            and (not source or each.source == source)
            and (not target or each.target == target)
            and what in each.what
            for each in self.network.trace
        )

    def told(self) -> str:
        """The trace as text, a line for each event."""
        return "\n".join(map(str, self.network.trace))

    async def _run(self, story: Story[T]) -> T:
        await self.broker.start()
        try:
            for node in self._apps:
                await self.start(node)
            return await story()
        finally:
            for client in reversed(self._clients):
                await client.aclose()
            for node in reversed(tuple(self._serving)):
                await self.stop(node)
            for registry in self._registries.values():
                await registry.aclose()
            await self.broker.aclose()

    def _made(self, node: str) -> Serving:
        """What a node starts and stops."""
        app, registry = self._apps[node], self._registry(node)
        if self.is_real:
            return app.running(free_ports=True).serving
        serving = Serving(
            health=app.health,
            shutdown_delay=app.settings.shutdown_delay,
            shutdown_grace=app.settings.shutdown_grace,
        )
        serving.parts += app.parts(registry)
        telling = Telling(registry, lambda: instances_of(app.hosted, app.settings, {"local": node}, node))
        serving.add(telling)
        serving.on_stopping = telling.withdraw
        return serving

    def _registry(self, node: str) -> BaseRegistry:
        found = self._registries.get(node)
        if found is None:
            policy = RegistryPolicy(spread=self._chance.random)
            if self._registry_url:
                found = FarRegistry(registry_from(self._registry_url, policy=policy), self.network, node)
            else:
                found = NodeRegistry(self._directory, self.network, node, policy)
            self._registries[node] = found
        return found

    def _client_options(
        self, node: str, service: type[Service], policy: ClientPolicy | None = None, codec: str = MSGPACK.name
    ) -> dict[str, Any]:
        """Options of the clients of a node."""
        told = _Told(self.network, node)
        return {
            "clock": lambda: self.now,
            "randomness": self._chance.random,
            "breaker_observer": told,
            "retry_observer": told,
            "open_wire": self._opener(node, service, policy or ClientPolicy(), JSON if codec == "json" else MSGPACK),
        }

    def _opener(self, node: str, service: type[Service], policy: ClientPolicy, codec: Codec) -> Opener:
        """Opens instances from a node, with the network between."""
        contract = service.contract()
        real = opener(contract, self._wires, codec, policy, (), None, None)

        def open_wire(instance: Instance) -> ClientWire:
            there = node_of(instance)
            inner = real(instance) if self.is_real else self._local(there, contract.name, codec)
            return NetworkWire(inner, self.network, node, there, connect_timeout=policy.connect_timeout)

        return open_wire

    def _local(self, node: str, service: str, codec: Codec) -> ClientWire:
        app = self._apps[node]
        hosted = next(each for each in app.hosted if each.contract.name == service)
        return LocalWire(hosted, codec, pipeline=Pipeline(app.kit.controls, frozenset(("local",))))


class _Told:
    """Puts what circuits and retries of a node's clients do into the trace."""

    def __init__(self, network: Network, node: str) -> None:
        self._network = network
        self._node = node

    def changed(self, target: str, before: State, after: State) -> None:
        """See BreakerObserver."""
        self._network.record("circuit", self._node, target, f"{before} to {after}")

    def rejected(self, target: str) -> None:
        """See BreakerObserver."""

    def finished(self, target: str, outcome: Outcome, seconds: float) -> None:
        """See BreakerObserver."""

    def retried(self, target: str, attempt: int, wait: float) -> None:
        """See RetryObserver."""
        self._network.record("retried", self._node, target, f"attempt {attempt}, after {wait:.4f} s")

    def gave_up(self, target: str, reason: str) -> None:
        """See RetryObserver."""
        self._network.record("retried", self._node, target, f"no more: {reason}")
