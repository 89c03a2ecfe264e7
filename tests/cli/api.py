"""A small API that answers what a test wants, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from headgate.testing.server import free_port

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@dataclass
class Api:
    """Answers by `METHOD /path`: a value is JSON, a callable is given the request, a Response is itself."""

    url: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def last(self, method: str) -> Asked:
        """The newest request with a method."""
        return next(asked for asked in reversed(self.asked) if asked.method == method)

    async def serve(self, request: Request) -> Response:
        """Answer a request."""
        asked = Asked(
            request.method, request.url.path, dict(request.query_params), dict(request.headers), await request.body()
        )
        self.asked.append(asked)
        answer = self.answers.get(f"{asked.method} {asked.path}")
        if callable(answer) and not isinstance(answer, Response):
            answer = answer(asked)
        if answer is None:
            return problem(404, "not_found", f"there is nothing at {asked.path}")
        if isinstance(answer, Response):
            return answer
        return Response(json.dumps(answer), media_type="application/json", headers={"Headgate-Revision": "7"})


def problem(status: int, code: str, detail: str, **more: Any) -> Response:
    """A problem document."""
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code, **more}
    return Response(json.dumps(body), status, media_type="application/problem+json")


def lines(*documents: Any) -> Response:
    """A stream of JSON lines."""
    return StreamingResponse(
        iter([json.dumps(document) + "\n" for document in documents]), media_type="application/x-ndjson"
    )


@contextmanager
def running() -> Iterator[Api]:
    """Run one on a free port."""
    api, port = Api(), free_port()
    app = Starlette(routes=[Route("/{path:path}", api.serve, methods=METHODS)])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run)
    started = threading.Event()
    startup = server.startup

    async def announced(*arguments: Any, **named: Any) -> None:
        await startup(*arguments, **named)
        started.set()

    server.startup = announced  # type: ignore[method-assign]
    thread.start()
    assert started.wait(20)
    api.url = f"http://127.0.0.1:{port}"
    try:
        yield api
    finally:
        server.should_exit = True
        thread.join()
