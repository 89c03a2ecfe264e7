"""What documents are served at: one small ASGI application.

    docs = docs_routes([Orders.contract()], title="Shop")
    HttpWire(hosted, extra={prefix: docs for prefix in docs.prefixes})

| path | what |
| --- | --- |
| `/docs` | a page for people: services, methods, types, and a form that calls |
| `/openapi.json`, `/asyncapi.json` | the documents |
| `/contract.json` | `{"title": ..., "contracts": [{"hash": ..., "document": ...}]}`, for clients and gateways |

The page takes nothing from elsewhere, has a strict policy of its own, and calls only where it came from. Who may see
all this is said by the kit's gate: `docs_paths` and `docs_public`.

    NotFound
    └── path_not_found
    Unimplemented
    └── method_not_allowed    only GET and HEAD
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from starlette.types import Receive, Scope, Send

from headgate.kit.controls.faults import Fault, NotFound, Unimplemented
from headgate.service.codecs import JSON
from headgate.service.contract import Contract
from headgate.service.docs.asyncapi_document import asyncapi
from headgate.service.docs.openapi_document import openapi
from headgate.service.transports.http.alone import own_call, shells_call
from headgate.service.transports.http.answers import fault_answer, is_fresh, send_empty, send_whole
from headgate.service.transports.http.negotiation import problem_form

PAGE: Final = "/docs"
PREFIXES: Final = (PAGE, "/openapi.json", "/asyncapi.json", "/contract.json")
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)

_FILES: Final = Path(__file__).with_name("page")
_PAGE_HEADERS: Final = [(b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff")]


class _Served(NamedTuple):
    media_type: str
    body: bytes
    etag: bytes


class Docs:
    """See the module; made by `docs_routes`. Documents are written when they are first asked for."""

    prefixes: Final = PREFIXES
    """Where it is to be mounted."""

    def __init__(self, makers: Mapping[str, tuple[str, Callable[[], bytes]]]) -> None:
        self._makers = makers
        self._made: dict[str, _Served] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Serve one request. There is nothing here for sockets."""
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        call = shells_call(scope) or own_call(scope)
        head = call.method == "HEAD"
        if call.path.endswith(f"{PAGE}/"):  # what the page refers to is found from /docs alone
            await send_empty(send, 308, [(b"location", b"../docs")])
            return
        try:
            served = self._found(scope)
        except Fault as fault:
            made = fault_answer(fault, call, problem_form(None, JSON))
            allow = [(b"allow", b"GET, HEAD")] if fault.code == "method_not_allowed" else []
            await send_whole(send, made.status, [*made.headers, *allow], made.body, head=head)
            return
        headers = [(b"etag", served.etag), (b"cache-control", b"no-cache"), *_PAGE_HEADERS]
        if is_fresh(call.headers.get(b"if-none-match"), served.etag):
            await send_empty(send, 304, headers)
            return
        typed = (b"content-type", served.media_type.encode())
        await send_whole(send, 200, [typed, *headers], served.body, head=head)

    def _found(self, scope: Scope) -> _Served:
        """What is at a path. Raises the faults of the module."""
        path = scope["path"]
        name = next((each for each in self._makers if path.endswith(each) and _is_below(scope, path, each)), None)
        if name is None:
            raise NotFound(f"there is nothing at {path}", code="path_not_found")
        if scope["method"] not in {"GET", "HEAD"}:
            raise Unimplemented("this can only be read", code="method_not_allowed", hint="GET it")
        if name not in self._made:
            media_type, make = self._makers[name]
            body = make()
            etag = b'"%b"' % hashlib.sha256(body).hexdigest()[:32].encode()
            self._made[name] = _Served(media_type, body, etag)
        return self._made[name]


def docs_routes(
    contracts: Iterable[Contract],
    *,
    title: str = "",
    version: str = "",
    description: str = "",
    servers: Iterable[str] = (),
    message_servers: Mapping[str, str] | None = None,
    rpc: bool = True,
) -> Docs:
    """The application. `servers` are URLs for OpenAPI, `message_servers` by name for AsyncAPI."""
    listed, urls = tuple(contracts), tuple(servers)
    named = title or ", ".join(each.title for each in listed) or "Services"
    told: dict[str, Any] = {"title": named, "version": version, "description": description}
    return Docs(
        {
            f"{PAGE}/page.js": ("text/javascript; charset=utf-8", functools.partial(_file, "page.js")),
            f"{PAGE}/page.css": ("text/css; charset=utf-8", functools.partial(_file, "page.css")),
            PAGE: ("text/html; charset=utf-8", functools.partial(_file, "page.html")),
            "/openapi.json": (
                "application/json",
                lambda: msgspec.json.encode(openapi(listed, **told, servers=urls, rpc=rpc)),
            ),
            "/asyncapi.json": (
                "application/json",
                lambda: msgspec.json.encode(asyncapi(listed, **told, servers=message_servers)),
            ),
            "/contract.json": ("application/json", lambda: _contracts(named, listed)),
        }
    )


def _contracts(title: str, contracts: Iterable[Contract]) -> bytes:
    told = [{"hash": each.hash, "document": each.document} for each in contracts]
    return msgspec.json.encode({"title": title, "contracts": told})


def _file(name: str) -> bytes:
    return (_FILES / name).read_bytes()


def _is_below(scope: Scope, path: str, name: str) -> bool:
    """Whether what stands before a name is where the application is mounted."""
    before = path[: -len(name)]
    root: str = scope.get("root_path") or ""
    return root.startswith(before)
