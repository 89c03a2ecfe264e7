"""Calls over gRPC: one channel for an instance, messages by descriptors made while running.

    wire = GrpcWire("10.0.0.1:50051", Orders.contract(), ClientPolicy(), lock=lock)

Field numbers are the lock's, else follow the order; both sides need the same. Needs the extra `grpc`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any, Final

import grpc

from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.kit.grpc.status import DETAILS, fault_from_rpc_error
from headgate.service.client.errors import BadAnswer, ConnectionLost, OutOfTime, Unreachable
from headgate.service.client.options import ClientPolicy
from headgate.service.client.wires import Outgoing
from headgate.service.contract import Contract
from headgate.service.faults import document_of, fault_of
from headgate.service.method import Kind, Method
from headgate.service.proto.mapping import schema_of
from headgate.service.proto.wire import Wire

if TYPE_CHECKING:
    from headgate.service.lock import Lock

_NEVER_SENT: Final = ("failed to connect to all addresses", "DNS resolution failed", "name resolver")
_RESET: Final = "CANCELLED"
"""All that gRPC says of a call whose stream the other side let go, as a server does that ends before it began it."""
_STILL_WRITING: Final = "Internal error from Core"
_MOMENT: Final = 0.005
_MOMENTS: Final = 100


class GrpcWire:
    """See the module. `credentials` are for TLS, which addresses with `grpcs://` use by default."""

    def __init__(
        self,
        address: str,
        contract: Contract,
        policy: ClientPolicy,
        *,
        lock: "Lock | None" = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        scheme, separator, target = address.rpartition("://")
        if (separator and scheme not in ("grpc", "grpcs")) or not target:
            raise InvalidArgument(
                "this is no address of gRPC", code="invalid_address", hint="one is such as 10.0.0.1:50051"
            )
        wire = Wire([schema_of(contract, None if lock is None else lock.numbers)])
        self._codecs = {
            method.rpc: (wire.request(contract, method), wire.response(contract, method))
            for method in contract.methods.values()
        }
        self._calls: dict[str, Any] = {}
        options = [
            ("grpc.max_receive_message_length", policy.max_message),
            ("grpc.max_send_message_length", policy.max_message),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", int(1_000 * policy.connect_timeout)),
        ]
        if credentials is None and scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials()
        self._channel = (
            grpc.aio.insecure_channel(target, options=options)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=options)
        )

    async def unary(self, out: Outgoing, request: Any) -> Any:
        """The answer to one request."""
        codec, _ = self._codecs[out.method.rpc]
        try:
            body = await self._call(out)(codec.encode(request), timeout=out.left(), metadata=_metadata(out))
        except grpc.RpcError as error:
            raise _fault(error, out.method) from error
        except asyncio.CancelledError:
            _check_cancelled()
            raise
        return self._decoded(out.method, body)

    async def stream(self, out: Outgoing, request: Any) -> AsyncGenerator[Any, None]:
        """The answers as they come; of a method that streams in only, the one."""
        codec, _ = self._codecs[out.method.rpc]
        sending: asyncio.Task[None] | None = None
        if out.method.kind.streams_in:
            call = self._call(out)(timeout=out.left(), metadata=_metadata(out))
            sending = asyncio.get_running_loop().create_task(_send(call, codec, request))
        else:
            call = self._call(out)(codec.encode(request), timeout=out.left(), metadata=_metadata(out))
        ending = _Ending(call)
        try:
            async for body in call:
                yield self._decoded(out.method, body)
        except grpc.RpcError as error:
            failure = await ending.error(error)
            if failure is not None:
                raise _fault(failure, out.method) from error
        except asyncio.CancelledError:
            _check_cancelled(request)
            raise
        finally:
            call.cancel()
            if sending is not None:
                sending.cancel()
                await asyncio.wait([sending])

    async def aclose(self) -> None:
        """Close the channel."""
        await self._channel.close(None)

    def _call(self, out: Outgoing) -> Any:
        found = self._calls.get(out.path)
        if found is None:
            make: Any = {
                Kind.UNARY: self._channel.unary_unary,
                Kind.SERVER_STREAM: self._channel.unary_stream,
                # The same on the wire; an answer that comes early is not lost with what is still being written.
                Kind.CLIENT_STREAM: self._channel.stream_stream,
                Kind.BIDI: self._channel.stream_stream,
            }[out.method.kind]
            found = self._calls[out.path] = make(out.path)
        return found

    def _decoded(self, method: Method, body: bytes) -> Any:
        try:
            return self._codecs[method.rpc][1].decode(body)
        except InvalidArgument as error:
            raise BadAnswer(
                f"the answer of {method.name} is not what its contract says",
                hint="compare the contracts and locks of both sides",
                internal=error.message,
            ) from error


async def _send(call: Any, codec: Any, requests: AsyncIterator[Any]) -> None:
    """Write all that the caller says, until the call is over. What the caller raises ends the call."""
    try:
        async for each in requests:
            await call.write(codec.encode(each))
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        return  # the call ended first, and tells why itself
    except Exception as error:  # noqa: BLE001 - the caller's own, told where the answers are read
        call.cancel()
        if getattr(requests, "error", None) is None:
            requests.error = error  # type: ignore[attr-defined]  # such as a value that protocol buffers cannot hold


class _Ending:
    """How a call ended.

    A message that is being written when the service ends the call makes gRPC put a status of its own in the place of
    the service's, before or after that came.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._first: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._keep)

    def _keep(self, call: Any) -> None:
        if self._first is None:
            self._first = _status_of(call)

    async def error(self, error: Any) -> Any:
        """Why it failed; None when it did not."""
        found = error
        for _ in range(_MOMENTS):
            if found.details() != _STILL_WRITING:
                break
            found = self._first
            if found is None or found.details() == _STILL_WRITING:
                await asyncio.sleep(_MOMENT)
                found = _status_of(self._call)
        return None if found.code() is grpc.StatusCode.OK else found


