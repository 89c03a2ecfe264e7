"""What worker processes serve: imported by them by name."""

import asyncio
import os
import time
from pathlib import Path

import grpc
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from headgate.kit.asgi.health import Health
from headgate.kit.observe.metrics import Metrics

health = Health()


async def _who(_request: Request) -> Response:
    return PlainTextResponse(str(os.getpid()))


async def _slow(_request: Request) -> Response:
    """Tells that it was asked, and answers when it is let to."""
    folder = Path(os.environ["SHOP"])
    (folder / "asked").touch()
    while not (folder / "open").exists():
        await asyncio.sleep(0.01)
    return PlainTextResponse("through")


async def _block(_request: Request) -> Response:
    (Path(os.environ["SHOP"]) / "asked").touch()
    time.sleep(60)  # noqa: ASYNC251 - that is the point
    return Response()


async def _crash(_request: Request) -> Response:
    os._exit(9)


def make() -> Starlette:
    """The application, with metrics of its own."""
    metrics = Metrics()
    sold = metrics.cache_event

    async def sell(_request: Request) -> Response:
        sold("shop", "call")
        return PlainTextResponse(str(os.getpid()))

    async def told(_request: Request) -> Response:
        return PlainTextResponse(metrics.expose("text/plain")[0])

    async def ready(_request: Request) -> Response:
        return JSONResponse((await health.report())[1])

    return Starlette(routes=[Route("/sell", sell), Route("/metrics", told), Route("/ready", ready)])


app = Starlette(routes=[Route("/who", _who), Route("/slow", _slow), Route("/crash", _crash), Route("/block", _block)])


def broken() -> Starlette:
    """An application that cannot be made."""
    raise RuntimeError("no database")


async def _whom(_request: bytes, _context: object) -> bytes:
    return str(os.getpid()).encode()


def rpc() -> grpc.aio.Server:
    """A gRPC server beside it."""
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(_whom)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", {"Who": handler}),))
    return server
