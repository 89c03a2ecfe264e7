"""The same services on the port of HTTP, as gRPC-Web and as Connect, with no proxy.

    app = RpcOverHttp(server.registry, app)

An ASGI application round another: what is not an RPC goes on to that. It stands inside the hardened shell,
which has by then identified, admitted and limited the call, and keeps its deadlines.
"""

import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_to_bytes

from headgate.kit.asgi.problems import http_problem
from headgate.kit.controls.call import Call
from headgate.kit.current import CURRENT, current_call
from headgate.kit.grpc import connect
from headgate.kit.grpc.frames import Receive, decoded_metadata
from headgate.kit.grpc.http import HOP, HttpContext, Send
from headgate.kit.grpc.json import PROTO, Codec, JsonCodec, descriptor_of, has_no_side_effects
from headgate.kit.grpc.methods import Method, unknown_method
from headgate.kit.grpc.registry import Registry
from headgate.kit.grpc.web import PREFIX, TEXT, GrpcWebContext, is_grpc_web, media_type

MEBIBYTE: Final = 1024 * 1024
MOST_METHODS: Final = 4_096

_ACCEPTED: Final = b", ".join((*connect.UNARY, *connect.STREAM, PREFIX, TEXT)).decode()
_PROTO: Final = b"application/proto"
_RPC: Final = (PREFIX, connect.STREAM_PREFIX)
_SLASHES: Final = 2

App = Callable[[Any, Receive, Send], Any]


class _Refused(NamedTuple):
    """Why a request is no RPC, although its path is one's."""

    status: int
    detail: str
    headers: dict[str, str]


_UNSUPPORTED: Final = _Refused(415, "this method does not take this media type", {"accept-post": _ACCEPTED})
_ONLY_POST: Final = _Refused(405, "", {"allow": "POST"})


class _Form(NamedTuple):
    """How a request wants to be answered."""

    made: type[HttpContext]
    codec: Codec
    query: dict[bytes, bytes] | None = None


class RpcOverHttp:
    """Answers RPCs out of `registry`, and passes all else on to `app`.

    `max_receive` and `max_send` are bytes of one message, 0 without limit; responses of `compress_from` bytes and
    more are compressed for those who take gzip, 0 compresses none. `pool` holds the descriptors JSON needs; without
    one the registry's does. With `same_paths` the application answers at the paths of methods, too: only what says
    that it is an RPC, by a media type or a header of its own, is one.
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
        same_paths: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry = registry
        self.app = app
        self._max_receive = max_receive
        self._max_send = max_send
        self._compress_from = compress_from
        self._same_paths = same_paths
        self._clock = clock
        self._pool = pool if pool is not None else registry.descriptors
        self._codecs: dict[str, Codec | None] = {}

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection scope."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        call, path = current_call(), scope["path"]
        headers = call.headers if call is not None else dict(scope["headers"])
        kind = media_type(headers.get(b"content-type"))
        rpc = kind.startswith(_RPC) or connect.VERSION in headers
        told = not self._same_paths or kind == _PROTO
        if not (rpc or (told and path.count("/") == _SLASHES and self.registry.has(path))):
            await self.app(scope, receive, send)
            return
        metadata = decoded_metadata(scope["headers"], HOP)
        method = await self.registry.find(path, metadata) or unknown_method(path)
        form = self._form(method, scope, kind)
        if isinstance(form, _Refused):
            await _refuse(form, scope, send)
        elif call is not None:
            await self._context(form, method, call, scope, receive, send).run()
        else:
            await self._alone(form, method, scope, receive, send)

    async def _alone(self, form: _Form, method: Method, scope: Any, receive: Receive, send: Send) -> None:
        """Run it outside of a hardened shell, which would have made the call."""
        peer = (scope.get("client") or ("",))[0]
        call = Call("connect", scope["method"], scope["path"], scope["headers"], peer, self._clock())
        token = CURRENT.set(call)
        try:
            await self._context(form, method, call, scope, receive, send).run()
        finally:
            CURRENT.reset(token)

    def _context(
        self, form: _Form, method: Method, call: Call, scope: Any, receive: Receive, send: Send
    ) -> HttpContext:
        call.route = method.route
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
        made: type[HttpContext]
        known = bool(method.route)  # what is not there is refused in whatever form it was asked for
        streaming = known and (method.request_streaming or method.response_streaming)
        if kind in connect.STREAM and (streaming or not known):
            codec, made = self._codec(method, connect.STREAM[kind]), connect.StreamContext
        elif kind in connect.UNARY and not streaming:
            codec, made = self._codec(method, connect.UNARY[kind]), connect.UnaryContext
        else:
            return _UNSUPPORTED
        return _UNSUPPORTED if codec is None else _Form(made, codec)

    def _get_form(self, method: Method, scope: Any) -> "_Form | _Refused":
        descriptor = descriptor_of(method.path, self._pool)
        if method.request_streaming or method.response_streaming or not has_no_side_effects(descriptor):
            return _ONLY_POST
        query = _parameters(scope.get("query_string", b""))
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


def _parameters(query: bytes) -> dict[bytes, bytes]:
    """The parameters of a query as bytes: a message in one need not be text."""
    pairs = (part.partition(b"=") for part in query.split(b"&") if part)
    return {unquote_to_bytes(name): unquote_to_bytes(value.replace(b"+", b" ")) for name, _, value in pairs}


async def _refuse(refused: _Refused, scope: Any, send: Send) -> None:
    status, headers, body = http_problem(
        refused.status, refused.detail, refused.headers, scope["method"], scope["path"]
    )
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
