"""An application that is running, as the rules see it over one way.

    async with reference(Way("grpc", "msgpack"), registry=MemoryRegistry()) as site:
        async with site.client() as stub:
            assert await stub.say("hello") == "hello"

`application(app, way)` is the same for any other.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, overload

from headgate.kit.controls.call import Call, Control
from headgate.kit.controls.principal import ANONYMOUS
from headgate.kit.controls.retry import RetryPolicy
from headgate.service.app import App
from headgate.service.broker import Broker
from headgate.service.client import CallOptions, Client, ClientPolicy
from headgate.service.codecs import CODECS
from headgate.service.host import Hosted
from headgate.service.registry.base import Registry
from headgate.service.running import Running
from headgate.service.service import Service
from headgate.service.settings import ServiceSettings
from headgate.testing.service_conformance.people import PRINCIPALS, ROLES, WHO, Names
from headgate.testing.service_conformance.reference import Reference, Relay
from headgate.testing.service_conformance.suite import Way

if TYPE_CHECKING:
    from headgate.service.client.wires import ClientWire

S = TypeVar("S", bound=Service)

STEADY: Final = ClientPolicy(retry=RetryPolicy(attempts=1), breaker=None, ejection=None)
"""Nothing is tried again and nobody is avoided: rules see what happens the first time."""
UNCHECKED: Final = replace(STEADY, validate=False)
"""The same, without a look at what is sent."""
LIMIT: Final = 512 * 1024
"""Bytes that a message may have: less than any server between lets through."""
MOST_CALLS: Final = 20_000


class Watch(Control):
    """Keeps the calls that were settled, the latest alone when they are many."""

    name: ClassVar[str] = "conformance"

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def settle(self, call: Call) -> None:
        """Keep it."""
        self.calls.append(call)
        if len(self.calls) > MOST_CALLS:
            del self.calls[: MOST_CALLS // 2]


class Site:
    """See the module. `found` are the arguments by which clients find it; without them by its address."""

    def __init__(
        self, app: App, running: Running, way: Way, watch: Watch, found: Mapping[str, Any] | None = None
    ) -> None:
        self.app = app
        self.running = running
        self.way = way
        self.watch = watch
        self._found = found

    @property
    def hosted(self) -> tuple[Hosted, ...]:
        """What is served."""
        return self.app.hosted

    @overload
    def client(self, *, who: str = "", **options: Any) -> Client[Reference]: ...

    @overload
    def client(self, service: type[S], *, who: str = "", **options: Any) -> Client[S]: ...

    def client(
        self,
        service: type[Any] = Reference,
        *,
        who: str = "",
        metadata: Mapping[str, str] | None = None,
        policy: ClientPolicy = STEADY,
        **more: Any,
    ) -> Client[Any]:
        """A client over this way; `who` is the name of its principal, `more` are options of its calls."""
        options = CallOptions(metadata={**(metadata or {}), **({WHO: who} if who else {})}, **more)
        told: dict[str, Any] = {"codec": self.way.codec, "policy": policy, "options": options}
        if self.way.wire == "local":
            return Client(service, local=self.hosted, open_wire=self._inside(service, who), **told)
        return Client(service, **self._place(), wire=self.way.wire, **told)

    def _place(self) -> Mapping[str, Any]:
        if self._found is not None:
            return self._found
        return {"address": self.running.endpoints("127.0.0.1")[self.way.wire]}

    def _inside(self, service: type[Service], who: str) -> Any:
        name = service.contract().name
        codec = next(each for each in CODECS if each.name == self.way.codec)

        def open_wire(_instance: Any) -> "ClientWire":
            from headgate.service.client.wires.local import LocalWire

            hosted = next(each for each in self.hosted if each.contract.name == name)
            return LocalWire(hosted, codec, principal=PRINCIPALS.get(who, ANONYMOUS))

        return open_wire


def settings(**changes: Any) -> ServiceSettings:
    """Settings that keep rules out of each other's way, and read nothing."""
    usual: dict[str, Any] = {
        "access_log": False, "rate_limit_default": "off", "metrics_public": True, "max_body_size": LIMIT,
        "shutdown_delay": 0.0, "shutdown_grace": 5.0,
    }  # fmt: skip
    return ServiceSettings(**usual | changes)


@asynccontextmanager
async def reference(
    way: Way,
    *,
    registry: Registry | None = None,
    found: Registry | None = None,
    broker: Broker | None = None,
    nats: str = "",
    **changes: Any,
) -> AsyncIterator[Site]:
    """The reference service and its relay, on free ports of 127.0.0.1.

    Clients find it in `found`, which is `registry` where nothing is said; without either by its address. `nats` is
    the server of that wire, `changes` are settings.
    """
    watch = Watch()
    clients = {"wire": way.wire, "codec": way.codec, "policy": STEADY}
    app = App(
        Reference(),
        Relay(),
        settings=settings(nats_url=nats or None, **changes),
        roles=ROLES,
        authenticators=[Names()],
        more=[watch],
        registry=None if way.wire == "local" else registry,
        broker=broker,
        clients=clients,
    )
    known = found if found is not None else registry
    async with app.started() as running:
        yield Site(app, running, way, watch, None if known is None else {"registry": known})


@asynccontextmanager
async def application(app: App, way: Way) -> AsyncIterator[Site]:
    """Any application, on free ports of 127.0.0.1."""
    async with app.started() as running:
        yield Site(app, running, way, Watch())
