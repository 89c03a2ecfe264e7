"""The wire itself: an ASGI application that finds the operation, reads, calls and answers.

    wire = HttpWire(host([Orders()]), extra={"/docs": docs})
    app = kit.harden(wire)          # identity, limits, logs, metrics; without it nobody is known

| asked | answered |
| --- | --- |
| `POST /shop.Orders/Get` | the method's response, 204 when it has none |
| `GET /orders/7?verbose=true` | the same, where a binding says so; HEAD without the body |
| `OPTIONS` of any path | 204 with `Allow` |
| another method | 405 with `Allow` |
| a path that differs by its last slash | 308 |

Faults are problem documents (RFC 9457) in JSON or MessagePack, as `Accept` says:

    Fault                   whatever the endpoint raises, with the status of its kind
    ├── path_not_found          404, unknown_method below a service's own path
    ├── method_not_allowed      405
    ├── not_acceptable          406
    ├── body_too_large          413, message_too_large 429 before the stream began
    ├── unsupported_media_type  415
    └── what intake, bodies, routes and streams of this room name
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.kit.asgi.problems import answering, tell
from headgate.kit.asgi.routes import ROUTE
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, InvalidArgument
from headgate.kit.current import CURRENT
from headgate.service.codecs import JSON, Stream, codec_of, stream_of
from headgate.service.faults import defect
from headgate.service.host import Hosted
from headgate.service.method import Kind
from headgate.service.transports.http.alone import identify, in_time, own_call, shells_call, watched
from headgate.service.transports.http.answers import etag_of, fault_answer, is_fresh, send_empty, send_whole
from headgate.service.transports.http.bodies import Incoming, body_of, message_codec, sent_stream
from headgate.service.transports.http.intake import Values, no_query
from headgate.service.transports.http.negotiation import Form, accept_of, message_form, problem_form, stream_form
from headgate.service.transports.http.operation import Operation, operation_of
from headgate.service.transports.http.outlet import Outlet
from headgate.service.transports.http.routes import ElsewhereError, NotAllowedError, Routes
from headgate.service.transports.http.streaming import closed, stream

MEBIBYTE: Final = 1024 * 1024

_NOWHERE: Final = frozenset(("path_not_found", "unknown_method"))
"""Codes of what others may answer: applications below a prefix."""


class HttpWire:
    """Serves all methods of the hosted services over HTTP.

    `max_body_size` and `max_message_size` (of one message of a stream that comes in) are bytes, 0 for any number.
    `heartbeat` is after how many seconds without an event a comment is sent, 0 for never; `opening` after how many
    the answer of a stream begins that has nothing to say yet. `extra` are applications by the prefix of their paths.
    Raises InvalidArgument: `route_conflict`, `invalid_binding`.
    """

    def __init__(
        self,
        hosted: Iterable[Hosted],
        *,
        extra: Mapping[str, ASGIApp] | None = None,
        max_body_size: int = 4 * MEBIBYTE,
        max_message_size: int = 4 * MEBIBYTE,
        heartbeat: float = 15.0,
        opening: float = 0.25,
    ) -> None:
        served = tuple(hosted)
        self.operations = tuple(_operations(served))
        self._routes = Routes(self.operations, (each.contract.full_name for each in served))
        self._exact = self._routes.exact
        self._extra = _prefixes(extra or {}, self._routes)
        self._most = max_body_size or sys.maxsize
        self._most_of_message = max_message_size or sys.maxsize
        self._heartbeat = heartbeat
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        call = shells_call(scope)
        if call is not None:
            await self._serve(call, scope, receive, send)
            return
        call = own_call(scope)
        token = CURRENT.set(call)
        try:
            await self._serve(call, scope, receive, send, alone=True)
        finally:
            CURRENT.reset(token)

    async def _serve(self, call: Call, scope: Scope, receive: Receive, send: Send, *, alone: bool = False) -> None:
        """Find the operation and answer, whatever comes of it."""
        try:
            if alone:
                identify(call)
            operation, values = self._find(scope)
            call.route = operation.route
            if operation.kind is Kind.UNARY:
                await self._answer(operation, values, call, scope, receive, send)
            elif alone:
                async with watched(receive) as heard:
                    await self._stream(operation, values, call, scope, heard, send)
            else:
                await self._stream(operation, values, call, scope, receive, send)
        except ElsewhereError as where:
            await send_empty(send, 308, [(b"location", where.location)])
        except NotAllowedError as refused:
            await self._not_allowed(refused, call, send)
        except Fault as fault:
            app = self._extra_of(scope) if fault.code in _NOWHERE and not call.route else None
            if app is None:
                await self._refuse(fault, fault, call, send)
            else:
                await app(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - a defect: logged, and told without its text
            await self._refuse(defect(), error, call, send)

    def _find(self, scope: Scope) -> tuple[Operation, Values]:
        """The operation: at once for most paths without parameters."""
        verbs = self._exact.get(scope["path"])
        if verbs is not None and not scope.get("root_path"):
            raw = scope.get("raw_path")
            operation = verbs.get(scope["method"])
            if operation is not None and (raw is None or b"%" not in raw):
                return operation, ()
        return self._routes.find(scope["method"], scope)

    async def _answer(
        self, operation: Operation, values: Values, call: Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """One message for one message."""
        intake, query = operation.intake, scope["query_string"]
        codec = None
        if intake.reads_body:
            if query:
                no_query(query)
            body = await body_of(receive, call.headers, self._most)
            codec = message_codec(call.headers, body)
            request = intake.of_body(codec, body, values)
        else:
            request = intake.of_query(query, values)
        form = message_form(accept_of(call), codec or JSON) if operation.has_body else None
        if call.deadline is None:
            response = await operation.call(request, call)
        else:
            response = await in_time(operation.call(request, call), call)
        await self._send(operation, form, response, call, send)

    async def _stream(
        self, operation: Operation, values: Values, call: Call, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Many messages for one, one for many, or many for many."""
        query = scope["query_string"]
        sent, kind = None, operation.kind
        if kind.streams_in:
            if query:
                no_query(query)
            sent = sent_stream(call.headers)
            request: Any = Incoming(receive, sent, operation, self._most_of_message)
        elif operation.intake.reads_body:
            if query:
                no_query(query)
            body = await body_of(receive, call.headers, self._most)
            request = operation.intake.of_body(message_codec(call.headers, body), body, values)
        else:
            request = operation.intake.of_query(query, values)
        if kind is Kind.CLIENT_STREAM:
            form = message_form(accept_of(call), sent.codec if sent else JSON) if operation.has_body else None
            response = await in_time(operation.call(request, call), call)
            await self._send(operation, form, response, call, send)
            return
        form, frames = stream_form(accept_of(call), sent)
        if call.method == "HEAD":
            await closed(await in_time(operation.call(request, call), call))
            await send_empty(send, operation.status, form.headers)
            return
        opening = 0.0 if kind is Kind.BIDI else self._opening
        outlet = Outlet(
            send, operation.status, form.headers, idle=frames.idle, opening=opening, heartbeat=self._heartbeat
        )
        await stream(operation, request, call, frames, outlet)

    async def _send(self, operation: Operation, form: Form | None, response: Any, call: Call, send: Send) -> None:
        """Send a response, or that the caller has it already."""
        if form is None:
            await send_empty(send, operation.status)
            return
        body = form.codec.encode(response)
        if not operation.caching:
            await send_whole(send, operation.status, form.headers, body, head=call.method == "HEAD")
            return
        etag = etag_of(body)
        headers = [*form.headers, (b"etag", etag), (b"cache-control", operation.caching)]
        if is_fresh(call.headers.get(b"if-none-match"), etag):
            await send_empty(send, 304, headers[1:])
        else:
            await send_whole(send, operation.status, headers, body, head=call.method == "HEAD")

    async def _refuse(self, fault: Fault, error: Exception, call: Call, send: Send) -> None:
        """Answer with a fault."""
        tell(fault, error)
        await self._problem(fault, call, send)

    async def _problem(self, fault: Fault, call: Call, send: Send, *more: tuple[bytes, bytes]) -> None:
        answering(fault)
        named = call.headers.get(b"content-type", b"")
        sent = codec_of(named) or stream_of(named)
        codec = sent.codec if isinstance(sent, Stream) else sent or JSON
        made = fault_answer(fault, call, problem_form(accept_of(call), codec))
        if fault.code == "body_too_large":
            more = (*more, (b"connection", b"close"))
        await send_whole(send, made.status, [*made.headers, *more], made.body, head=call.method == "HEAD")

    async def _not_allowed(self, refused: NotAllowedError, call: Call, send: Send) -> None:
        allow = (b"allow", refused.allow.encode())
        if call.method == "OPTIONS":
            await send_empty(send, 204, [allow])
        else:
            await self._problem(refused.fault, call, send, allow)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lifespan, and sockets."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        app = self._extra_of(scope)
        if app is not None:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    def _extra_of(self, scope: Scope) -> ASGIApp | None:
        """The application below whose prefix a path lies, with its part of the scope."""
        root: str = scope.get("root_path") or ""
        path = scope["path"].removeprefix(root)
        for prefix, app in self._extra:
            if path == prefix or path.startswith(f"{prefix}/"):
                scope[ROUTE] = prefix or "/"
                return _mounted(app, root + prefix)
        return None


