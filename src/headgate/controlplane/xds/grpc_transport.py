"""The gRPC transport: streams of grpc.aio over the hub's sessions.

It only moves messages: reads are bounded, writes wait for a slow reader, and everything else is the
session's; faults become gRPC statuses in the kit's interceptor. Source: envoy/service/discovery/v3 (ADS and per type).
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from headgate.controlplane.core.dataplane_state import Node
from headgate.controlplane.translate.resource import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, TYPES
from headgate.controlplane.xds.hub import Hub, Session
from headgate.controlplane.xds.messages import Request
from headgate.controlplane.xds.wire import delta_request, node_of, sotw_request
from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.kit.tasks import end

_log = structlog.get_logger("headgate.xds")

INBOX = 64
"""Requests of one stream that may wait; beyond it the stream is not read."""

SERVICES: Sequence[tuple[str, str, str, str]] = (
    ("envoy.service.discovery.v3.AggregatedDiscoveryService", "AggregatedResources", "AggregatedResources", ""),
    ("envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters", "Clusters", CLUSTER),
    ("envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints", "Endpoints", ENDPOINT),
    ("envoy.service.listener.v3.ListenerDiscoveryService", "Listeners", "Listeners", LISTENER),
    ("envoy.service.route.v3.RouteDiscoveryService", "Routes", "Routes", ROUTE),
    ("envoy.service.secret.v3.SecretDiscoveryService", "Secrets", "Secrets", SECRET),
)
"""Service, suffix of its `Stream*` and `Delta*` methods, and the type it implies."""

Context = grpc.aio.ServicerContext[Any, bytes]
Identify = Callable[[Node], Awaitable[None]]
"""Raises a fault when the peer of the current call may not speak for the node."""


@dataclass(frozen=True, slots=True)
class _Method:
    delta: bool
    type_url: str

    @property
    def types(self) -> Sequence[str]:
        return (self.type_url,) if self.type_url else TYPES

    def parse(self, message: Any) -> Request:
        request = delta_request(message, self.type_url) if self.delta else sotw_request(message, self.type_url)
        if not request.type_url:
            raise InvalidArgument("the request names no type_url", code="missing_type_url", hint="set type_url")
        return request


class GrpcTransport:
    """Serves every discovery service, both ways, over a hub. `identify` checks who speaks for a node."""

    def __init__(self, hub: Hub, identify: Identify) -> None:
        self._hub = hub
        self._identify = identify

    def handlers(self) -> "list[grpc.GenericRpcHandler[Any, Any]]":
        """What a grpc.aio server is to be given."""
        return [
            grpc.method_handlers_generic_handler(
                service,
                {
                    f"Stream{state}": self._method(_Method(delta=False, type_url=type_url)),
                    f"Delta{delta}": self._method(_Method(delta=True, type_url=type_url)),
                },
            )
            for service, state, delta, type_url in SERVICES
        ]

    def _method(self, method: _Method) -> Any:
        message = DeltaDiscoveryRequest if method.delta else DiscoveryRequest
        return grpc.stream_stream_rpc_method_handler(
            partial(self._serve, method), request_deserializer=message.FromString
        )

    async def _serve(self, method: _Method, messages: AsyncIterator[Any], context: Context) -> None:
        first = await anext(aiter(messages), None)
        if first is None:
            return
        node = node_of(first)
        if node is None or not node.id:
            raise InvalidArgument("the first request carries no node", code="missing_node", hint="set node.id")
        request = method.parse(first)
        await self._identify(node)
        awake = asyncio.Event()
        session = await self._hub.connect(node, awake.set, delta=method.delta, types=method.types)
        _log.info("dataplane connected", node=node.id, team=node.team, version=node.version, delta=method.delta)
        try:
            await _Conversation(method, session, awake, request).run(messages, context)
        finally:
            self._hub.disconnect(session)
            _log.info("dataplane disconnected", node=node.id, team=node.team)


class _Conversation:
    """Reading and writing one stream."""

    def __init__(self, method: _Method, session: Session, awake: asyncio.Event, first: Request) -> None:
        self._method = method
        self._session = session
        self._awake = awake
        self._inbox = deque([first])
        self._room = asyncio.Event()
        self._ended = False
        self._fault: Fault | None = None

    async def run(self, messages: AsyncIterator[Any], context: Context) -> None:
        """Converse until the client or the hub ends it."""
        reader = asyncio.create_task(self._read(messages))
        timer: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._awake.set()
        try:
            while not self._session.closing:
                await self._awake.wait()
                self._awake.clear()
                requests = list(self._inbox)
                self._inbox.clear()
                self._room.set()
                payloads = self._session.step(requests)
                if timer:
                    timer.cancel()
                delay = self._session.wake_in
                timer = loop.call_later(delay, self._awake.set) if delay is not None else None
                for payload in payloads:
                    await context.write(payload)
                if self._fault:
                    raise self._fault
                if self._ended and not self._inbox:
                    return
        finally:
            if timer:
                timer.cancel()
            await end(reader)

    async def _read(self, messages: AsyncIterator[Any]) -> None:
        try:
            async for message in messages:
                self._check_node(message)
                self._inbox.append(self._method.parse(message))
                self._awake.set()
                while len(self._inbox) >= INBOX:
                    self._room.clear()
                    await self._room.wait()
        except Fault as fault:
            self._fault = fault
        finally:
            self._ended = True
            self._awake.set()

    def _check_node(self, message: Any) -> None:
        node = self._session.node
        if message.HasField("node") and message.node.id and message.node.id != node.id:
            raise InvalidArgument("node.id changed within a stream", code="node_changed", hint="open a new stream")
