"""What a typed client adds to a call over HTTP, beside httpx used by hand: the same server, body and decoder.

Bare is `httpx.AsyncClient.post` with the message encoded and decoded by msgspec, as one writes it without a client.
Rounds alternate. Processor time is of the client alone: the server is another process.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import httpx
import msgspec

from benchmarks.report import at_most, observed, publish
from headgate.service import Service, Struct, rpc
from headgate.service.client import Client, ClientPolicy
from headgate.service.host import host

CALLS = 1_000
ROUNDS = 9
MICROSECONDS = 1e6

SERVER = """
import asyncio
from benchmarks.service_client import Orders
from headgate.kit.serve.http import HttpServer
from headgate.service.host import host
from headgate.service.transports.http import HttpWire

async def main():
    server = HttpServer(HttpWire(host([Orders()])), host="127.0.0.1", port=0, setting="port")
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class NewOrder(Struct):
    """What is asked for."""

    sku: str
    quantity: int = 1


class Order(Struct):
    """What was asked for."""

    id: str
    sku: str
    quantity: int = 1


class Orders(Service, name="orders", public=True):
    """The service that is called."""

    @rpc
    async def place(self, order: NewOrder) -> Order:
        """Place one."""
        return Order("1", order.sku, order.quantity)


class Nowhere:
    """A wire that answers at once: what is left is the client itself."""

    async def unary(self, _out: object, _request: object) -> Order:
        """The answer."""
        return Order("1", "tea")

    async def aclose(self) -> None:
        """Nothing to close."""


async def once(call: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """Microseconds of processor time of one call."""
    began = time.process_time()
    for _ in range(calls):
        await call()
    return (time.process_time() - began) / calls * MICROSECONDS


async def measure(url: str) -> int:
    """Measure and print the figures."""
    order = NewOrder("tea", 2)
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Order).decode
    headers = {"content-type": "application/msgpack", "accept": "application/msgpack"}
    place = Orders.contract().path(Orders.contract().methods["Place"])
    here = Client(Orders, local=host([Orders()]))
    alone = Client(Orders, address=url, open_wire=lambda _instance: Nowhere())  # type: ignore[arg-type]
    unchecked = Client(Orders, address=url, policy=ClientPolicy(validate=False))
    async with httpx.AsyncClient(base_url=url) as by_hand, Client(Orders, address=url) as orders:

        async def bare() -> Order:
            return decode((await by_hand.post(place, content=encode(order), headers=headers)).content)

        def typed() -> Awaitable[Order]:
            return orders.place(order)

        def trusting() -> Awaitable[Order]:
            return unchecked.stub.place(order)

        def local() -> Awaitable[Order]:
            return here.stub.place(order)

        def nowhere() -> Awaitable[Order]:
            return alone.stub.place(order)

        calls: list[Callable[[], Awaitable[object]]] = [bare, typed, trusting, local, nowhere]
        for call in calls:
            await once(call, 100)
        rounds = [[await once(call) for call in calls] for _ in range(ROUNDS)]
    await here.aclose()
    await unchecked.aclose()
    await alone.aclose()
    by_call = list(zip(*rounds, strict=True))
    ratio = median(each[1] / each[0] for each in rounds)
    return publish(
        "service_client",
        [
            observed("httpx by hand", median(by_call[0]), "us"),
            observed("typed client over HTTP", median(by_call[1]), "us"),
            observed("added to httpx by hand", median(each[1] - each[0] for each in rounds), "us"),
            at_most("typed client, of httpx by hand", ratio, "ratio", 1.15),
            observed("without checking arguments", median(by_call[2]), "us"),
            observed("the client itself, its wire left out", median(by_call[4]), "us"),
            observed("within the process, both sides", median(by_call[3]), "us"),
        ],
    )


def main() -> int:
    """Start the server, measure, and end it."""
    server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        url = next(line.strip() for line in server.stdout if line.startswith("http"))
        return asyncio.run(measure(url))
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    sys.exit(main())
