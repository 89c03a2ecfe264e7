"""One handler for each method: bytes to a request, the endpoint, and its response to bytes."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from typing import Any

import grpc

from headgate.kit.grpc.registry import Register, methods_handler
from headgate.service.host import Hosted
from headgate.service.invoke import Endpoint
from headgate.service.lock import Lock
from headgate.service.method import Kind
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.wire import Codec, Nothing, Wire


class GrpcService:
    """Registers one hosted service with a server: `kit.grpc_server(GrpcService(hosted, wire))`."""

    def __init__(self, hosted: Hosted, wire: Wire) -> None:
        self.hosted = hosted
        self.wire = wire

    def __call__(self, server: Any) -> None:
        """Add the service's methods, and its descriptors where the server keeps any."""
        contract = self.hosted.contract
        handlers = {
            rpc: _handler(
                endpoint,
                self.wire.request(contract, endpoint.method),
                self.wire.response(contract, endpoint.method),
            )
            for rpc, endpoint in self.hosted.endpoints.items()
        }
        server.add_generic_rpc_handlers((methods_handler(contract.full_name, handlers),))
        if hasattr(server, "add_descriptors"):
            server.add_descriptors(self.wire.pool)


def grpc_services(hosted: Iterable[Hosted], locks: Mapping[str, Lock] | None = None) -> list[Register]:
    """What `Kit.grpc_server` is given. `locks` are by the names of services; without one numbers follow the order.

    A service that only subscribes has nothing to register. Raises InvalidArgument for what protocol buffers cannot
    say; see `headgate.service.proto`.
    """
    found: list[Register] = []
    for each in hosted:
        contract = each.contract
        if contract.methods:
            lock = locks.get(contract.name) if locks else None
            wire = Wire([schema_of(contract, lock.numbers if lock is not None else None)])
            found.append(GrpcService(each, wire))
    return found


def _handler(endpoint: Endpoint, request: Codec | Nothing, response: Codec | Nothing) -> Any:
    call = endpoint.call
    # A codec's faults are to be told as they are; the kit would take what a serialiser raises for a defect.
    encode = response.encode

    async def single(message: Any, context: Any) -> bytes:
        return encode(await call(message, context.call))

    async def stream(messages: Any, context: Any) -> AsyncIterator[bytes]:
        responses = await call(messages, context.call)
        if not hasattr(responses, "aclose"):
            async for each in responses:
                yield encode(each)
            return
        async with aclosing(responses):
            async for each in responses:
                yield encode(each)

    made: Any = {
        Kind.UNARY: grpc.unary_unary_rpc_method_handler,
        Kind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
        Kind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
        Kind.BIDI: grpc.stream_stream_rpc_method_handler,
    }[endpoint.method.kind]
    behaviour = stream if endpoint.method.kind.streams_out else single
    return made(behaviour, request_deserializer=request.decode)