def _operations(hosted: Iterable[Hosted]) -> Iterator[Operation]:
    for each in hosted:
        for endpoint in each.endpoints.values():
            title = f"{each.contract.title}.{endpoint.method.name}"
            yield operation_of(endpoint, title, None)
            if endpoint.method.binding is not None:
                yield operation_of(endpoint, title, endpoint.method.binding)


def _prefixes(extra: Mapping[str, ASGIApp], routes: Routes) -> list[tuple[str, ASGIApp]]:
    """The longest first; one that would share paths with an operation is refused."""
    for prefix in extra:
        if not prefix.startswith("/") or (prefix != "/" and prefix.endswith("/")):
            raise InvalidArgument(f"'{prefix}' is no prefix; one is such as /docs", code="route_conflict")
        other = routes.below(prefix)
        if other is not None:
            raise InvalidArgument(
                f"{other.title} ({other.verb} {other.route}) and what is below {prefix} have the same paths",
                code="route_conflict",
                hint="change one of them",
            )
    listed = [("" if prefix == "/" else prefix, app) for prefix, app in extra.items()]
    return sorted(listed, key=lambda each: len(each[0]), reverse=True)


def _mounted(app: ASGIApp, root: str) -> ASGIApp:
    async def below(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "root_path": root}, receive, send)

    return below


async def _lifespan(receive: Receive, send: Send) -> None:
    """Nothing of the wire's own begins or ends."""
    for moment in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{moment}.complete"})
