"""The gRPC shell: every call of a server passes through the kit's controls.

    server = grpc.aio.server(interceptors=[KitInterceptor(pipeline)])

The handler of each method, whatever its kind, is wrapped once. The wrapper is started before the request's
message is read: a caller who is refused is refused before anything of theirs is held. It then runs the
handler within the call's time, and settles the call exactly once, with its real duration and code.

Metadata that controls add goes with the trailing metadata of a single response, which costs no further
message, and with the initial metadata of a stream, which is there at its beginning.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from headgate.kit.controls.call import Budget, Call, Pipeline
from headgate.kit.controls.faults import Cancelled, DeadlineExceeded
from headgate.kit.controls.principal import Certificate
from headgate.kit.current import CURRENT
from headgate.kit.grpc.context import EOF, RpcContext, broken_off, no_message, too_large
from headgate.kit.grpc.metadata import Metadata, from_headers, host_of_peer, to_headers
from headgate.kit.grpc.methods import Method, unknown_method
from headgate.kit.grpc.outcome import conclude, refuse_answer, status_of_kind, tell_defect
from headgate.kit.grpc.status import CODES, DETAILS, rich_status, text
from headgate.kit.grpc.watch import Ticker, Watch

CertificateOf = Callable[[Mapping[str, Iterable[bytes]]], Certificate | None]
"""Reads the client certificate out of gRPC's `auth_context`."""

MOST_METHODS: Final = 4_096
"""Wrapped handlers that are kept: a server that answers any method name must not grow with the names."""

_UNTIMED: Final = Budget()
_DETAILS: Final[ContextVar[Any]] = ContextVar("headgate_call_details", default=None)
"""From the interceptor to the handler: what gRPC has decoded of the call already."""


if TYPE_CHECKING:
    _Interceptor = grpc.aio.ServerInterceptor[Any, Any]
else:
    _Interceptor = grpc.aio.ServerInterceptor


class KitInterceptor(_Interceptor):
    """Runs `pipeline` round every call. Must be the first interceptor.

    `certificate_of` is for servers with TLS, which are told apart by it. `max_receive` and `max_send` are bytes of
    one message, 0 without limit; the server's own options must allow a little more, so that it is the call that
    is refused and not the connection's business. `last_words` is how many seconds the reader of a stream that went
    wrong has to take its end, before it is cut off.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        certificate_of: CertificateOf | None = None,
        max_receive: int = 0,
        max_send: int = 0,
        last_words: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.pipeline = pipeline
        self.responds = bool(pipeline.respond_hooks["grpc"])
        self.last_words = last_words
        self.certificate_of = certificate_of
        self.max_receive = max_receive
        self.max_send = max_send
        self.clock = clock
        self.ticker = Ticker()
        self._served: dict[str, _Served] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Find the handler and wrap it."""
        return self.wrap(handler_call_details, await continuation(handler_call_details))

    def wrap(self, details: Any, found: Any) -> Any:
        """The handler behind the controls; one that refuses when there is none, so that it too is counted."""
        _DETAILS.set(details)
        path = details.method
        if found is None:
            return _Served(self, unknown_method(path)).handler
        served = self._served.get(path)
        if served is None or served.method.handler is not found:
            served = _Served(self, Method(path, found))
            if len(self._served) < MOST_METHODS or path in self._served:
                self._served[path] = served
        return served.handler


