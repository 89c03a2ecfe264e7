"""Unary calls over one WebSocket against a bare echo of the websockets library on the same.

Both servers in a process each, the client in another, with 16 messages under way on one socket; rounds take turns. The
figure is the median over the rounds of the rate of calls by the rate of echoes. What is sent is the same JSON.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.report import at_least, observed, publish
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.loop import run
from headgate.service import Service, Struct, rpc
from headgate.service.client.wires import Outgoing
from headgate.service.codecs import MSGPACK
from headgate.service.host import host
from headgate.service.transports.socket.client import SocketClient
from headgate.service.transports.socket.wire import SocketWire

ROUNDS = 30
WARM = 3
IN_FLIGHT = 16
CALLS = 800
LEAST = 0.5
SENT = '{"op":"call","id":%d,"path":"/orders.Orders/Place","data":{"sku":"tea","quantity":2}}'


class NewOrder(Struct):
    """What is sent, and comes back."""

    sku: str
    quantity: int


class Orders(Service, name="orders", public=True):
    """The handler: what came goes back."""

    @rpc
    async def place(self, order: NewOrder) -> NewOrder:
        """Answer."""
        return order


async def serve(which: str) -> None:
    """Serve until the process is ended; prints the port."""
    if which == "echo":
        from websockets.asyncio.server import serve as serve_sockets

        async def echo(socket: Any) -> None:
            async for message in socket:
                await socket.send(message)

        server = await serve_sockets(echo, "127.0.0.1", 0, compression=None)
        port = next(iter(server.sockets)).getsockname()[1]
    else:
        part = HttpServer(SocketWire(host([Orders()])), host="127.0.0.1", port=0, setting="port")
        await part.start()
        port = part.port
    print(f"port {port}", flush=True)
    await asyncio.Event().wait()


class Load:
    """One socket, and the ids it has used."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._last = 0

    async def rate(self, calls: int) -> float:
        """Messages per second, there and back."""
        began = time.perf_counter()
        for _ in range(IN_FLIGHT):
            await self._send()
        for number in range(calls):
            answer = await self._socket.recv()
            if '"error"' in answer:
                raise RuntimeError(answer)
            if number < calls - IN_FLIGHT:
                await self._send()
        return calls / (time.perf_counter() - began)

    async def _send(self) -> None:
        self._last += 1
        await self._socket.send(SENT % self._last)


async def drive(ports: dict[str, int]) -> None:
    """Take the rounds and print the rates."""
    from websockets.asyncio.client import connect

    loads = {}
    rates: dict[str, list[float]] = {which: [] for which in (*ports, "typed")}
    async with AsyncExitStack() as stack:
        for which, port in ports.items():
            socket = await stack.enter_async_context(
                connect(
                    f"ws://127.0.0.1:{port}/rpc",
                    subprotocols=["headgate.v1+json"] if which == "calls" else None,  # type: ignore[list-item]
                    compression=None,
                )
            )
            loads[which] = Load(socket)
        contract = Orders.contract()
        typed = SocketClient(f"ws://127.0.0.1:{ports['calls']}/rpc", MSGPACK)
        stack.push_async_callback(typed.aclose)
        out = Outgoing(contract.methods["Place"], "/orders.Orders/Place")
        for number in range(ROUNDS + WARM):
            for which, load in loads.items():
                found = await load.rate(CALLS)
                if number >= WARM:
                    rates[which].append(found)
            began = time.perf_counter()
            await asyncio.gather(*(_some(typed, out) for _ in range(IN_FLIGHT)))
            if number >= WARM:
                rates["typed"].append(CALLS / (time.perf_counter() - began))
    print(json.dumps(rates))


async def _some(client: SocketClient, out: Outgoing) -> None:
    for _ in range(CALLS // IN_FLIGHT):
        await client.unary(out, NewOrder("tea", 2))


def started(*arguments: str) -> "subprocess.Popen[str]":
    """A process of this module."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service_socket", *arguments], stdout=subprocess.PIPE, text=True
    )


def measure() -> int:
    """Start the servers, let the client take its rounds, and print the figures."""
    servers, ports = [], {}
    try:
        for which in ("echo", "calls"):
            servers.append(started("serve", which))
            for line in servers[-1].stdout or ():
                if line.startswith("port "):
                    ports[which] = int(line.split()[1])
                    break
        printed, _ = started("drive", json.dumps(ports)).communicate(timeout=600)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    return report(json.loads(printed.splitlines()[-1]))


def report(rates: dict[str, list[float]]) -> int:
    """Print what the client measured."""

    def ratio(which: str) -> float:
        return statistics.median(ours / echo for ours, echo in zip(rates[which], rates["echo"], strict=True))

    return publish(
        "service_socket",
        [
            at_least("rate of calls by the rate of a bare echo", ratio("calls"), "x", LEAST),
            observed("the same with the typed client, MessagePack", ratio("typed"), "x"),
            *(observed(which, statistics.median(found), "messages/s") for which, found in rates.items()),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        run(serve(sys.argv[2]))
    elif len(sys.argv) > 1:
        run(drive(json.loads(sys.argv[2])))
    else:
        sys.exit(measure())
