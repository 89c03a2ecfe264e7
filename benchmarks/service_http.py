"""Calls of a service over HTTP, against the same handler in FastAPI and Litestar.

Four servers, each uvicorn with httptools and uvloop in a process of its own: the wire by itself, the wire hardened
by the kit, FastAPI, Litestar. The client is another process, with connections that are kept and requests that are
bytes already. What is compared is requests per second of the server's processor time, as the kernel counts it for
the one thread there is: that is the rate of a server with a core to itself, and still means something on a busy
machine, where the rates by the clock, told besides, follow what else runs. Rounds are short, and each takes the ways
in another order; a ratio is the median over the rounds of one's rate by the other's in the same round.
"""

import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import uvicorn
import uvloop
from pydantic import BaseModel

from benchmarks.report import at_least, observed, publish
from headgate.kit.hardening import HardeningSettings
from headgate.kit.kit import Kit
from headgate.kit.observe.logs import configure_logs
from headgate.service.host import host
from headgate.service.service import Service, rpc
from headgate.service.transports.http import HttpWire

ROUNDS = 40
WARM = 4
CALLS = 400
CONNECTIONS = 16
SERVERS = ("wire", "kit", "fastapi", "litestar")
SENT = {"sku": "tea", "quantity": 2, "note": "as a present"}
SETTINGS = {"rate_limit_default": "1000000/second", "log_format": "json"}


class NewOrder(msgspec.Struct):
    """What is sent."""

    sku: str
    quantity: int = 1
    note: str = ""


class Order(msgspec.Struct):
    """What comes back."""

    id: str
    sku: str
    quantity: int
    note: str


class NewOrderModel(BaseModel):
    """The same, as FastAPI has it."""

    sku: str
    quantity: int = 1
    note: str = ""


class OrderModel(BaseModel):
    """The same, as FastAPI has it."""

    id: str
    sku: str
    quantity: int
    note: str


class Orders(Service, name="orders", public=True):
    """The handler here."""

    @rpc(post="/orders")
    async def place(self, order: NewOrder) -> Order:
        return Order("7", order.sku, order.quantity, order.note)

    @rpc(get="/orders/{id}")
    async def get(self, id: str, quantity: int = 1, *, loud: bool = False) -> Order:  # noqa: A002
        return Order(id, "TEA" if loud else "tea", quantity, "")


def wire() -> Any:
    """The wire by itself."""
    return HttpWire(host([Orders()]))


def kit() -> Any:
    """The wire with every default control of the kit."""
    return Kit(HardeningSettings(**SETTINGS)).harden(wire())


def fastapi() -> Any:
    """The same with FastAPI."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/orders")
    async def place(order: NewOrderModel) -> OrderModel:
        return OrderModel(id="7", sku=order.sku, quantity=order.quantity, note=order.note)

    @app.get("/orders/{id}")
    async def get(id: str, quantity: int = 1, loud: bool = False) -> OrderModel:  # noqa: A002
        return OrderModel(id=id, sku="TEA" if loud else "tea", quantity=quantity, note="")

    return app


def litestar() -> Any:
    """The same with Litestar, which takes msgspec's types, in both forms."""
    from litestar import Litestar, get, post
    from litestar.enums import MediaType, RequestEncodingType
    from litestar.params import Body

    @post("/orders", status_code=200)
    async def place(data: NewOrder) -> Order:
        return Order("7", data.sku, data.quantity, data.note)

    @post("/packed", status_code=200, media_type=MediaType.MESSAGEPACK)
    async def packed(data: Annotated[NewOrder, Body(media_type=RequestEncodingType.MESSAGEPACK)]) -> Order:
        return Order("7", data.sku, data.quantity, data.note)

    @get("/orders/{id:str}")
    async def read(id: str, quantity: int = 1, loud: bool = False) -> Order:  # noqa: A002
        return Order(id, "TEA" if loud else "tea", quantity, "")

    return Litestar([place, packed, read], openapi_config=None)


def serve(name: str, descriptor: int) -> None:
    """Serve one of the applications on a listening socket."""
    listener = socket.socket(fileno=descriptor)
    # The hardened one writes its log where nobody reads it.
    with Path(os.devnull).open("w", encoding="utf-8") as log:
        configure_logs("info", "json", stream=log)
        app = {"wire": wire, "kit": kit, "fastapi": fastapi, "litestar": litestar}[name]()
        config = uvicorn.Config(
            app, loop="uvloop", http="httptools", ws="none", lifespan="on", log_level="error", access_log=False
        )
        uvicorn.Server(config).run(sockets=[listener])


def request(verb: str, path: str, kind: str = "", body: bytes = b"") -> bytes:
    """A request as bytes, with the headers a client would send."""
    lines = [f"{verb} {path} HTTP/1.1", "host: 127.0.0.1", "user-agent: bench/1", f"accept: {kind or '*/*'}"]
    if body:
        lines += [f"content-type: {kind}", f"content-length: {len(body)}"]
    return "\r\n".join((*lines, "", "")).encode() + body


