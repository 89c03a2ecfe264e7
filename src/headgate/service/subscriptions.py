"""Methods with `@on`, fed by a broker: events decoded and validated, guarded, and handed over like calls.

    subscriptions = Subscriptions(hosted, broker, pipeline=Pipeline(watching, frozenset(("local", "nats"))))
    await subscriptions.start()
    ...
    await subscriptions.drain(10.0)

Each event is a call of its own (protocol `nats` or `local`, route `/PACKAGE.SERVICE/method`): it passes `pipeline`,
the middleware of application and service, and has a `Context`. It carries no principal: whoever may publish on a
subject is for the broker to say, and an event proves nothing of who did. So credentials in its headers are not
looked at, the pipeline should hold no control that refuses strangers, and a subscription with a guard refuses every
event that no middleware of the application has given a principal.

A fault that will be the same next time (malformed, invalid, forbidden) makes a dead letter at once; all others, and
defects, are tried again as the subscription says.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final

import structlog

from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.kit.current import CURRENT
from headgate.kit.tls.rotation import Certificates
from headgate.service.broker.base import Broker, Delivery, Rejected
from headgate.service.broker.base import Subscription as Subscribed
from headgate.service.contract import Contract, Subscription
from headgate.service.guard import PUBLIC
from headgate.service.host import Hosted
from headgate.service.invoke import Conditions, Endpoint
from headgate.service.method import Kind, Method, Options
from headgate.service.transports.session.conduct import Conduct

HOPELESS: Final = frozenset(
    ("INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNIMPLEMENTED", "OUT_OF_RANGE")
)
"""Kinds of faults that trying again does not change."""

_PRIVATE: Final = frozenset(("authorization", "proxy-authorization", "cookie"))
_log = structlog.get_logger("headgate.service")


class Subscriptions:
    """See the module. It is a part of what a process serves: `serving.add(Subscriptions(hosted, broker))`.

    `conditions` are those the services are hosted under: their roles and middleware.
    """

    certificates: Certificates | None = None

    def __init__(
        self,
        hosted: Iterable[Hosted],
        broker: Broker,
        pipeline: Pipeline | None = None,
        *,
        conditions: Conditions | None = None,
    ) -> None:
        self._broker = broker
        self._conduct = Conduct((), pipeline, broker.protocol)
        self._handlers = [
            _Handler(self._conduct, each, listening, conditions or Conditions(), broker.protocol)
            for each in hosted
            for listening in each.contract.subscriptions
        ]
        self._subscribed: list[Subscribed] = []
        self._ended = asyncio.Event()

    @property
    def name(self) -> str:
        """What it is called in logs."""
        return "subscriptions"

    async def bind(self) -> None:
        """Connect the broker. Raises what its `start` does."""
        if self._handlers:
            await self._broker.start()

    async def start(self) -> None:
        """Take events from now on."""
        await self.bind()
        for handler in self._handlers:
            told = handler.subscription.listening
            self._subscribed.append(
                await self._broker.subscribe(
                    told.subject,
                    handler,
                    group=told.group,
                    retries=told.retries,
                    backoff=told.backoff,
                    dead_letter=told.dead_letter,
                    concurrency=told.concurrency,
                )
            )
        if self._handlers:
            _log.info("subscribed", subscriptions=len(self._handlers))

    async def wait(self) -> None:
        """Return when it was stopped."""
        await self._ended.wait()

    def leave(self) -> None:
        """Nothing: events are taken until it drains."""

    async def drain(self, grace: float = 10.0) -> None:
        """Take no more events, finish those that came within `grace` seconds, then cancel what is left."""
        subscribed, self._subscribed = self._subscribed, []
        await asyncio.gather(*(each.drain(grace) for each in subscribed))

    async def stop(self) -> None:
        """Let go of the broker."""
        await self.drain(0.0)
        if self._handlers:
            await self._broker.aclose()
        self._ended.set()


class _Handler:
    """One subscription of one service."""

    def __init__(
        self, conduct: Conduct, hosted: Hosted, subscription: Subscription, conditions: Conditions, protocol: Any
    ) -> None:
        self._conduct = conduct
        self._protocol = protocol
        self.subscription = subscription
        self._endpoint = Endpoint(
            hosted.service, hosted.contract, _as_method(hosted.contract, subscription), conditions
        )

    async def __call__(self, delivery: Delivery) -> None:
        """Hand one event over. Raises Rejected for what is not to be tried again, and the fault for the rest."""
        call = self._call(delivery)
        token = CURRENT.set(call)
        try:
            fault = await self._run(call, delivery)
        except asyncio.CancelledError:
            self._conduct.cancelled(call)
            raise
        finally:
            CURRENT.reset(token)
        self._conduct.settle(call, fault)
        if fault is None:
            return
        if fault.kind in HOPELESS:
            raise Rejected(_told(fault)) from fault
        raise fault

    async def _run(self, call: Call, delivery: Delivery) -> Fault | None:
        try:
            await self._conduct.enter(call)
            call.route = self._endpoint.path
            event = self._decoded(delivery)
            call.bytes_in = len(delivery.data)
            await self._endpoint.call(event, call)
        except Exception as error:  # noqa: BLE001 - whatever it is, the broker is told
            return self._conduct.judge(call, error)
        return None

    def _decoded(self, delivery: Delivery) -> Any:
        try:
            return delivery.decode(self.subscription.event)
        except Rejected as error:
            raise InvalidArgument(str(error), code="malformed_event") from error

    def _call(self, delivery: Delivery) -> Call:
        headers: Sequence[tuple[bytes, bytes]] = [
            (name.encode("latin-1", "replace"), value.encode("utf-8", "replace"))
            for name, value in delivery.headers.items()
            if name not in _PRIVATE
        ]
        return Call(self._protocol, "POST", self._endpoint.path, headers, "broker", time.monotonic())


def _as_method(contract: Contract, subscription: Subscription) -> Method:
    """The subscription as a method that is called with each event, so that it runs like all others."""
    return Method(
        name=subscription.name,
        rpc=subscription.name,
        kind=Kind.UNARY,
        request=subscription.event,
        response=None,
        function=subscription.function,
        options=Options(),
        context=subscription.context,
        guard=subscription.listening.guard or PUBLIC,
        description=subscription.description or contract.description,
    )


def _told(fault: Fault) -> str:
    return f"{fault.code}: {fault.message}"
