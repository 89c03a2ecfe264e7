"""What a handler is handed: gRPC's own servicer context, over any wire.

`RpcContext` keeps what the handler says of the outcome (code, details, metadata) until the shell that runs
it ends the call; a subclass moves bytes. `abort` raises, as it does in grpc.aio; the shell then sends.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NoReturn

import grpc

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, InvalidArgument, ResourceExhausted
from headgate.kit.grpc.metadata import Metadata, own_metadata
from headgate.kit.grpc.methods import Method
from headgate.kit.grpc.status import CODES, code_name

_ON_ITS_WAY: Final = 0.001
EOF: Any = getattr(grpc.aio, "EOF")  # noqa: B009 - the stubs do not know it


if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[Any, Any]
else:
    _Context = grpc.aio.ServicerContext


class RpcContext(_Context):
    """One RPC under way. `most_in` and `most_out` are bytes of one message, 0 without limit."""

    kind = "OK"
    """Name of the status code this ends with."""
    message = ""
    trailing: Metadata = ()
    aborted: grpc.aio.AbortError | None = None
    begun = False
    """Whether initial metadata was sent."""
    _callbacks: list[Callable[[Any], None]] | None = None
    _ended = False

    def __init__(self, call: Call, method: Method, most_in: int, most_out: int, clock: Callable[[], float]) -> None:
        self.call = call
        self.method = method
        self._most_in = most_in
        self._most_out = most_out
        self._clock = clock

    async def _receive(self) -> bytes | None:
        """The next message's bytes, None when there are no more. Cancelled when the caller left."""
        raise NotImplementedError

    async def _send(self, raw: bytes) -> None:
        """Send one message of a streamed response."""
        raise NotImplementedError

    async def _begin(self, metadata: Metadata) -> None:
        """Send the initial metadata, with what the controls add."""
        raise NotImplementedError

    async def only_request(self) -> Any:
        """The one request of a method that takes one. Raises InvalidArgument (`no_message`)."""
        raw = await self._receive()
        if raw is None:
            raise no_message()
        return self._taken(raw)

    async def requests(self) -> AsyncIterator[Any]:
        """The requests of a method that takes many."""
        while (raw := await self._receive()) is not None:
            yield self._taken(raw)

    async def read(self) -> Any:
        """The next request, or `grpc.aio.EOF`."""
        raw = await self._receive()
        return EOF if raw is None else self._taken(raw)

    def _taken(self, raw: bytes) -> Any:
        self.took(len(raw))
        if 0 < self._most_in < len(raw):
            raise too_large(self._most_in)
        return self.method.decode(raw)

    def fits(self, raw: bytes) -> bytes:
        """A response's bytes, when they are not too many. Raises ResourceExhausted (`response_too_large`)."""
        if 0 < self._most_out < len(raw):
            raise ResourceExhausted(
                f"the response would be larger than {self._most_out} bytes",
                code="response_too_large",
                hint="ask for less at a time",
            )
        return raw

    def took(self, size: int) -> None:
        """Count a message that came, unless whoever moves the bytes does."""

    def sent(self, size: int) -> None:
        """Count a message that was sent, unless whoever moves the bytes does."""

    async def write(self, message: Any) -> None:
        """Send one response of many."""
        if self.aborted is not None:
            raise self.aborted
        raw = self.fits(self.method.encode(message))
        if not self.begun:
            await self.send_initial_metadata(())
        await self._send(raw)
        self.sent(len(raw))

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send metadata ahead of all responses; once."""
        if self.begun:
            raise grpc.aio.UsageError("Initial metadata already sent!")
        self.begun = True
        await self._begin(own_metadata(initial_metadata))

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """End the call with this status. Raises AbortError, which the handler lets through."""
        if self.aborted is not None:
            raise grpc.aio.UsageError("Abort already called!")
        self.aborted = grpc.aio.AbortError("Locally aborted.")
        kind = code_name(code)
        # As grpc.aio: aborting with success is the handler's mistake.
        self.kind = "UNKNOWN" if kind == "OK" else kind
        self.message = details or self.message
        self.trailing = own_metadata(trailing_metadata) or self.trailing
        raise self.aborted

    async def abort_with_status(self, status: Any) -> NoReturn:
        """`abort` with the three parts of a `grpc.Status`."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def fail(self, fault: Fault) -> None:
        """Make a fault the outcome."""
        self.call.fault = fault
        self.kind = fault.kind
        self.message = fault.message

    def end(self) -> None:
        """Tell those who asked to be told that the call is over."""
        self._ended = True
        if self._callbacks is not None:
            for callback in self._callbacks:
                callback(self)

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Metadata sent after the last response."""
        self.trailing = own_metadata(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """What `set_trailing_metadata` was given."""
        return self.trailing

    def set_code(self, code: Any) -> None:
        """The status the call ends with once the handler returns."""
        self.kind = code_name(code)

    def code(self) -> Any:
        """The status so far."""
        return CODES[self.kind]

    def set_details(self, details: str) -> None:
        """The message that goes with a status other than OK."""
        self.message = details

    def details(self) -> str:
        """What `set_details` was given."""
        return self.message

    def time_remaining(self) -> Any:
        """Seconds until the call's deadline, None without one."""
        deadline = self.call.deadline
        return None if deadline is None else max(0.0, deadline - self._clock())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call `callback` with this context when the call is over."""
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append(callback)

    def cancelled(self) -> bool:
        """Whether it ended because the caller left."""
        return self._ended and self.kind == "CANCELLED"

    def done(self) -> bool:
        """Whether it is over."""
        return self._ended

    def peer_identities(self) -> Iterable[bytes] | None:
        """The identities TLS verified, None without any."""
        key = self.peer_identity_key()
        return self.auth_context().get(key) if key else None

    def peer_identity_key(self) -> str | None:
        """Which entry of `auth_context` holds them."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """What TLS told of the peer."""
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Ask for compression; a wire that negotiates it itself takes no notice."""

    def disable_next_message_compression(self) -> None:
        """Send the next message as it is, where a wire compresses one at a time."""


def no_message() -> Fault:
    """The refusal of a request that ends before its message."""
    return InvalidArgument("the request holds no message", code="no_message", hint="send exactly one")


def too_large(limit: int) -> Fault:
    """The refusal of a request's message."""
    return ResourceExhausted(
        f"a message of the request is larger than {limit} bytes", code="body_too_large", hint="send it in parts"
    )


async def broken_off() -> None:
    """Give a cancellation that is on its way the time to arrive.

    To grpc.aio the end of the requests and a broken stream look alike; what tells them apart is the cancellation
    that another of its threads brings. Without this a handler would take half of an upload for all of it.
    """
    await asyncio.sleep(_ON_ITS_WAY)
