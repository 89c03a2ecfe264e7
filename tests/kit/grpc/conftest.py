"""A server behind the controls, and a channel to it."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import httpx
import pytest

from headgate.kit.asgi.shell import Shell
from headgate.kit.controls.call import OVER_HTTP, Control, Pipeline
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.grpc.dispatch import RpcOverHttp
from headgate.kit.grpc.interceptor import KitInterceptor
from headgate.kit.grpc.registry import Registry
from headgate.kit.serve.http import HttpServer
from tests.kit.grpc.echo import Echo, Recorder


@dataclass
class Served:
    """What a test needs of a running service."""

    echo: Echo
    recorder: Recorder
    channel: Any
    server: Any
    port: int
    interceptor: KitInterceptor


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Starts a server with the given controls; several in one test are fine."""
    running: list[Served] = []

    async def start(*controls: Control, echo: Any = None, **options: Any) -> Served:
        recorder, echo = Recorder(), echo or Echo()
        pipeline = Pipeline((RequestIds(lambda: uuid.uuid4().hex), *controls, recorder), frozenset(("grpc",)))
        interceptor = KitInterceptor(pipeline, **options)
        most = options.get("max_receive", 0)
        limit = [("grpc.max_receive_message_length", 2 * most if most else -1)]
        server = grpc.aio.server(interceptors=[interceptor], options=limit)
        echo.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        running.append(Served(echo, recorder, channel, server, port, interceptor))
        return running[-1]

    yield start
    for each in running:
        await each.channel.close()
        await each.server.stop(None)


@dataclass
class OverHttp:
    """The same over HTTP, behind the hardened shell."""

    echo: Echo
    recorder: Recorder
    client: httpx.AsyncClient
    url: str
    registry: Registry


async def plain(scope: Any, receive: Any, send: Any) -> None:
    """An application that is no RPC."""
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"plain " + scope["path"].encode()})


@pytest.fixture
async def over_http() -> AsyncIterator[Callable[..., Any]]:
    """Starts an HTTP server with the service on it."""
    running: list[tuple[HttpServer, httpx.AsyncClient]] = []

    async def start(*controls: Control, **options: Any) -> OverHttp:
        recorder, echo, registry = Recorder(), Echo(), Registry()
        echo.add_to(registry)
        pipeline = Pipeline((RequestIds(lambda: uuid.uuid4().hex), *controls, recorder), OVER_HTTP)
        app = Shell(RpcOverHttp(registry, plain, **options), pipeline, max_body_size=100_000)
        server = HttpServer(app, host="127.0.0.1", port=0, setting="port")
        await server.start()
        client = httpx.AsyncClient(base_url=server.url, timeout=20, trust_env=False)
        running.append((server, client))
        return OverHttp(echo, recorder, client, server.url, registry)

    yield start
    for server, client in running:
        await client.aclose()
        await server.stop()
