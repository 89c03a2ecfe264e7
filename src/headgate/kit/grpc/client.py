"""The client's side: calls to others carry on what the current call brought, and fail with faults.

    channel = grpc.aio.insecure_channel(target, interceptors=client_interceptors())
    reply = await ShopStub(channel).Order(order)        # raises NotFound, not AioRpcError

What is carried on, unless the caller of the stub says otherwise: the deadline (never more than is left), the
request id, and the trace. A fault of another service, if nobody catches it, becomes the answer of ours; where
its words are not for our callers, catch it: `except Unauthenticated`.
"""

import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import grpc

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import DeadlineExceeded
from headgate.kit.current import current_call
from headgate.kit.grpc.status import fault_from_rpc_error

if TYPE_CHECKING:
    _UnaryUnary = grpc.aio.UnaryUnaryClientInterceptor[Any, Any]
    _UnaryStream = grpc.aio.UnaryStreamClientInterceptor[Any, Any]
    _StreamUnary = grpc.aio.StreamUnaryClientInterceptor[Any, Any]
    _StreamStream = grpc.aio.StreamStreamClientInterceptor[Any, Any]
else:
    _UnaryUnary = grpc.aio.UnaryUnaryClientInterceptor
    _UnaryStream = grpc.aio.UnaryStreamClientInterceptor
    _StreamUnary = grpc.aio.StreamUnaryClientInterceptor
    _StreamStream = grpc.aio.StreamStreamClientInterceptor

Continuation = Callable[[Any, Any], Any]

_CARRIED: Final = ("x-request-id", "traceparent", "tracestate")


class _Carrier:
    """What one call takes along."""

    def __init__(self, clock: Callable[[], float], timeout: float | None) -> None:
        self._clock = clock
        self._timeout = timeout

    def details(self, given: Any) -> Any:
        """The details of a call, completed. Raises DeadlineExceeded when there is no time left to make it."""
        call = current_call()
        timeout = self._timeout if given.timeout is None else given.timeout
        metadata = given.metadata
        if call is not None:
            timeout = self._left(call, timeout)
            metadata = _completed(metadata, call)
        return grpc.aio.ClientCallDetails(given.method, timeout, metadata, given.credentials, given.wait_for_ready)

    def _left(self, call: Call, timeout: float | None) -> float | None:
        if call.deadline is None:
            return timeout
        left = call.deadline - self._clock()
        if left <= 0:
            raise DeadlineExceeded("no time is left to call another service", code="request_timeout")
        return left if timeout is None else min(timeout, left)


def _completed(metadata: Any, call: Call) -> Any:
    """A copy of the metadata with what is missing of the call's."""
    pairs = list(metadata or ())
    present = {name for name, _ in pairs}
    trace = call.trace
    values = (call.request_id, trace.traceparent if trace else "", trace.state if trace else "")
    if "traceparent" in present:  # a state without its parent would be another trace's
        values = (call.request_id, "", "")
    pairs += [(name, value) for name, value in zip(_CARRIED, values, strict=True) if value and name not in present]
    return grpc.aio.Metadata(*pairs)


async def _faults(responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The same responses; what breaks them off is a fault."""
    try:
        async for response in responses:
            yield response
    except grpc.RpcError as error:
        raise fault_from_rpc_error(error) from error


async def _settled(call: Any) -> Any:
    """The call once it has its response. Raises a fault instead of an RpcError."""
    try:
        await call
    except grpc.RpcError as error:
        raise fault_from_rpc_error(error) from error
    return call


class _OneToOne(_Carrier, _UnaryUnary):
    async def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return await _settled(await continuation(self.details(client_call_details), request))


class _ManyToOne(_Carrier, _StreamUnary):
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await _settled(await continuation(self.details(client_call_details), request_iterator))


class _OneToMany(_Carrier, _UnaryStream):
    async def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return _faults(await continuation(self.details(client_call_details), request))


class _ManyToMany(_Carrier, _StreamStream):
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return _faults(await continuation(self.details(client_call_details), request_iterator))


def client_interceptors(
    *, timeout: float | None = None, clock: Callable[[], float] = time.monotonic
) -> tuple[grpc.aio.ClientInterceptor, ...]:
    """Interceptors for a channel, one for each kind of call.

    `timeout` in seconds is for calls that give none; `clock` is the one that calls are timed with.
    """
    kinds: Iterable[Any] = (_OneToOne, _ManyToOne, _OneToMany, _ManyToMany)
    return tuple(kind(clock, timeout) for kind in kinds)
