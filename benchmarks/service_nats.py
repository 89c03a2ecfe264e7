"""Requests and replies over one nats-server, 50 in flight: a Headgate service, FastStream's RPC, nats-py's service API.

Each server is a process of its own and answers a JSON order with the same. Callers are in another process, each with
the library's own client, typed both ways; rounds are short and take turns; the figure is the median over the rounds of
Headgate's rate by the better of the other two in that round. `kit` is the same service behind all controls of the kit.
What the servers do by themselves is measured too, under one and the same load generator; and calls whose handler
waits a millisecond, as one that asks a database does.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.report import at_least, observed, publish
from headgate.kit.serve.loop import run
from headgate.service import Service, Struct, rpc
from headgate.service.client.wires import Outgoing
from headgate.service.host import host
from headgate.service.transports.nats.client import NatsClient
from headgate.service.transports.nats.connection import Connecting, Connection, Message, connect
from headgate.service.transports.nats.wire import NatsWire
from headgate.testing.nats import running_nats

ROUNDS = 20
WARM = 3
IN_FLIGHT = 50
WAITS = "-waits"
CALLS = 1_000
WAITING_CALLS = 200
WAIT = 0.001
LEAST = 1.3
BODY = b'{"sku":"tea","quantity":2,"note":"as ever"}'
SERVERS = ("headgate", "kit", "faststream", "nats-py")


class NewOrder(Struct):
    """What is sent, and comes back."""

    sku: str
    quantity: int
    note: str = ""


class Orders(Service, name="orders", public=True):
    """The handler: what came goes back."""

    @rpc
    async def place(self, order: NewOrder) -> NewOrder:
        """Answer."""
        return order

    @rpc
    async def ask(self, order: NewOrder) -> NewOrder:
        """Answer after a while, as if a database had been asked."""
        await asyncio.sleep(WAIT)
        return order


class Behind(Orders, name="behind"):
    """The same, served behind the controls of the kit."""


SUBJECTS = {"headgate": "svc.orders.Place", "kit": "svc.behind.Place", "faststream": "fs", "nats-py": "np"}


async def serve(which: str, url: str) -> None:
    """Serve until the process is ended."""
    if which in {"headgate", "kit"}:
        pipeline = None
        if which == "kit":
            from headgate.kit.controls.call import Pipeline
            from headgate.kit.hardening import HardeningSettings
            from headgate.kit.kit import Kit
            from headgate.kit.observe.logs import configure_logs

            configure_logs("info", "json", stream=Path(os.devnull).open("w", encoding="utf-8"))  # noqa: ASYNC230, SIM115
            kit = Kit(HardeningSettings(rate_limit_default="1000000/second", log_format="json"))
            pipeline = Pipeline(kit.controls, frozenset(("nats",)))
        await NatsWire(host([Orders() if which == "headgate" else Behind()]), url, pipeline=pipeline).start()
    elif which == "faststream":
        from faststream.nats import NatsBroker
        from pydantic import BaseModel

        class Order(BaseModel):
            sku: str
            quantity: int
            note: str = ""

        broker = NatsBroker(url, logger=None)

        @broker.subscriber(SUBJECTS[which], max_workers=IN_FLIGHT)
        async def place(order: Order) -> Order:
            return order

        @broker.subscriber(SUBJECTS[which] + WAITS, max_workers=IN_FLIGHT)
        async def ask(order: Order) -> Order:
            await asyncio.sleep(WAIT)
            return order

        await broker.start()
    else:
        import nats
        import nats.micro

        service = await nats.micro.add_service(await nats.connect(url), name="np", version="1.0.0")
        decode, encode = msgspec.json.Decoder(NewOrder).decode, msgspec.json.encode

        async def handler(request: Any) -> None:
            await request.respond(encode(decode(request.data)))

        async def slow(request: Any) -> None:
            await asyncio.sleep(WAIT)
            await request.respond(encode(decode(request.data)))

        await service.add_endpoint(name="place", subject=SUBJECTS[which], handler=handler)
        await service.add_endpoint(name="ask", subject=SUBJECTS[which] + WAITS, handler=slow)
    print("ready", flush=True)
    await asyncio.Event().wait()


async def ours(wire: NatsClient, method: Any, path: str, sent: NewOrder) -> Any:
    """One call within the time that the others allow, too."""
    return await wire.unary(Outgoing(method, path, until=asyncio.get_running_loop().time() + 10), sent)


async def callers(url: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """One call with each library's own client."""
    import nats
    from faststream.nats import NatsBroker

    found: dict[str, Callable[[], Awaitable[Any]]] = {}
    sent = NewOrder("tea", 2, "as ever")
    for which, owner in (("headgate", Orders), ("kit", Behind)):
        contract = owner.contract()
        method = contract.methods["Place"]
        slow, client = contract.methods["Ask"], NatsClient(url)
        found[which] = partial(ours, client, method, contract.path(method), sent)
        found[which + WAITS] = partial(ours, client, slow, contract.path(slow), sent)
    broker = NatsBroker(url, logger=None)
    await broker.connect()

    async def faststream(more: str = "") -> Any:
        return await (await broker.request(sent_plain, SUBJECTS["faststream"] + more, timeout=10)).decode()

    sent_plain = {"sku": "tea", "quantity": 2, "note": "as ever"}
    found["faststream"] = faststream
    bare = await nats.connect(url)
    decode, encode = msgspec.json.Decoder(NewOrder).decode, msgspec.json.encode

    async def micro(more: str = "") -> Any:
        return decode((await bare.request(SUBJECTS["nats-py"] + more, encode(sent), timeout=10)).data)

    found["nats-py"] = micro
    found["faststream" + WAITS] = partial(faststream, WAITS)
    found["nats-py" + WAITS] = partial(micro, WAITS)
    return found