class NativeContext(RpcContext):
    """A call that came over gRPC itself; `wire` is grpc.aio's own context. It becomes the current call."""

    _expecting = False
    """Whether the one request has not come yet: who is cut off now has sent too much, or left that early."""

    def __init__(self, shell: KitInterceptor, wire: Any, method: Method) -> None:
        self._clock = clock = shell.clock
        self._shell = shell
        self._most_in = shell.max_receive
        self._most_out = shell.max_send
        self.wire = wire
        self.method = method
        details = _DETAILS.get()
        metadata = wire.invocation_metadata() if details is None else details.invocation_metadata
        self._metadata = metadata
        self._peer = peer = wire.peer()
        call = Call("grpc", "POST", method.path, to_headers(metadata or ()), host_of_peer(peer), clock())
        self.call = call
        call.route = method.route
        remaining = wire.time_remaining()
        if remaining is not None:
            call.deadline = call.started + remaining
        if shell.certificate_of is not None:
            call.scheme = "https"
            call.certificate = shell.certificate_of(wire.auth_context())
        self.watch = Watch(shell.ticker, call, clock)
        CURRENT.set(call)

    async def only_request(self) -> Any:
        """The one request."""
        most = self._most_in
        self._expecting = True
        raw: bytes = await self.wire.read()
        if raw is EOF:
            await broken_off()
            raise no_message()
        self._expecting = False
        size = len(raw)
        self.call.bytes_in = size
        if 0 < most < size:
            raise too_large(most)
        return self.method.decode(raw)

    async def _receive(self) -> bytes | None:
        raw: bytes = await self._live().read()
        if raw is EOF:
            await broken_off()
            return None
        return raw

    async def _send(self, raw: bytes) -> None:
        try:
            await self._live().write(raw)
        except grpc.aio.InternalError as error:
            await self._lost(error)

    async def _lost(self, error: Exception) -> NoReturn:
        """Nothing can be sent any more: the cancellation is on its way."""
        await broken_off()
        raise Cancelled("the caller went away") from error

    async def _begin(self, metadata: Metadata) -> None:
        # The answer to a single request says it all in its trailing metadata.
        own = self.respond() if self.method.response_streaming else ()
        try:
            await self._live().send_initial_metadata((*metadata, *own))
        except grpc.aio.InternalError as error:
            await self._lost(error)

    def took(self, size: int) -> None:
        """Count a message that came."""
        self.call.bytes_in += size

    def sent(self, size: int) -> None:
        """Count a message that was sent."""
        call = self.call
        call.bytes_out += size
        call.messages_out += 1
        if call.first_byte is None:
            call.first_byte = self._clock()
        self.watch.progress()

    def answer(self, response: bytes) -> None:
        """Count a single response. Raises ResourceExhausted (`response_too_large`)."""
        self.fits(response)
        call = self.call
        call.bytes_out = len(response)
        call.messages_out = 1
        call.first_byte = self._clock()

    def respond(self) -> Metadata:
        """What the controls add to the answer."""
        call, kind = self.call, self.kind
        call.code = kind
        call.status = status_of_kind(kind)
        if not self._shell.responds:
            return ()
        headers: list[tuple[bytes, bytes]] = []
        try:
            self._shell.pipeline.respond(call, headers)
        except Exception as error:  # noqa: BLE001 - a defect in a control costs its metadata, not the answer
            self._tell(error)
        return from_headers(headers)

    def _last(self) -> Metadata:
        """The trailing metadata: the handler's, and the controls' unless the beginning of a stream had them."""
        own = self.trailing
        if self.begun and self.method.response_streaming:
            return own
        return (*own, *self.respond()) if own else self.respond()

    def finish(self) -> None:
        """Prepare the end of a call that went well; grpc.aio sends it when the wrapper returns."""
        trailing = self._last()
        if trailing:
            self.wire.set_trailing_metadata(trailing)
        self.call.complete = True

    async def refuse(self) -> None:
        """End a call that went wrong. Raises AbortError, as grpc.aio wants it."""
        self.watch.stop()
        trailing = self._last()
        fault = self.call.fault
        if fault is not None:
            trailing = (*trailing, (DETAILS, rich_status(fault, self.call.request_id).SerializeToString()))
        try:
            # The end of a stream waits behind what its reader has not taken yet.
            async with asyncio.timeout(self._shell.last_words if self.begun else None):
                await self.wire.abort(CODES[self.kind], text(self.message), trailing)
        except TimeoutError:
            raise asyncio.CancelledError from None
        except grpc.aio.AbortError:
            self.call.complete = True
            raise
        except grpc.aio.InternalError:
            # The caller is gone. What looked like a request without a message was one that broke off.
            if self._expecting:
                self.lost()
            raise

    def lost(self) -> None:
        """The call ended from without: its time is over, its message was too large, or its caller left."""
        if self._out_of_time():
            self.fail(DeadlineExceeded("not done within the time the caller gave", code="request_timeout"))
        elif self._expecting and self._most_in:
            self.fail(too_large(self._most_in))
        else:
            self.fail(Cancelled("the caller went away"))

    def settle(self) -> None:
        """The call is over."""
        call, kind = self.call, self.kind
        self.watch.stop()
        call.ended = self._clock()
        call.code = kind
        call.status = status_of_kind(kind)
        self._shell.pipeline.settle(call, self._tell)
        self.end()

    def _tell(self, error: BaseException) -> None:
        tell_defect(self.call, error)

    def cut_off(self) -> bool:
        """The handler was cancelled. Returns whether the caller can still be told why."""
        if self.watch.expired is not None:
            return self.timed_out()
        task = asyncio.current_task()
        pending = task.cancelling() if task is not None else 0
        if not pending:  # what the handler awaited was cancelled, not the call
            conclude(self, RuntimeError("the handler raised CancelledError, but the call was not cancelled"))
            return True
        self.lost()
        return False

    def _out_of_time(self) -> bool:
        """Whether the caller's deadline is over; theirs may be a little ahead of ours, and is rounded on the way."""
        deadline, now = self.call.deadline, self._clock()
        return deadline is not None and deadline - now <= max(0.1, (deadline - self.call.started) / 20)

    def timed_out(self) -> bool:
        """The watch cancelled the handler. Returns whether that was all; the caller may have left as well."""
        fault, task = self.watch.expired, asyncio.current_task()
        if fault is None or task is None or self.call.fault is fault:
            return True
        self.call.refused_by = "deadline"
        self.fail(fault)
        return task.uncancel() == 0

    def invocation_metadata(self) -> Any:
        """What the caller sent along."""
        return self._metadata

    def peer(self) -> str:
        """The other end, such as `ipv4:127.0.0.1:50000`."""
        return str(self._peer)

    def peer_identity_key(self) -> str | None:
        """Which entry of `auth_context` identifies the peer."""
        key: str | None = self._live().peer_identity_key()
        return key

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS told of the peer."""
        found: Mapping[str, Iterable[bytes]] = self._live().auth_context()
        return found

    def set_compression(self, compression: grpc.Compression) -> None:
        """Compress the responses; before the first one is sent."""
        self._live().set_compression(compression)

    def disable_next_message_compression(self) -> None:
        """Send the next message as it is."""
        self._live().disable_next_message_compression()

    def _live(self) -> Any:
        """The context of gRPC. Once a call is over it must not be asked: it would take the process down."""
        if self._ended:
            raise grpc.aio.UsageError("RPC already finished.")
        return self.wire


class _Served:
    """One method behind the controls; `handler` is what grpc.aio is given in place of the original.

    It reads the requests itself, also where there is but one: the controls come before the message.
    """

    def __init__(self, shell: KitInterceptor, method: Method) -> None:
        self._shell = shell
        self.method = method
        self.handler: Any = (
            grpc.stream_stream_rpc_method_handler(self._stream)
            if method.response_streaming
            else grpc.stream_unary_rpc_method_handler(self._single)
        )

    async def _single(self, _requests: Any, wire: Any) -> bytes:
        context = NativeContext(self._shell, wire, self.method)
        try:
            response: bytes = await self._run(context)
            if context.kind != "OK":
                await context.refuse()
            context.finish()
        except BaseException:
            context.settle()
            raise
        # Once the response is on its way: its reader need not wait for the books.
        asyncio.get_running_loop().call_soon(context.settle)
        return response

    async def _stream(self, _requests: Any, wire: Any) -> None:
        context = NativeContext(self._shell, wire, self.method)
        try:
            await self._run(context)
            if context.kind != "OK":
                await context.refuse()
            context.watch.stop()
            if not context.begun:
                await context.send_initial_metadata(())
            context.finish()
        finally:
            context.settle()

    async def _run(self, context: NativeContext) -> Any:
        """Run the controls and the handler. Returns the response's bytes; what went wrong is in the context."""
        call, method = context.call, self.method
        response: Any = None
        try:
            verdict = await self._shell.pipeline.enter(call)
            if verdict is not None:
                refuse_answer(verdict)
            if method.untimed:
                call.budget = _UNTIMED
            context.watch.start()
            response = await method.drive(context)
            if response is not None and context.kind == "OK":
                context.answer(response)
        except asyncio.CancelledError:
            if not context.cut_off():
                raise
        except Exception as error:  # noqa: BLE001 - outermost: nothing a handler raises may reach the caller
            conclude(context, error)
        if context.watch.expired is not None:
            context.timed_out()  # whatever the handler made of being told to stop
        return response
