"""An RPC that came over HTTP: what gRPC-Web and Connect have in common.

The call is already identified, admitted and timed: it came through the hardened ASGI application, which also
watches whether its caller is still there. Here its handler is run, and its outcome said in its own protocol.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headgate.kit.controls.call import Call
from headgate.kit.grpc.context import RpcContext
from headgate.kit.grpc.frames import Body, Receive, decoded_metadata
from headgate.kit.grpc.json import Codec
from headgate.kit.grpc.metadata import Metadata
from headgate.kit.grpc.methods import Method
from headgate.kit.grpc.outcome import conclude

Send = Callable[[Any], Awaitable[None]]

HOP: Final = frozenset(
    (
        *(b"accept-encoding", b"connection", b"content-encoding", b"content-length", b"content-type", b"expect"),
        *(b"host", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"connect-protocol-version"),
        *(b"connect-timeout-ms", b"connect-content-encoding", b"connect-accept-encoding", b"x-grpc-web"),
        *(b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding"),
    )
)
"""Headers that are not metadata."""


class HttpContext(RpcContext):
    """One RPC over HTTP. `compress_from` is the smallest message that is compressed, in bytes; 0 is none."""

    query: dict[bytes, bytes] | None = None
    """Parameters of a GET."""

    def __init__(
        self,
        call: Call,
        method: Method,
        scope: Any,
        receive: Receive,
        send: Send,
        codec: Codec,
        *,
        most_in: int,
        most_out: int,
        compress_from: int,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(call, method, most_in, most_out, clock)
        self.scope = scope
        self.codec = codec
        self.body = Body(receive, text=self.is_text())
        self.compress_from = compress_from
        self._asgi_send = send
        self._metadata: Metadata | None = None

    def is_text(self) -> bool:
        """Whether the body is base64."""
        return False

    async def finish(self, response: bytes | None) -> None:
        """Send the outcome, with the response of a method that has one."""
        raise NotImplementedError

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin the HTTP response."""
        self.begun = True
        await self._asgi_send({"type": "http.response.start", "status": status, "headers": headers})

    async def part(self, body: bytes, *, more: bool) -> None:
        """Send a part of its body."""
        await self._asgi_send({"type": "http.response.body", "body": body, "more_body": more})

    async def run(self) -> None:
        """Run the handler and send its outcome."""
        try:
            response = await self._response()
            self.call.code = self.kind
            await self.finish(response)
        except asyncio.CancelledError:
            self.kind = "CANCELLED"
            raise
        finally:
            self.end()

    async def _response(self) -> bytes | None:
        response: bytes | None = None
        try:
            response = await self.method.drive(self)
            if response is not None and self.kind == "OK":
                self.fits(response)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            conclude(self, RuntimeError("the handler raised CancelledError, but the call was not cancelled"))
        except Exception as error:  # noqa: BLE001 - outermost: nothing a handler raises may reach the caller
            conclude(self, error)
        return response

    def invocation_metadata(self) -> Any:
        """What the caller sent along."""
        if self._metadata is None:
            self._metadata = decoded_metadata(self.call.raw_headers, HOP)
        return self._metadata

    def peer(self) -> str:
        """The client, such as `ipv4:127.0.0.1:50000`."""
        client = self.scope.get("client")
        if not client:
            return "unix:"
        host, port = client[0], client[1]
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