async def called(call: Callable[[], Awaitable[Any]], calls: int) -> float:
    """Calls per second, `IN_FLIGHT` of them under way."""

    async def one() -> None:
        for _ in range(calls // IN_FLIGHT):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
    return calls / (time.perf_counter() - began)


async def rate(connection: Connection, subject: str, answers: list[Any], inbox: str, calls: int) -> float:
    """Calls per second, always `IN_FLIGHT` of them under way."""
    left, back = calls, 0
    done = asyncio.get_running_loop().create_future()

    def answered(message: Message) -> None:
        nonlocal left, back
        if message.status or b"Error" in message.head:
            raise RuntimeError(message)
        back += 1
        if left:
            left -= 1
            connection.post(subject, BODY, reply=inbox, headers=b"content-type: application/json\r\n")
        elif back == calls:
            done.set_result(None)

    answers[0] = answered
    began = time.perf_counter()
    for _ in range(IN_FLIGHT):
        left -= 1
        connection.post(subject, BODY, reply=inbox, headers=b"content-type: application/json\r\n")
    await asyncio.wait_for(done, 30)
    return calls / (time.perf_counter() - began)


async def drive(url: str) -> None:
    """Take the rounds and print the rates."""
    loads: dict[str, tuple[Connection, list[Any], str]] = {}
    for which in SERVERS:
        connection = await connect(Connecting(url))
        answers: list[Any] = [None]
        inbox = connection.inbox()
        await connection.listen(inbox, lambda message, answers=answers: answers[0](message))
        await connection.flush()
        loads[which] = (connection, answers, inbox)
    calls = await callers(url)
    rates: dict[str, list[float]] = {
        which: [] for name in SERVERS for which in (name, f"{name} alone", f"{name}{WAITS}")
    }
    order = list(SERVERS)
    for number in range(ROUNDS + WARM):
        for which in order:
            connection, answers, inbox = loads[which]
            alone = await rate(connection, SUBJECTS[which], answers, inbox, CALLS)
            found = await called(calls[which], CALLS)
            waited = await called(calls[which + WAITS], WAITING_CALLS)
            if number >= WARM:
                rates[which].append(found)
                rates[f"{which} alone"].append(alone)
                rates[f"{which}{WAITS}"].append(waited)
        order.append(order.pop(0))
    print(json.dumps(rates))


def started(*arguments: str) -> "subprocess.Popen[str]":
    """A process of this module."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.service_nats", *arguments], stdout=subprocess.PIPE, text=True
    )


def measure() -> int:
    """Start the servers, let the client take its rounds, and print the figures."""
    servers = []
    with running_nats() as nats:
        try:
            for which in SERVERS:
                servers.append(started("serve", which, nats.url))
                assert servers[-1].stdout is not None
                assert any(line == "ready\n" for line in servers[-1].stdout)
            printed, _ = started("drive", nats.url).communicate(timeout=600)
        finally:
            for server in servers:
                server.kill()
                server.wait()
    return report(json.loads(printed.splitlines()[-1]))


def report(rates: dict[str, list[float]]) -> int:
    """Print what the client measured."""
    median = {which: statistics.median(found) for which, found in rates.items()}

    def ratio(which: str, how: str = "") -> float:
        rounds = zip(rates[which + how], rates["faststream" + how], rates["nats-py" + how], strict=True)
        return statistics.median(ours / max(others) for ours, *others in rounds)

    return publish(
        "service_nats",
        [
            at_least("rate by the better of FastStream and nats-py's service API", ratio("headgate"), "x", LEAST),
            observed("the same behind all controls of the kit", ratio("kit"), "x"),
            observed("with a handler that waits a millisecond", ratio("headgate", WAITS), "x"),
            observed("the same behind all controls of the kit, waiting", ratio("kit", WAITS), "x"),
            observed("servers alone, under the same load generator", ratio("headgate", " alone"), "x"),
            observed("the same behind all controls of the kit, alone", ratio("kit", " alone"), "x"),
            *(observed(which, found, "calls/s") for which, found in median.items()),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        run(serve(sys.argv[2], sys.argv[3]))
    elif len(sys.argv) > 1:
        run(drive(sys.argv[2]))
    else:
        sys.exit(measure())
