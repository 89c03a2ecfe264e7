"""The contracts of all services on one page of this machine, with a form that calls them.

    inspector = Inspector(processes, port=8090)
    await inspector.start()                 # http://127.0.0.1:8090/docs

The page is `headgate.service.docs`'s, for all that is running; what it asks is passed on to the process that serves
it. Only this machine can reach it, and pages of other origins are refused.
"""

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.cli.run.process import LOOPBACK, Process
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.ports import PortSetting

if TYPE_CHECKING:
    from headgate.service.contract import Contract

HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length")
)
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_CONNECT_SECONDS: Final = 2.0


class Told(dict[str, Any]):
    """A contract's document that another process told: what pages ask of a contract it answers from the text."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__({key: value for key, value in told.items() if key != "hash"})
        self.hash: str = told["hash"]
        self.title: str = told["title"]

    @property
    def document(self) -> dict[str, Any]:
        """Itself."""
        return dict(self)


class Inspector:
    """See the module."""

    def __init__(self, processes: Mapping[str, Process], port: int) -> None:
        self._processes = processes
        self.port = port
        self._docs: tuple[tuple[str, ...], Any] | None = None
        routes = [
            Route("/", _home),
            Route("/services", self._services),
            Route("/{path:path}", self._pass_on, methods=list(_METHODS)),
        ]
        self._app = Starlette(routes=routes)
        self._server = HttpServer(self, host=LOOPBACK, port=port, setting=PortSetting("inspector"))
        self._client: Any = None

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.port}/docs"

    async def start(self) -> None:
        """Serve it."""
        import httpx

        self._client = httpx.AsyncClient(timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS), trust_env=False)
        await self._server.start()

    async def stop(self) -> None:
        """Serve it no more."""
        await self._server.stop(grace=0.5)
        if self._client is not None:
            await self._client.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        app: ASGIApp = self._app
        if scope["type"] == "http":
            if not _is_own(scope):
                app = PlainTextResponse("this page is for this machine alone\n", 403)
            elif (docs := self._documents()) is not None and any(_below(scope["path"], each) for each in docs.prefixes):
                app = docs
        await app(scope, receive, send)

    def _documents(self) -> Any:
        """The pages about the contracts there are now; None before there is one."""
        from headgate.service.docs import docs_routes

        contracts = self._contracts()
        hashes = tuple(each["hash"] for each in contracts)
        if not contracts:
            return None
        if self._docs is None or self._docs[0] != hashes:
            self._docs = hashes, docs_routes([cast("Contract", Told(each)) for each in contracts])
        return self._docs[1]

    def _contracts(self) -> list[dict[str, Any]]:
        found = {each["service"]: each for process in self._processes.values() for each in process.report.contracts}
        return list(found.values())

    async def _services(self, _request: Request) -> Response:
        """What runs, for programs."""
        listed = [
            {
                "name": name,
                "state": each.state,
                "pid": each.pid,
                "url": each.url,
                "grpc": f"{LOOPBACK}:{each.grpc_port}",
                "restarts": each.restarts,
                "services": [told["service"] for told in each.report.contracts],
            }
            for name, each in self._processes.items()
        ]
        return JSONResponse({"applications": listed})

    async def _pass_on(self, request: Request) -> Response:
        process = self._owner(request.method, request.url.path)
        if process is None:
            return PlainTextResponse("no service that runs here has this path\n", 404)
        return await self._send(request, process)

    async def _send(self, request: Request, process: Process) -> Response:
        import httpx

        headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
        url = httpx.URL(process.url).copy_with(raw_path=_raw_path(request.scope))
        asked = self._client.build_request(request.method, url, headers=headers, content=await request.body())
        try:
            answer = await self._client.send(asked, stream=True)
        except httpx.TransportError:
            return PlainTextResponse(f"{process.entry.name} is {process.state} and does not answer\n", 502)
        kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
        return StreamingResponse(_raw(answer), answer.status_code, kept, background=BackgroundTask(answer.aclose))

    def _owner(self, verb: str, path: str) -> Process | None:
        """The process whose service has this path: its own, or a binding's."""
        for process in self._processes.values():
            for told in process.report.contracts:
                package = told["service"].replace("-", "_")
                if path.startswith(f"/{package}.{told['title']}/"):
                    return process
                if any(_is_bound(each.get("http"), verb, path) for each in told["methods"]):
                    return process
        return None


def _home(_request: Request) -> Response:
    return RedirectResponse("/docs")


async def _raw(answer: Any) -> AsyncIterator[bytes]:
    async for piece in answer.aiter_raw():
        yield piece


def _raw_path(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return path + (b"?" + query if query else b"")


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix}/")


def _is_bound(bound: Mapping[str, Any] | None, verb: str, path: str) -> bool:
    if bound is None or bound["method"] != verb:
        return False
    wanted, given = bound["path"].split("/"), path.split("/")
    if wanted[-1].endswith(":path}"):
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(
        part.startswith("{") or part == step for part, step in zip(wanted, given, strict=True)
    )


def _is_own(scope: Scope) -> bool:
    """Whether a browser of this machine asks, and no page of somebody else's in it."""
    headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
    host = headers.get(b"host", "").rpartition(":")[0] or headers.get(b"host", "")
    origin = headers.get(b"origin", "")
    return host in (LOOPBACK, "localhost") and (not origin or origin.partition("//")[2] == headers[b"host"])
