"""What the whole default stack adds to a unary call over gRPC, and what calls over gRPC-Web and Connect take.

Servers in one process, with and without the kit; the client in another. Rounds take turns, short enough that what
else the machine does falls on both alike; the figure is the median over the rounds of one's time by the other's.
A connection is faster or slower than the next by several per cent for as long as it lives, so there are several servers
and channels of each.
Logs are written as JSON into a file that nobody reads.
"""

import asyncio
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc

from benchmarks.report import at_most, observed, publish
from headgate.kit.controls.call import Pipeline
from headgate.kit.grpc.dispatch import RpcOverHttp
from headgate.kit.grpc.interceptor import KitInterceptor
from headgate.kit.grpc.registry import Registry
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit, nothing
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.loop import run
from headgate.testing.conformance.orders_rpc import SERVICE, Order

PAIRS = 6
ROUNDS = 50
CALLS = 25
WARM = 10
MOST = 15
PATH = f"/{SERVICE}/Create"
METADATA = (("authorization", "Bearer 0123456789abcdef"), ("x-app", "benchmark"))
SETTINGS = {"rate_limit_default": "1000000/second", "log_format": "json", "grpc_port": 0, "port": 0}
SENT = Order(name="tea", quantity=2).SerializeToString()


async def create(order: Any, _context: Any) -> Any:
    """The handler: what came goes back."""
    return order


def add(server: Any) -> None:
    """Register it."""
    handler = grpc.unary_unary_rpc_method_handler(create, Order.FromString, Order.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Create": handler}),))


async def native(interceptors: tuple[Any, ...]) -> tuple[grpc.aio.Server, int]:
    """A server of grpc.aio by itself."""
    server = grpc.aio.server(interceptors=interceptors, options=[("grpc.so_reuseport", 0)])
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def measure() -> int:
    """Start the servers, let the client take its rounds, and print the figures."""
    with Path(os.devnull).open("w", encoding="utf-8") as log:  # noqa: ASYNC230
        configure_logs("info", "json", stream=log)
        kit = Kit(HardeningSettings(**SETTINGS))
        web = HttpServer(kit.harden(nothing, rpc=kit.grpc_server(add)), host="127.0.0.1", port=0, setting="port")
        alone = HttpServer(RpcOverHttp(Registry([add]), nothing), host="127.0.0.1", port=0, setting="port")
        ports: list[int] = []
        servers: list[Any] = []
        for _ in range(PAIRS):
            hardened = kit.grpc_server(add)
            bare, bare_port = await native(())
            shell, shell_port = await native((KitInterceptor(Pipeline(())),))
            ports += [bare_port, await hardened.start(), shell_port]
            servers += [bare, shell, hardened]
        for server in (web, alone):
            await server.start()
            ports.append(server.port)
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.kit_grpc", *map(str, ports), stdout=subprocess.PIPE
        )
        printed, _ = await client.communicate()
        for server in (web, alone):
            await server.stop()
        for each in servers:
            await each.stop(None)
    return report(json.loads(printed))


def report(times: dict[str, list[float]]) -> int:
    """Print what the client measured."""
    median = {name: statistics.median(found) for name, found in times.items()}

    def added(name: str) -> float:
        return 100 * (statistics.median(a / b for a, b in zip(times[name], times["bare"], strict=True)) - 1)

    return publish(
        "kit_grpc",
        [
            at_most("added per unary call by the kit", added("kit"), "%", MOST),
            observed("added by its shell, without controls", added("shell"), "%"),
            observed("unary call, grpc.aio alone", median["bare"], "us"),
            observed("unary call through the kit", median["kit"], "us"),
            observed("gRPC-Web through the kit", median["web"], "us"),
            observed("gRPC-Web without it", median["web alone"], "us"),
            observed("Connect JSON through the kit", median["connect"], "us"),
            observed("Connect JSON without it", median["connect alone"], "us"),
        ],
    )


def over_http(port: int, kind: str, body: bytes) -> Callable[[], object]:
    """A call over HTTP, on a connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"content-type": kind, "connect-protocol-version": "1", **dict(METADATA)}

    def call() -> None:
        connection.request("POST", PATH, body, headers)
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()

    return call


def over_grpc(port: int) -> Callable[[], object]:
    """A call over gRPC, on a channel that is kept."""
    call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary(PATH)
    return lambda: call(SENT, metadata=METADATA, timeout=10)


def client(*ports: int) -> None:
    """Take the rounds, each way a few calls in turn, and print microseconds per call."""
    *native_ports, web, alone = ports
    framed = b"\x00" + len(SENT).to_bytes(4, "big") + SENT
    document = b'{"name":"tea","quantity":2}'
    common = {
        "web": over_http(web, "application/grpc-web+proto", framed),
        "web alone": over_http(alone, "application/grpc-web+proto", framed),
        "connect": over_http(web, "application/json", document),
        "connect alone": over_http(alone, "application/json", document),
    }
    triples = zip(*[iter(native_ports)] * 3, strict=True)
    pairs = [dict(zip(("bare", "kit", "shell"), map(over_grpc, each), strict=True)) | common for each in triples]
    times: dict[str, list[float]] = {name: [] for name in pairs[0]}
    for number in range(ROUNDS + WARM):
        for ways in pairs:
            for name, seconds in taken(ways).items():
                if number >= WARM:
                    times[name].append(seconds)
    print(json.dumps(times))


def taken(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds per call, each way."""
    found = {}
    for name, call in ways.items():
        for _ in range(WARM):  # after the others' calls, this one's code is cold
            call()
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        found[name] = (time.perf_counter() - began) / CALLS * 1e6
    return found


if __name__ == "__main__":
    if len(sys.argv) > 1:
        client(*map(int, sys.argv[1:]))
    else:
        sys.exit(run(measure()))
