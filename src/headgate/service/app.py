"""An application: services behind every wire, hardened, told to a registry, started and stopped as one.

    app = App(Orders(store=store), Payments(), roles={"clerk": Role({"orders:*"})})

    app.run()                               # settings from environment, .env, file; until SIGTERM
    await app.serve()                       # the same within an event loop
    app.asgi                                # for an ASGI server of somebody else: HTTP and WebSockets

    async with app.started() as running:    # for tests: free ports of this machine
        order = await running.client(Orders).get("o-1")

Services get what they depend on by type: what is in `provide`, `Client[Payments]` or `Payments` itself for a stub of
one, `Kit`, `Registry`, `Broker`.

Stopping: the registry forgets it first; readiness is off, and for `shutdown_delay` seconds all is served as before;
then every wire and subscription is drained under one grace, the services are stopped, connections closed.

    InvalidArgument     what headgate.service.host says; invalid_service for what is no service
    FailedPrecondition
    ├── extra_missing       a wire that is asked for is not installed
    └── nowhere_to_call     a service needs a client, and there is neither a registry nor that service here
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final, TypeVar, get_args, get_origin

from starlette.types import ASGIApp

from headgate.kit.asgi.health import Health
from headgate.kit.controls.call import Control
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.controls.identity import Authenticator
from headgate.kit.kit import Kit
from headgate.kit.opening import open_logs
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Part, Serving
from headgate.kit.serve.loop import run
from headgate.service.assembly import Assembly, assemble, nats_wire, public_paths
from headgate.service.broker import Broker, broker_from
from headgate.service.client.client import Client
from headgate.service.guard import Role, Roles
from headgate.service.host import host
from headgate.service.instances import advertised_host, instances_of, process_name
from headgate.service.invoke import Conditions, Middleware
from headgate.service.parts import Background, Closing, Connected, Hosting, Telling, subscriptions_of
from headgate.service.registry import registry_from
from headgate.service.registry.base import Registry
from headgate.service.remember import Clock, answers_of, outcomes_of
from headgate.service.running import Running
from headgate.service.service import Service, dependencies_of
from headgate.service.settings import ServiceSettings

S = TypeVar("S", bound=Service)
Options = Mapping[str, Any]

LOOPBACK: Final = "127.0.0.1"


class App:
    """See the module. Arguments besides services and settings are by name.

    `roles` are what guards know of roles; `middleware` runs round every method, `named` may be asked for by name;
    `provide` are dependencies by type; `authenticators`, `rules` and `more` go to the kit; `extra` are applications
    by the prefix of their paths; `clients` are options of the clients that services get, or what gives them for each
    service; `clock` is that of what is kept. A `registry` and a `broker` that are given are their owner's to close;
    without them they are the settings', and without these events stay in this process.
    """

    def __init__(
        self,
        *services: Service,
        settings: ServiceSettings | None = None,
        roles: Mapping[str, Role] | None = None,
        middleware: Sequence[Middleware] = (),
        named: Mapping[str, Middleware] | None = None,
        provide: Mapping[Any, Any] | None = None,
        registry: Registry | None = None,
        broker: Broker | None = None,
        authenticators: Iterable[Authenticator] = (),
        rules: Mapping[str, str | Iterable[str]] | None = None,
        more: Iterable[Control] = (),
        health: Health | None = None,
        extra: Mapping[str, ASGIApp] | None = None,
        clients: Options | Callable[[type[Service]], Options] | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        for each in services:
            if not isinstance(each, Service):
                raise InvalidArgument(f"{each!r} is no service", code="invalid_service", hint="App(Orders())")
        self._told: dict[str, Any] = {
            "settings": settings, "roles": roles, "middleware": middleware, "named": named, "provide": provide,
            "registry": registry, "broker": broker, "authenticators": authenticators, "rules": rules, "more": more,
            "health": health, "extra": extra, "clients": clients, "clock": clock,
        }  # fmt: skip
        self.settings = settings = settings if settings is not None else ServiceSettings.load()
        self.health = health or Health()
        self.process = process_name(settings)
        """Name of this process in registries."""
        self.kit = Kit(
            settings,
            authenticators=authenticators,
            rules=rules,
            public=public_paths([type(each).contract() for each in services], settings),
            health=self.health,
            more=more,
        )
        kept, most = settings.keys_kept, settings.keys_max
        self._answers = answers_of(self.kit, clock=clock)
        self._outcomes = outcomes_of(self.kit, keys_kept=kept, keys_max=most, clock=clock)
        self.conditions = Conditions(
            roles=Roles(dict(roles or {})),
            middleware=tuple(middleware),
            named=dict(named or {}),
            memo=self._answers if settings.cache_enabled else None,
            outcomes=self._outcomes,
            keys_kept=kept,
        )
        given = {Kit: self.kit, **(provide or {})}
        self._late = _late(services, given)
        self.hosted = host(services, self.conditions, provide={**{kind: None for _, _, kind in self._late}, **given})
        self._registry = registry
        self._broker = broker
        self._extra = dict(extra or {})
        options: Options = {} if clients is None or callable(clients) else clients
        self._clients = clients if callable(clients) else lambda _service: options

    def like(self, **changes: Any) -> "App":
        """An application of the same services that was told the same, but for `changes`."""
        return App(*(each.service for each in self.hosted), **{**self._told, **changes})

    @cached_property
    def asgi(self) -> ASGIApp:
        """HTTP and WebSockets for any ASGI server; its lifespan begins and ends all that needs no port."""
        shell = self._assembled().shell
        shell.lifespan = Background(lambda: self.parts(self._opened()), self.settings.shutdown_grace)
        return shell

    def serving(self) -> Serving:
        """Everything, ready to be started once: services, wires, registration."""
        return self.running().serving

    async def serve(self) -> int:
        """Serve until SIGTERM or SIGINT. Returns the exit code."""
        return await self.serving().run()

    def run(self) -> int:
        """`serve` in an event loop of its own, with logs as the settings say. Returns the exit code."""
        if self.settings.workers > 1:
            raise FailedPrecondition(
                "an application of services is one process: each is an instance that the registry tells",
                code="one_process",
                hint="start several processes with ports of their own, or several pods",
            )
        open_logs(self.settings)
        return run(self.serve())

    @asynccontextmanager
    async def started(self) -> AsyncIterator[Running]:
        """Serve on free ports of this machine, until the block ends."""
        running = self.running(free_ports=True)
        await running.serving.start()
        try:
            yield running
        finally:
            await running.aclose()
            await running.serving.stop()

    def running(self, *, free_ports: bool = False) -> Running:
        """What `serving` gives, and where it answers once it is started."""
        assembly = self._assembled(**({"host": LOOPBACK, "port": 0} if free_ports else {}))
        serving = self.kit.serving(assembly.shell, assembly.rpc)
        servers = [part for part in serving.parts if isinstance(part, HttpServer)]
        if free_ports:
            for server in servers:
                server.host, server.port = LOOPBACK, 0
        running = Running(serving, servers[-1], assembly.rpc, self.settings)
        registry = self._opened()
        inner = self.parts(registry)
        serving.parts[:0] = [part for part in inner if isinstance(part, Connected | Hosting)]
        serving.parts += [part for part in inner if part not in serving.parts]
        if registry is not None:
            reached = LOOPBACK if free_ports else advertised_host(self.settings)
            telling = Telling(
                registry,
                lambda: instances_of(self.hosted, self.settings, running.endpoints(reached), self.process),
            )
            serving.add(telling)
            serving.on_stopping = telling.withdraw
        return running

    def _assembled(self, **rpc_options: Any) -> Assembly:
        return assemble(self.kit, self.hosted, self.settings, extra=self._extra, **rpc_options)

    def _opened(self) -> Registry | None:
        """The registry there is: the one that was given, or a new one as the settings say."""
        if self._registry is not None or self.settings.registry is None:
            return self._registry
        return registry_from(self.settings.registry.get_secret_value())

    def parts(self, registry: Registry | None) -> list[Part]:
        """What begins and ends without a port. Services are given now what is closed with them: clients, broker."""
        settings, held = self.settings, self._given_late(registry, broker := self._broker_now())
        parts: list[Part] = [
            Connected(broker, close=broker is not self._broker),
            Hosting(self.kit, self.hosted, held),
        ]
        nats = nats_wire(self.kit, self.hosted, settings)
        if nats is not None:
            parts.append(nats)
        if any(each.contract.subscriptions for each in self.hosted):
            parts.append(subscriptions_of(self.kit, self.hosted, broker, self.conditions))
        return parts

    def _given_late(self, registry: Registry | None, broker: Broker) -> list[Closing]:
        """Give services what they lack. Returns what is closed at the end, in this order."""
        held: list[Closing] = [self._answers, self._outcomes]
        if registry is not None and registry is not self._registry:
            held.insert(0, registry)
        for service, name, kind in self._late:
            if kind in (Registry, Broker):
                setattr(service, name, registry if kind is Registry else broker)
                continue
            client = self._client(kind, registry)
            setattr(service, name, client if get_origin(kind) is Client else client.stub)
            held.insert(0, client)
        return held

    def _broker_now(self) -> Broker:
        """The broker there is: the one that was given, or a new one as the settings say."""
        if self._broker is not None:
            return self._broker
        return broker_from(self.settings.broker.get_secret_value() if self.settings.broker else "memory://")

    def _client(self, kind: Any, registry: Registry | None) -> Client[Any]:
        """A client of the service that a dependency names. Raises FailedPrecondition (`nowhere_to_call`)."""
        wanted = _called(kind)
        if registry is not None:
            return Client(wanted, registry=registry, **self._clients(wanted))
        here = [each for each in self.hosted if each.contract.name == wanted.declared.name]
        if not here:
            raise FailedPrecondition(
                f"{wanted.__name__} is needed here, and nobody knows where it is",
                code="nowhere_to_call",
                hint="set `registry`, or host it here, or give a client in `provide`",
            )
        return Client(wanted, local=here, **self._clients(wanted))


def _late(services: Iterable[Service], given: Mapping[Any, Any]) -> list[tuple[Service, str, Any]]:
    """What services depend on that is made anew each time they are served: service, name and type."""
    return [
        (service, name, kind)
        for service in services
        for name, kind in dependencies_of(type(service)).items()
        if kind not in given
        and not hasattr(service, name)
        and (kind in (Registry, Broker) or _called(kind) is not None)
    ]


def _called(kind: Any) -> Any:
    """The service that a type is a client or a stub of; None for others."""
    wanted = get_args(kind)[0] if get_origin(kind) is Client else kind
    return wanted if isinstance(wanted, type) and issubclass(wanted, Service) else None
