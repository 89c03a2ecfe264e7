"""A typed client: the service's own class says what can be called, and instances are found and chosen behind it.

    async with Client(Orders, registry=registry) as orders:             # typed as Orders
        order = await orders.place(NewOrder("tea"))
        async for event in orders.track(order.id): ...

    client = Client(Orders, address="http://127.0.0.1:8080", policy=ClientPolicy(timeout=5))
    await client.using(timeout=1, idempotency_key="order-17").place(order)

What a call takes along, when it is sent again and to whom: `headgate.service.client.caller`; what it raises:
`headgate.service.client.errors`, and the faults of the service, of the classes that its methods declare.
"""

import asyncio
import random
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, cast

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.resilience.breaker import BreakerObserver
from headgate.kit.resilience.retry import RetryObserver
from headgate.service.client.balancers import Balancer, TwoChoices
from headgate.service.client.caller import Caller
from headgate.service.client.options import CallOptions, ClientPolicy
from headgate.service.client.peers import Opener, Peers
from headgate.service.client.sources import Fixed, Following, Watchable, at
from headgate.service.client.stub import stub_class
from headgate.service.client.wires.choose import WIRES, chosen, opener, placed
from headgate.service.codecs import CODECS
from headgate.service.host import Hosted
from headgate.service.registry.instance import Instance, Snapshot
from headgate.service.service import Service

if TYPE_CHECKING:
    from headgate.service.lock import Lock

S = TypeVar("S", bound=Service)

WireName = Literal["http", "grpc", "socket", "nats", "local"]


class Client(Generic[S]):
    """Calls one service. Exactly one of `registry`, `address`, `instances` and `local` says where it is.

    `wire` is the one to use, else the first of `headgate.service.client.wires.choose.WIRES` that an instance has;
    `codec` is how messages are written, where the wire leaves a choice. `lock` holds the field numbers for gRPC, `tls`
    replaces the default verification of certificates, `open_wire` opens instances in a way of its own. `clock` and
    `randomness` are the world's, unless a test brings its own. Nothing is connected before the first call. A client
    belongs to one event loop. Raises InvalidArgument.
    """

    def __init__(
        self,
        service: type[S],
        *,
        registry: Watchable | None = None,
        address: str = "",
        instances: Iterable[Instance] | None = None,
        local: Iterable[Hosted] | None = None,
        wire: WireName | None = None,
        codec: Literal["msgpack", "json"] = "msgpack",
        policy: ClientPolicy | None = None,
        balancer: Balancer | None = None,
        options: CallOptions | None = None,
        lock: "Lock | None" = None,
        tls: ssl.SSLContext | None = None,
        open_wire: Opener | None = None,
        breaker_observer: BreakerObserver | None = None,
        retry_observer: RetryObserver | None = None,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        from headgate.kit.current import outgoing_headers, remaining_time

        self.contract = service.contract()
        self.policy = policy or ClientPolicy()
        self._wires = _wires(wire)
        given = (registry, address or None, instances, local)
        if sum(each is not None for each in given) != 1:
            raise InvalidArgument(
                f"a client of {self.contract.name} needs one place to find it",
                code="invalid_client",
                hint="exactly one of registry, address, instances and local",
            )
        hosted = tuple(local or ())
        self._source = registry or Fixed(self.contract.name, self._fixed(address, instances, hosted, wire))
        chosen_codec = next((each for each in CODECS if each.name == codec), None)
        if chosen_codec is None:
            raise InvalidArgument(f"there is no codec '{codec}'", code="invalid_client", hint="msgpack or json")
        opening = open_wire or opener(
            self.contract,
            self._wires,
            chosen_codec,
            self.policy,
            hosted,
            lock,
            tls,
            (options or CallOptions()).metadata,
        )
        self._peers = Peers(
            self.policy,
            balancer or TwoChoices(randomness),
            opening,
            observer=breaker_observer,
            clock=clock,
            jitter=randomness,
        )
        self._caller = Caller(
            self.contract,
            self.policy,
            self._peers,
            ready=self._ready,
            headers=outgoing_headers,
            remaining=remaining_time,
            observer=retry_observer,
            spread=randomness,
        )
        self._following: Following | None = None
        self._others: dict[str, str] = {}
        self._closed = False
        self._made = stub_class(self.contract, validate=self.policy.validate)
        self._options = options or CallOptions()
        self.snapshot = Snapshot(self.contract.name)
        """What is known of the service now."""
        self.stub: S = self._stub(self._options)
        """What calls are made on."""

    def using(
        self,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        retries: int | None = None,
        hedge_after: float | None = None,
        key: str = "",
    ) -> S:
        """The stub for calls with these options; the others are the client's. Raises InvalidArgument."""
        usual = self._options
        return self._stub(
            CallOptions(
                timeout=usual.timeout if timeout is None else timeout,
                metadata={**usual.metadata, **(metadata or {})},
                idempotency_key=idempotency_key or usual.idempotency_key,
                retries=usual.retries if retries is None else retries,
                hedge_after=usual.hedge_after if hedge_after is None else hedge_after,
                key=key or usual.key,
            )
        )

    @property
    def peers(self) -> Peers:
        """The instances as this client sees them."""
        return self._peers

    async def __aenter__(self) -> S:
        return self.stub

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Watch no more and close all connections; calls under way end."""
        self._closed = True
        following, self._following = self._following, None
        if following is not None:
            await following.aclose()
        await self._peers.aclose()

    def _stub(self, options: CallOptions) -> S:
        return cast("S", self._made(self._caller, options))

    async def _ready(self) -> None:
        """Return once there was a snapshot. Raises what the registry raised in its place."""
        following = self._following
        if following is None or following.failed:
            if self._closed:
                return
            following = self._following = Following(self._source, self.contract.name, self._update)
        if not following.first.done():
            await asyncio.shield(following.first)  # others wait too

    def _update(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._compare(snapshot)
        self._peers.update(each for each in snapshot.instances if placed(each, self._wires)[0])

    def _compare(self, snapshot: Snapshot) -> None:
        """Tell of each instance, once, that it promises something else: nothing wrong, while versions change."""
        mine = self.contract.hash
        others = {each.id: each for each in snapshot.instances if each.contract not in ("", mine)}
        for name, each in others.items():
            if self._others.get(name) != each.contract:
                import structlog

                structlog.get_logger("headgate.client").info(
                    "an instance has another contract than this client",
                    service=each.service, instance=name, version=each.version, contract=each.contract, own=mine,
                    hint="headgate contract check says whether that breaks calls",
                )  # fmt: skip
        self._others = {name: each.contract for name, each in others.items()}

    def _fixed(
        self, address: str, instances: Iterable[Instance] | None, local: tuple[Hosted, ...], wire: str | None
    ) -> list[Instance]:
        name = self.contract.name
        if address:
            return [at(name, address, chosen(address, wire))]
        if instances is not None:
            return list(instances)
        here = [each for each in local if each.contract.name == name]
        return [
            Instance(id=f"{name}-{number}", service=name, endpoints={"local": str(number)})
            for number, _ in enumerate(here)
        ]


def _wires(wire: str | None) -> tuple[str, ...]:
    if wire is None:
        return WIRES
    if wire not in WIRES:
        raise InvalidArgument(f"there is no wire '{wire}'", code="invalid_client", hint=", ".join(WIRES))
    return (wire,)
