"""The smallest ADS there can be: it serves fixed resources, state of the world, and notes what Envoy says to them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Self

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from google.protobuf.any_pb2 import Any

from headgate.controlplane.translate.resource import CLUSTER, LISTENER, TeamSnapshot

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"


class FixedAds:
    """Serves `resources` ({type URL: {name: body}}). `verdicts` holds, per type, "" (accepted) or the refusal."""

    def __init__(self, resources: Mapping[str, Mapping[str, bytes]]) -> None:
        self.resources = resources
        self.verdicts: dict[str, str] = {}
        self._server = grpc.aio.server()
        handler = grpc.stream_stream_rpc_method_handler(
            self._stream, DiscoveryRequest.FromString, DiscoveryResponse.SerializeToString
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"StreamAggregatedResources": handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    @classmethod
    def of(cls, snapshot: TeamSnapshot) -> Self:
        """Serve a snapshot."""
        return cls(
            {
                type_url: {name: each.body for name, each in named.items()}
                for type_url, named in snapshot.resources.items()
            }
        )

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    async def verdict(self, type_url: str, within: float = 15.0) -> str:
        """Wait for what Envoy says to the resources of a type: "" or the refusal."""
        async with asyncio.timeout(within):
            while type_url not in self.verdicts:
                await asyncio.sleep(0.02)
        return self.verdicts[type_url]

    async def _stream(self, requests: AsyncIterator[DiscoveryRequest], _: object) -> AsyncIterator[DiscoveryResponse]:
        sent: dict[str, set[str]] = {}
        async for request in requests:
            type_url, asked = request.type_url, set(request.resource_names)
            if request.response_nonce:
                self.verdicts[type_url] = request.error_detail.message
            if type_url in sent and asked <= sent[type_url]:
                continue
            sent[type_url] = asked
            every = type_url in {CLUSTER, LISTENER}
            held = self.resources.get(type_url, {})
            bodies = [body for name, body in held.items() if every or name in asked]
            yield DiscoveryResponse(
                version_info="1",
                type_url=type_url,
                nonce=f"{type_url} {len(asked)}",
                resources=[Any(type_url=type_url, value=body) for body in bodies],
            )
