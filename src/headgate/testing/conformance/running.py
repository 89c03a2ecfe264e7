"""Starting a service to check it: an application by its import path, or a framework's order service."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headgate.kit.asgi.shell import Shell
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.serve.engines import ServerName
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Serving
from headgate.kit.serve.parts import Adapted
from headgate.testing.conformance.apps import app_of
from headgate.testing.conformance.suite import Target

if TYPE_CHECKING:
    from headgate.kit.grpc.server import GrpcServer

UNLIMITED: Mapping[str, Any] = {"rate_limit_default": "off", "port": 0, "grpc_port": 0}
"""What a service is started with, so that checks are not in each other's way."""


def load(path: str) -> Any:
    """The application at `MODULE:NAME`; a function without arguments makes it. Raises ImportError, AttributeError."""
    module, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    found = getattr(import_module(module), name or "app")
    return found() if getattr(found, "__name__", "") and not hasattr(found, "routes") and _is_factory(found) else found


def _is_factory(found: Any) -> bool:
    code = getattr(found, "__code__", None)
    return code is not None and code.co_argcount == 0


@asynccontextmanager
async def running(path: str, *, headers: Mapping[str, str] | None = None) -> AsyncIterator[Target]:
    """The application at `path` on a free port of 127.0.0.1, hardened if it is not."""
    app = load(path)
    kit = Kit(HardeningSettings(**UNLIMITED))
    async with serving(kit, app if isinstance(app, Shell) else kit.harden(app)) as target:
        yield Target(target.url, target.grpc, dict(headers or {}), target.max_body_size)


@asynccontextmanager
async def running_orders(framework: str, server: ServerName = "uvicorn", **settings: Any) -> AsyncIterator[Target]:
    """The order service of a framework, on a server, with gRPC beside it and gRPC-Web on its port."""
    from headgate.testing.conformance.orders_rpc import add_orders

    kit = Kit(HardeningSettings(**{**UNLIMITED, **settings}))
    rpc = kit.grpc_server(add_orders, port=0)
    async with serving(kit, kit.harden(app_of(framework), rpc=rpc), server=server, rpc=rpc) as target:
        yield target


@asynccontextmanager
async def serving(
    kit: Kit, app: Shell, *, server: ServerName = "uvicorn", rpc: "GrpcServer | None" = None
) -> AsyncIterator[Target]:
    """A hardened application on free ports of 127.0.0.1, for as long as the block lasts."""
    parts = Serving(health=kit.health, shutdown_grace=2.0)
    if rpc is not None:
        parts.add(Adapted(rpc, name="grpc"))
    http = HttpServer(app, server=server, host="127.0.0.1", port=0, setting="port")
    parts.add(http)
    await parts.start()
    try:
        size = kit.settings.max_body_size if isinstance(kit.settings, HardeningSettings) else 0
        yield Target(http.url, rpc.address if rpc is not None else "", {}, size)
    finally:
        await parts.stop()
