"""The methods of hosted services as tools over MCP's streamable HTTP: one ASGI application.

    wire = McpWire(host([Orders()]), name="shop")
    HttpWire(hosted, extra={"/mcp": wire})

Every POST stands alone; there are no sessions and nothing is kept. A tool calls its method's endpoint, so guards,
idempotency, caches and middleware are those of every wire. A fault is a result with `isError` whose text is the
fault's document; what is wrong with the protocol itself is an error of JSON-RPC (`headgate.service.docs.mcp_protocol`).
Streams are collected until there are `most_items`, or for `collecting` seconds.

    Fault
    ├── origin_denied              403: pages of that origin may not call
    ├── method_not_allowed         405: only POST
    ├── unsupported_media_type     415: only JSON
    └── body_too_large             413
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.types import Receive, Scope, Send

from headgate.kit.asgi.problems import answering, tell
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import Fault, InvalidArgument, PermissionDenied, Unimplemented
from headgate.kit.current import CURRENT
from headgate.service.codecs import JSON, UNDECODABLE, codec_of, refused
from headgate.service.docs.mcp import MOST_ITEMS, Tool, tools_of
from headgate.service.docs.mcp_protocol import LEGACY, VERSIONS, Message, RefusedError, read
from headgate.service.faults import defect, document_of
from headgate.service.host import Hosted
from headgate.service.invoke import Endpoint
from headgate.service.transports.http.alone import identify, in_time, own_call, shells_call, watched
from headgate.service.transports.http.answers import fault_answer, send_empty, send_whole
from headgate.service.transports.http.bodies import body_of
from headgate.service.transports.http.negotiation import problem_form
from headgate.service.types import plain

MEBIBYTE: Final = 1024 * 1024

_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))
_JSON_TYPE: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_ACCEPTED: Final = 202
_OK: Final = 200


class McpWire:
    """See the module. `origins` are those whose pages may call, such as `https://agent.example.com`.

    Pages of this machine may where the caller is on it too. `page_size` is how many tools one answer lists, `lasting`
    for how many seconds clients may keep the list. Raises InvalidArgument (`duplicate_tool`).
    """

    def __init__(
        self,
        hosted: Iterable[Hosted],
        *,
        name: str = "",
        version: str = "",
        instructions: str = "",
        origins: Collection[str] = (),
        page_size: int = 50,
        most_items: int = MOST_ITEMS,
        collecting: float = 10.0,
        lasting: float = 300.0,
        max_body_size: int = 4 * MEBIBYTE,
    ) -> None:
        hosts = tuple(hosted)
        contracts = [each.contract for each in hosts]
        endpoints = {each.contract.name: each.endpoints for each in hosts}
        tools = tools_of(contracts, most_items=most_items)
        self._tools = {tool.name: (tool, endpoints[tool.service][tool.rpc]) for tool in tools}
        self._listed = [tool.document for tool in tools]
        self._server = {
            "name": name or next((each.name for each in contracts), "headgate"),
            "version": version or next((each.version for each in contracts), "0"),
        }
        self._instructions = {"instructions": instructions} if instructions else {}
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._page_size = page_size
        self._most_items = most_items
        self._collecting = collecting
        self._lasting = int(lasting * 1000)
        self._most_bytes = max_body_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. There is nothing here for sockets."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        call = shells_call(scope)
        if call is not None:
            await self._serve(call, receive, send)
            return
        call = own_call(scope)
        token = CURRENT.set(call)
        try:
            await self._serve(call, receive, send)
        finally:
            CURRENT.reset(token)

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        try:
            if not call.request_id:
                identify(call)
            self._admit(call)
            message = read(await body_of(receive, call.headers, self._most_bytes), call.headers)
            if message.id is None:
                await send_empty(send, _ACCEPTED)
                return
            async with watched(receive):
                body = await self._answer(message, call)
                await send_whole(send, _OK, _JSON_TYPE, body, head=False)
        except RefusedError as error:
            await send_whole(send, error.status, _JSON_TYPE, error.body, head=False)
        except Fault as fault:
            answering(fault)
            made = fault_answer(fault, call, problem_form(None, JSON))
            allow = [(b"allow", b"POST")] if fault.code == "method_not_allowed" else []
            await send_whole(send, made.status, [*made.headers, *allow], made.body, head=call.method == "HEAD")

    def _admit(self, call: Call) -> None:
        """Raises the faults of the module."""
        origin = call.headers.get(b"origin", b"").decode("latin-1").lower()
        if origin and origin not in self._origins and not _is_local(origin, call):
            raise PermissionDenied(
                "pages of this origin may not call", code="origin_denied", hint="the server names those that may"
            )
        if call.method != "POST":
            raise Unimplemented("this is called with POST", code="method_not_allowed", hint="there are no sessions")
        if codec_of(call.headers.get(b"content-type", b"")) is not JSON:
            raise InvalidArgument(
                "the body is no JSON", code="unsupported_media_type", hint="send Content-Type: application/json"
            )

    async def _answer(self, message: Message, call: Call) -> bytes:
        match message.method:
            case "initialize":
                return message.result(self._initialized(message), self._server)
            case "server/discover":
                told = {"supportedVersions": list(VERSIONS), **self._capable()}
                return message.result(told, self._server, cacheable=self._lasting)
            case "ping":
                return message.result({}, self._server)
            case "tools/list":
                return message.result(self._page(message), self._server, cacheable=self._lasting)
            case "tools/call":
                return message.result(await self._called(message, call), self._server)
        raise message.unknown()

    def _capable(self) -> dict[str, Any]:
        return {"capabilities": {"tools": {}}, **self._instructions}

    def _initialized(self, message: Message) -> dict[str, Any]:
        wanted = message.params.get("protocolVersion")
        version = wanted if wanted in LEGACY else LEGACY[0]
        return {"protocolVersion": version, "serverInfo": self._server, **self._capable()}

    def _page(self, message: Message) -> dict[str, Any]:
        start = _position(message, len(self._listed))
        end = start + self._page_size
        more = {"nextCursor": _cursor(end)} if end < len(self._listed) else {}
        return {"tools": self._listed[start:end], **more}

    async def _called(self, message: Message, call: Call) -> dict[str, Any]:
        name, arguments = message.params.get("name"), message.params.get("arguments", {})
        found = self._tools.get(name) if isinstance(name, str) else None
        if found is None:
            raise message.wrong(f"there is no tool '{str(name)[:64]}'", {"name": str(name)[:64]})
        if not isinstance(arguments, dict):
            raise message.wrong("'arguments' is an object")
        tool, endpoint = found
        try:
            result: dict[str, Any] = await in_time(self._result(tool, endpoint, arguments, call), call)
        except Fault as fault:
            answering(fault)
            tell(fault, fault)
            return _failed(fault, call)
        except Exception as error:  # noqa: BLE001 - a defect: logged, and told without its text
            hidden = defect()
            answering(hidden)
            tell(hidden, error)
            return _failed(hidden, call)
        return result

    async def _result(self, tool: Tool, endpoint: Endpoint, arguments: Mapping[str, Any], call: Call) -> dict[str, Any]:
        method = endpoint.method
        answer = await endpoint.call(_request(endpoint, tool, arguments), call)
        if method.kind.streams_out:
            items, truncated = await self._collected(answer)
            return _content({"items": items, "truncated": truncated})
        if method.response is None:
            return {"content": [{"type": "text", "text": "Done."}], "isError": False}
        return _content({"result": plain(answer)} if tool.wrapped else plain(answer))

    async def _collected(self, answers: AsyncIterator[Any]) -> tuple[list[Any], bool]:
        """The first messages of a stream, and whether there was more, or might have been."""
        items: list[Any] = []
        limit = asyncio.timeout(self._collecting)
        try:
            async with limit:
                async for each in answers:
                    if len(items) == self._most_items:
                        return items, True
                    items.append(plain(each))
        except TimeoutError:
            if not limit.expired():
                raise
            return items, True
        finally:
            if (close := getattr(answers, "aclose", None)) is not None:
                await close()
        return items, False


def _request(endpoint: Endpoint, tool: Tool, arguments: Mapping[str, Any]) -> Any:
    """What the method is sent. Raises InvalidArgument, naming all that is wrong."""
    kind, pointer = endpoint.method.request, f"/{tool.within}" if tool.within else ""
    value = arguments.get(tool.within) if tool.within else arguments
    if not endpoint.method.kind.streams_in:
        return _typed(kind, value, pointer)
    return _each(_typed(list[kind], value, pointer))  # type: ignore[valid-type]


def _typed(kind: Any, value: Any, pointer: str) -> Any:
    body = JSON.encode(value)
    try:
        return JSON.decoder(kind)(body)
    except UNDECODABLE as error:
        raise refused(JSON, kind, body, error, pointer) from error


async def _each(messages: Iterable[Any]) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def _content(value: Any) -> dict[str, Any]:
    text = msgspec.json.encode(value).decode()
    return {"content": [{"type": "text", "text": text}], "structuredContent": value, "isError": False}


def _failed(fault: Fault, call: Call) -> dict[str, Any]:
    """A fault as a result: text alone, for what is structured must be what the tool's schema says."""
    text = msgspec.json.encode(plain(document_of(fault, call.path, call.request_id))).decode()
    return {"content": [{"type": "text", "text": text}], "isError": True}


def _is_local(origin: str, call: Call) -> bool:
    try:
        host = urlsplit(origin).hostname
    except ValueError:
        return False
    return host in _LOOPBACK and call.peer in _LOOPBACK


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(b"%d" % position).decode()


def _position(message: Message, most: int) -> int:
    """Where a list goes on. Raises RefusedError for a cursor that was never given."""
    cursor = message.params.get("cursor")
    if cursor is None:
        return 0
    try:
        position = int(base64.b64decode(str(cursor), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise message.wrong("this cursor was not given here") from error
    if not 0 < position < most:
        raise message.wrong("this cursor was not given here")
    return position
