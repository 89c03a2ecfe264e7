"""A check for every knob of the kit: it is turned, and a hardened service behaves otherwise.

@knob("gzip_min_size")
async def compresses(place: Place) -> None: ...
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from headgate.kit.asgi.shell import Shell
from headgate.kit.current import current_call
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.limits.spending import spend
from headgate.testing.valkey import Valkey

PEER = "203.0.113.9"
RUDE = b"you are a stupid worthless idiot, go die"


class Place:
    """What a check may need: an empty directory, patches that are undone, a Valkey."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, valkey: Callable[[], Valkey]) -> None:
        self.directory = directory
        self.monkeypatch = monkeypatch
        self.valkey = valkey


Check = Callable[[Place], Awaitable[None] | None]
KNOBS: dict[str, Check] = {}
"""The check of each setting."""


def knob(*names: str) -> Callable[[Check], Check]:
    """Register the check of these settings."""

    def add(check: Check) -> Check:
        for name in names:
            assert name not in KNOBS, f"{name} has two checks"
            KNOBS[name] = check
        return check

    return add


class Service:
    """A small application, hardened by a kit with these settings, and asked without a socket."""

    def __init__(self, **settings: Any) -> None:
        self.kit = Kit(HardeningSettings(**settings))
        self.app: Shell = self.kit.harden(application())

    async def ask(
        self,
        path: str = "/orders",
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
        peer: str = PEER,
        base: str = "http://shop.example",
        tls: dict[str, Any] | None = None,
    ) -> httpx.Response:
        """One request; `tls` is the ASGI extension of that name."""

        async def over(scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope | ({"extensions": {"tls": tls}} if tls else {}), receive, send)

        transport = httpx.ASGITransport(app=over, client=(peer, 50_000))
        async with httpx.AsyncClient(transport=transport, base_url=base) as client:
            return await client.request(method, path, headers=headers, content=content)

    async def status(self, path: str = "/orders", **options: Any) -> int:
        """The status of the answer alone."""
        return (await self.ask(path, **options)).status_code


@asynccontextmanager
async def service(**settings: Any) -> AsyncIterator[Service]:
    """A service, closed afterwards."""
    made = Service(**settings)
    await made.kit.on_startup()
    try:
        yield made
    finally:
        await made.kit.on_shutdown()


async def ask(path: str = "/orders", *, settings: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
    """The answer of a service with these settings to one request."""
    async with service(**(settings or {})) as made:
        return await made.ask(path, **options)


def application() -> Starlette:
    """The application: orders, a body that is echoed, slow and long answers, and who asks."""

    async def orders(_request: Request) -> Response:
        return JSONResponse({"orders": []})

    async def echo(request: Request) -> Response:
        return Response(await request.body(), media_type="text/plain")

    async def large(_request: Request) -> Response:
        return Response(b"word " * 400, media_type="text/plain")

    async def pause(_request: Request) -> Response:
        await asyncio.sleep(0.3)
        return JSONResponse({})

    async def stream(_request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(4):
                yield b"part %d " % number
                await asyncio.sleep(0.3)
            yield b"end"

        return StreamingResponse(parts(), media_type="text/plain")

    async def page(_request: Request) -> Response:
        return Response("<html>documentation</html>", media_type="text/html")

    async def who(_request: Request) -> Response:
        call = current_call()
        assert call is not None
        principal = call.principal
        return JSONResponse({"client": call.client, "id": principal.id, "tenant": principal.tenant})

    async def rude(_request: Request) -> Response:
        return Response(RUDE, media_type="text/plain")

    async def events(_request: Request) -> Response:
        async def parts() -> AsyncIterator[bytes]:
            for number, word in enumerate(RUDE.decode().split()):
                yield b"data: " + json.dumps({"number": str(number), "words": f"{word} "}).encode() + b"\n\n"

        return StreamingResponse(parts(), media_type="text/event-stream")

    async def fail(_request: Request) -> Response:
        return JSONResponse(1 / 0)

    async def work(_request: Request) -> Response:
        await spend(60)
        return JSONResponse({})

    routes = {"/orders": orders, "/large": large, "/pause": pause, "/stream": stream, "/who": who, "/work": work}
    routes["/fail"] = fail
    routes |= dict.fromkeys(("/docs", "/manual"), page)
    return Starlette(
        routes=[
            *(Route(path, endpoint) for path, endpoint in routes.items()),
            *(
                Route(path, endpoint, methods=["POST"])
                for path, endpoint in {"/echo": echo, "/rude": rude, "/events": events}.items()
            ),
        ]
    )
