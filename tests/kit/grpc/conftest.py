"""A server behind the controls, and a channel to it."""

import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from headgate.kit.controls.call import Control, Pipeline
from headgate.kit.controls.request_ids import RequestIds
from headgate.kit.grpc.interceptor import KitInterceptor
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