def _status_of(call: Any) -> grpc.aio.AioRpcError:
    """The status of a call that is done, which none of this waits for."""
    code, details = _at_once(call.code()), _at_once(call.details())
    initial, trailing = _at_once(call.initial_metadata()), _at_once(call.trailing_metadata())
    return grpc.aio.AioRpcError(code, initial, trailing, details, None)


def _at_once(waiting: Coroutine[Any, Any, Any]) -> Any:
    try:
        waiting.send(None)
    except StopIteration as done:
        return done.value
    waiting.close()
    return None


def _metadata(out: Outgoing) -> tuple[tuple[str, str], ...]:
    return tuple((name.lower(), value) for name, value in out.headers.items())


def _fault(error: grpc.RpcError, method: Method) -> Fault:
    """The service's fault, of the class that the method declares; or what became of the connection."""
    found = fault_from_rpc_error(error)
    read: Any = error
    if any(name == DETAILS for name, _ in read.trailing_metadata() or ()):
        told = fault_of(_whole(document_of(found)), method.faults)
        told.internal = found.internal
        return told
    if found.kind == "UNAVAILABLE":
        made = Unreachable if any(sign in found.message for sign in _NEVER_SENT) else ConnectionLost
        said = "the service cannot be reached" if made is Unreachable else "the connection broke"
        return made(said, internal=f"{found.message} {found.internal}"[:300])
    if found.kind == "CANCELLED" and found.message == _RESET:
        return ConnectionLost("the service ended the call", internal="its stream was reset")
    if found.kind == "DEADLINE_EXCEEDED":
        return OutOfTime("the time for this call is up", hint="allow more time, or ask for less")
    return found


def _check_cancelled(request: Any = None) -> None:
    """Return when the caller was cancelled. Raises why the call was when nobody did that to the caller."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return
    own: BaseException | None = getattr(request, "error", None)
    raise own or ConnectionLost("the connection broke", internal="the call was cancelled below")


def _whole(value: Any) -> Any:
    """The same with numbers that are whole as integers: protocol buffers make doubles of all of JSON's."""
    if isinstance(value, dict):
        return {name: _whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
