"""The same services on the port of HTTP, as gRPC-Web and as Connect, with no proxy.

    app = RpcOverHttp(server.registry, app)

An ASGI application round another: what is not an RPC goes on to that. It stands inside the hardened shell,
which has by then identified, admitted and limited the call under the protocol that `protocol_of` names.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from google.protobuf import descriptor_pool

from headgate.kit.controls.call import Call, Protocol
from headgate.kit.current import CURRENT, current_call
from headgate.kit.grpc import connect
from headgate.kit.grpc.frames import Receive, decoded_metadata
from headgate.kit.grpc.http import HOP, HttpContext, Send
from headgate.kit.grpc.json import PROTO, Codec, JsonCodec, descriptor_of, has_no_side_effects
from headgate.kit.grpc.methods import Method, unknown_method
from headgate.kit.grpc.registry import Registry
from headgate.kit.grpc.web import PREFIX, GrpcWebContext, is_grpc_web, media_type

MEBIBYTE: Final = 1024 * 1024
MOST_METHODS: Final = 4_096

_ACCEPTED: Final = b", ".join((*connect.UNARY, *connect.STREAM, PREFIX, PREFIX + b"-text"))
_SLASHES: Final = 2

App = Callable[[Any, Receive, Send], Any]


def protocol_of(registry: Registry, method: str, path: str, headers: Mapping[bytes, bytes]) -> Protocol:
    """Under which protocol a request is to be admitted: `grpc-web`, `connect`, or `http` for all that is no RPC."""
    kind = media_type(headers.get(b"content-type"))
    if kind.startswith(b"application/"):
        if is_grpc_web(kind):
            return "grpc-web"
        if kind.startswith(connect.STREAM_PREFIX):
            return "connect"
    if path.count("/") != _SLASHES or not (method == "GET" or kind in connect.UNARY or connect.VERSION in headers):
        return "http"
    return "connect" if registry.has(path) else "http"


class _Refused(NamedTuple):
    """A request that is no RPC, although its path is one's."""

    status: int
    headers: list[tuple[bytes, bytes]]


_UNSUPPORTED: Final = _Refused(415, [(b"accept-post", _ACCEPTED)])
_ONLY_POST: Final = _Refused(405, [(b"allow", b"POST")])


class _Form(NamedTuple):
    """How a request wants to be answered."""

    made: type[HttpContext]
    codec: Codec
    query: dict[bytes, bytes] | None = None


class RpcOverHttp:
    """Answers RPCs out of `registry`, and passes all else on to `app`.

    `max_receive` and `max_send` are bytes of one message, 0 without limit; responses of `compress_from` bytes and
    more are compressed for those who take gzip, 0 compresses none. `pool` holds the descriptors JSON needs.
    """

    def __init__(
        self,
        registry: Registry,
        app: App,
        *,
        max_receive: int = MEBIBYTE,
        max_send: int = 0,
        compress_from: int = 1_024,
        pool: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self.app = app
        self._max_receive = max_receive
        self._max_send = max_send
        self._compress_from = compress_from
        self._clock = clock
        self._pool = pool if pool is not None else descriptor_pool.Default()
        self._codecs: dict[str, Codec | None] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        path = scope["path"]
        protocol = protocol_of(self.registry, scope["method"], path, headers)
        if protocol == "http":
            if self.registry.has(path):
                await _refuse(_UNSUPPORTED if scope["method"] == "POST" else _ONLY_POST, send)
            else:
                await self.app(scope, receive, send)
            return
        method = await self.registry.find(path, decoded_metadata(scope["headers"], HOP)) or unknown_method(path)
        form = self._form(method, scope, media_type(headers.get(b"content-type")))
        if isinstance(form, _Refused):
            await _refuse(form, send)
            return
        await self._context(form, method, protocol, scope, receive, send).run()

    def _context(
        self, form: _Form, method: Method, protocol: Protocol, scope: Any, receive: Receive, send: Send
    ) -> HttpContext:
        call = current_call()
        if call is None:  # outside of the hardened shell
            peer = (scope.get("client") or ("",))[0]
            call = Call(protocol, scope["method"], scope["path"], scope["headers"], peer, self._clock())
            CURRENT.set(call)
        call.protocol, call.route = protocol, method.route
        context = form.made(
            call,
            method,
            scope,
            receive,
            send,
            form.codec,
            most_in=self._max_receive,
            most_out=self._max_send,
            compress_from=self._compress_from,
            clock=self._clock,
        )
        context.query = form.query
        return context

    def _form(self, method: Method, scope: Any, kind: bytes) -> "_Form | _Refused":
        if scope["method"] == "GET":
            return self._get_form(method, scope)
        if scope["method"] != "POST":
            return _ONLY_POST
        if is_grpc_web(kind):
            return _Form(GrpcWebContext, PROTO)
        streaming = method.request_streaming or method.response_streaming
        # What is not there is refused in whatever form it was asked for.
        names = connect.STREAM if kind in connect.STREAM and (streaming or not method.route) else connect.UNARY
        if kind not in names or (streaming and names is connect.UNARY):
            return _UNSUPPORTED
        codec = self._codec(method, names[kind])
        made = connect.StreamContext if names is connect.STREAM else connect.UnaryContext
        return _UNSUPPORTED if codec is None else _Form(made, codec)

    def _get_form(self, method: Method, scope: Any) -> "_Form | _Refused":
        descriptor = descriptor_of(method.path, self._pool)
        if method.request_streaming or method.response_streaming or not has_no_side_effects(descriptor):
            return _ONLY_POST
        query = dict(parse_qsl(scope.get("query_string", b""), keep_blank_values=True))
        codec = self._codec(method, query.get(b"encoding", b"").decode("latin-1"))
        return _UNSUPPORTED if codec is None else _Form(connect.UnaryContext, codec, query)

    def _codec(self, method: Method, name: str) -> Codec | None:
        """Between protobuf and what is sent; None when there is none of that name for this method."""
        if name == "proto" or not method.route:
            return PROTO
        if name != "json":
            return None
        path = method.path
        if path not in self._codecs and len(self._codecs) < MOST_METHODS:
            descriptor = descriptor_of(path, self._pool)
            self._codecs[path] = None if descriptor is None else JsonCodec(descriptor)
        return self._codecs.get(path)


async def _refuse(refused: _Refused, send: Send) -> None:
    await send({"type": "http.response.start", "status": refused.status, "headers": list(refused.headers)})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