class Connection(asyncio.Protocol):
    """Asks again as soon as it was answered. All answers to one request are equally long."""

    def __init__(self, sent: bytes, length: int, left: list[int], done: asyncio.Future[None]) -> None:
        self._sent, self._length, self._left, self._done = sent, length, left, done
        self._come = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._sent)

    def data_received(self, data: bytes) -> None:
        self._come += len(data)
        if self._come < self._length:
            return
        self._come = 0
        self._left[0] -= 1
        if self._left[0] > 0:
            self._transport.write(self._sent)
        elif not self._done.done():
            self._done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or ConnectionError("the server closed"))


def answer_to(port: int, sent: bytes) -> int:
    """Bytes of the answer, once it is sure that it is the right one."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(sent)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65_536)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += connection.recv(65_536)
    assert head.startswith(b"HTTP/1.1 200"), answer
    assert b"tea" in body, answer
    return len(head) + 4 + length


def busy(process: int) -> float:
    """Seconds that the main thread of a process has run."""
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


async def rate(port: int, process: int, sent: bytes, length: int) -> tuple[float, float]:
    """Requests per second over all connections: of the server's processor time, and by the clock."""
    loop = asyncio.get_running_loop()
    done, left = loop.create_future(), [CALLS]
    began, before = time.perf_counter(), busy(process)
    made = [
        await loop.create_connection(partial(Connection, sent, length, left, done), "127.0.0.1", port)
        for _ in range(CONNECTIONS)
    ]
    await done
    seconds, used = time.perf_counter() - began, busy(process) - before
    for transport, _ in made:
        transport.abort()
    return CALLS / used, CALLS / seconds


async def client(servers: Sequence[tuple[int, int]]) -> None:
    """Take the rounds, and print both rates of each way; `servers` are ports and processes."""
    of = dict(zip(SERVERS, servers, strict=True))
    plain, packed = json.dumps(SENT).encode(), msgspec.msgpack.encode(SENT)
    place = request("POST", "/orders", "application/json", plain)
    call = request("POST", "/orders.Orders/Place", "application/json", plain)
    get = request("GET", "/orders/12345?quantity=3&loud=false")
    ways = {f"{name} post": (*of[name], place) for name in SERVERS}
    ways |= {f"{name} get": (*of[name], get) for name in SERVERS}
    ways["wire rpc"] = (*of["wire"], call)
    ways["wire msgpack"] = (*of["wire"], request("POST", "/orders", "application/msgpack", packed))
    ways["litestar msgpack"] = (*of["litestar"], request("POST", "/packed", "application/msgpack", packed))
    lengths = {name: answer_to(port, sent) for name, (port, _, sent) in ways.items()}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(ROUNDS + WARM):
        for name in random.sample(list(ways), len(ways)):
            port, process, sent = ways[name]
            found = await rate(port, process, sent, lengths[name])
            if number >= WARM:
                rates[name].append(found)
    print(json.dumps(rates))


def listening() -> socket.socket:
    """A listening socket on a free port, to be inherited."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(1_024)
    made.set_inheritable(True)
    return made


def module(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """This file in a process of its own."""
    return subprocess.Popen([sys.executable, "-m", "benchmarks.service_http", *map(str, arguments)], **options)


def measure() -> int:
    """Start the servers, let the client take its rounds, and print the figures."""
    sockets = {name: listening() for name in SERVERS}
    ports = [made.getsockname()[1] for made in sockets.values()]
    running = [module(name, made.fileno(), pass_fds=[made.fileno()]) for name, made in sockets.items()]
    for made in sockets.values():
        made.close()  # a server that fails leaves nobody waiting
    try:
        asked = module(
            "client", *(f"{port}:{each.pid}" for port, each in zip(ports, running, strict=True)), stdout=subprocess.PIPE
        )
        printed, _ = asked.communicate()
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()
    return report(json.loads(printed))


def report(rates: dict[str, list[tuple[float, float]]]) -> int:
    """Print what the client measured."""

    def by(one: str, other: str, which: int = 0) -> float:
        return statistics.median(a[which] / b[which] for a, b in zip(rates[one], rates[other], strict=True))

    return publish(
        "service_http",
        [
            at_least("POST JSON by FastAPI's", by("wire post", "fastapi post"), "", 2),
            at_least("POST JSON by Litestar's", by("wire post", "litestar post"), "", 1),
            observed("the same by FastAPI's, by the clock", by("wire post", "fastapi post", 1), ""),
            observed("the same by Litestar's, by the clock", by("wire post", "litestar post", 1), ""),
            observed("RPC path, JSON, by Litestar's POST", by("wire rpc", "litestar post"), ""),
            observed("GET with path and query by FastAPI's", by("wire get", "fastapi get"), ""),
            observed("GET with path and query by Litestar's", by("wire get", "litestar get"), ""),
            observed("POST MessagePack by Litestar's", by("wire msgpack", "litestar msgpack"), ""),
            observed("hardened POST JSON by FastAPI's, bare", by("kit post", "fastapi post"), ""),
            observed("hardened POST JSON by the wire's, bare", by("kit post", "wire post"), ""),
            *(observed(name, statistics.median(each[0] for each in found), "1/cpu s") for name, found in rates.items()),
        ],
    )


def main(arguments: Sequence[str]) -> int:
    """Measure; with arguments, be one of the processes."""
    if not arguments:
        return measure()
    if arguments[0] == "client":
        uvloop.run(client([(int(port), int(pid)) for port, _, pid in (each.partition(":") for each in arguments[1:])]))
    else:
        serve(arguments[0], int(arguments[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
