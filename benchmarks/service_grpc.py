"""Unary calls of a service over gRPC, against grpc.aio alone with generated stubs.

Three servers of one handler, an order that is looked at and answered: grpc.aio with code that the compiler generated
from our own `.proto`; the same under the service framework without the kit's controls; and with all of them. The client
is another process and speaks bytes. Rounds take turns; a figure is the median over the rounds of one's calls per second
by the other's, with one call at a time and with many in flight. There are several of each server, for how fast one is
depends a little on which of gRPC's threads its connection falls to.
"""

import asyncio
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import grpc
from msgspec import Meta, Struct

from benchmarks.report import at_least, observed, publish
from headgate.kit.controls.call import Pipeline
from headgate.kit.grpc.server import grpc_server
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.loop import run
from headgate.service import Service, rpc
from headgate.service.host import host
from headgate.service.proto.text import proto_text
from headgate.service.transports.grpc import grpc_services

SETS = 6
ROUNDS = 180
WARM = 18
SEQUENTIAL = 20
TOGETHER = 32
CALLS = 96
LEAST = 0.85
PATH = "/orders.Orders/Place"
SETTINGS = {"rate_limit_default": "1000000/second", "log_format": "json", "grpc_port": 0}


class NewOrder(Struct):
    """What is ordered."""

    sku: str
    quantity: Annotated[int, Meta(ge=1, le=1_000)] = 1
    note: str | None = None


class Order(Struct):
    """What was ordered."""

    id: str
    sku: str
    quantity: int
    total: float
    tags: list[str]


class Orders(Service, name="orders", public=True):
    """Orders of a shop."""

    @rpc
    async def place(self, order: NewOrder) -> Order:
        """Place one."""
        return Order("o-1", order.sku, order.quantity, order.quantity * 2.5, ["new", "paid"])


def generated(folder: str) -> tuple[Any, Any]:
    """What the compiler makes of our own text."""
    import grpc_tools
    from grpc_tools import protoc

    Path(folder, "orders.proto").write_text(proto_text(Orders.contract()), encoding="utf-8")
    included = f"-I{next(iter(grpc_tools.__path__))}/_proto"
    out = (f"--python_out={folder}", f"--grpc_python_out={folder}")
    if protoc.main(["protoc", f"-I{folder}", included, *out, "orders.proto"]):
        raise RuntimeError("the compiler refused the text")
    sys.path.insert(0, folder)
    return importlib.import_module("orders_pb2"), importlib.import_module("orders_pb2_grpc")


async def bare(pb2: Any, pb2_grpc: Any) -> tuple[Any, int]:
    """A server of grpc.aio alone, with the generated servicer."""

    class Servicer(pb2_grpc.OrdersServicer):
        async def Place(self, order: Any, _context: Any) -> Any:  # noqa: N802
            return pb2.Order(
                id="o-1", sku=order.sku, quantity=order.quantity, total=order.quantity * 2.5, tags=["new", "paid"]
            )

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    pb2_grpc.add_OrdersServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def measure() -> int:
    """Start the servers, let the client take its rounds, and print the figures."""
    with Path(os.devnull).open("w", encoding="utf-8") as log, tempfile.TemporaryDirectory() as folder:  # noqa: ASYNC230
        configure_logs("info", "json", stream=log)
        services = grpc_services(host([Orders()]))
        messages = generated(folder)
        servers: list[Any] = []
        ports: list[int] = []
        for _ in range(SETS):
            alone, alone_port = await bare(*messages)
            wire = grpc_server(Pipeline(()), services=services, port=0)
            kit = Kit(HardeningSettings(**SETTINGS)).grpc_server(*services)
            ports += [alone_port, await wire.start(), await kit.start()]
            servers += [alone, wire, kit]
        client = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.service_grpc", *map(str, ports), stdout=subprocess.PIPE
        )
        printed, _ = await client.communicate()
        for each in servers:
            await each.stop(None)
    return report(json.loads(printed))


def report(rates: dict[str, list[float]]) -> int:
    """Print what the client measured."""

    def ratio(name: str, way: str) -> float:
        pairs = zip(rates[f"{name} {way}"], rates[f"bare {way}"], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    def rate(name: str, way: str) -> float:
        return statistics.median(rates[f"{name} {way}"])

    return publish(
        "service_grpc",
        [
            at_least("service by grpc.aio, many in flight", ratio("wire", "together"), "x", LEAST),
            at_least("service by grpc.aio, one at a time", ratio("wire", "alone"), "x", LEAST),
            observed("the same with the kit's controls, many in flight", ratio("kit", "together"), "x"),
            observed("the same with the kit's controls, one at a time", ratio("kit", "alone"), "x"),
            *(
                observed(f"{shown}, {said}", rate(name, way), "calls/s")
                for name, shown in (("bare", "grpc.aio"), ("wire", "service"), ("kit", "service behind the kit"))
                for way, said in (("together", f"{TOGETHER} in flight"), ("alone", "one at a time"))
            ),
        ],
    )


async def client(ports: list[int]) -> None:
    """Take the rounds, each server a few calls in turn, and print calls per second."""
    sent = b"\x0a\x05tea-1\x10\x03"
    names = ["bare", "wire", "kit"]
    sets = [
        {
            name: grpc.aio.insecure_channel(f"127.0.0.1:{port}").unary_unary(PATH)
            for name, port in zip(names, of, strict=True)
        }
        for of in zip(ports[::3], ports[1::3], ports[2::3], strict=True)
    ]
    answers = {await call(sent) for calls in sets for call in calls.values()}
    assert len(answers) == 1, answers
    rates: dict[str, list[float]] = {f"{name} {way}": [] for name in names for way in ("alone", "together")}
    for number in range(-WARM, ROUNDS):
        calls = sets[number % SETS]
        for name in names[number // SETS % 3 :] + names[: number // SETS % 3]:
            alone, together = await timed(calls[name], sent)
            if number >= 0:
                rates[f"{name} alone"].append(alone)
                rates[f"{name} together"].append(together)
    print(json.dumps(rates))


async def timed(call: Any, sent: bytes) -> tuple[float, float]:
    """Calls per second, one at a time and many in flight."""
    await call(sent)
    began = time.perf_counter()
    for _ in range(SEQUENTIAL):
        await call(sent)
    alone = SEQUENTIAL / (time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.gather(*(several(call, sent) for _ in range(TOGETHER)))
    return alone, CALLS / (time.perf_counter() - began)


async def several(call: Any, sent: bytes) -> None:
    """One caller's share of the calls."""
    for _ in range(CALLS // TOGETHER):
        await call(sent)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(client([int(each) for each in sys.argv[1:]]))
    else:
        sys.exit(run(measure()))
