"""Requests and replies over one nats-server, 50 in flight: a Headgate service, FastStream's RPC, nats-py's service API.

Each server is a process of its own with one connection, on uvloop. All do the same: an order of three lines in JSON is
decoded into types and checked, what is wrong would be told, and the order goes back as JSON. FastStream does it as its
users do, with pydantic; the handler of nats-py with msgspec, the fastest there is. Callers are in another process, each
with the library's own client, typed both ways, one connection, and ten seconds for each call. Only Headgate's tells the
server how long it waits, and the server keeps to it.

Rounds are short and take turns; a ratio is the median over the rounds of Headgate's rate by the better of the other
two in that round. Rates are told by the clock, where client, nats-server and server share what cores there are, and by
the processor time of the server, as the kernel counts it for its one thread. `alone` puts all servers under one and the
same load generator instead; `waits` are calls whose handler waits a millisecond, as one that asks a database does: an
endpoint of nats-py serves them one after the other. `kit` is the same service behind all controls of the kit.
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
ALONE = "-alone"
CALLS = 1_000
WAITING_CALLS = 200
WAIT = 0.001
LEAST = 1.3
CLOCK, SERVER, CLIENT = range(3)
SENT = {
    "customer": "0b0f3c1e-6a51-4f0e-9d0e-2f1f5f0a7c11",
    "lines": [
        {"sku": "tea-assam-250", "quantity": 2, "cents": 1_290},
        {"sku": "tea-sencha-100", "quantity": 1, "cents": 1_850},
        {"sku": "pot-cast-iron", "quantity": 1, "cents": 6_400},
    ],
    "note": "as a present, please",
}
SERVERS = ("headgate", "kit", "faststream", "nats-py")


class Line(Struct):
    """So many of a thing."""

    sku: str
    quantity: int
    cents: int


class NewOrder(Struct):
    """What is sent, and comes back."""

    customer: str
    lines: list[Line]
    note: str = ""


BODY = json.dumps(SENT, separators=(",", ":")).encode()


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

        class OrderLine(BaseModel):
            sku: str
            quantity: int
            cents: int

        class Order(BaseModel):
            customer: str
            lines: list[OrderLine]
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
            try:
                order = decode(request.data)
            except msgspec.DecodeError as error:
                await request.respond_error("400", str(error))
                return
            await request.respond(encode(order))

        async def slow(request: Any) -> None:
            await asyncio.sleep(WAIT)
            await handler(request)

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
    sent = msgspec.convert(SENT, NewOrder)
    for which, owner in (("headgate", Orders), ("kit", Behind)):
        contract = owner.contract()
        method = contract.methods["Place"]
        slow, client = contract.methods["Ask"], NatsClient(url)
        found[which] = partial(ours, client, method, contract.path(method), sent)
        found[which + WAITS] = partial(ours, client, slow, contract.path(slow), sent)
    broker = NatsBroker(url, logger=None)
    await broker.connect()

    async def faststream(more: str = "") -> Any:
        return await (await broker.request(SENT, SUBJECTS["faststream"] + more, timeout=10)).decode()

    found["faststream"] = faststream
    bare = await nats.connect(url)
    decode, encode = msgspec.json.Decoder(NewOrder).decode, msgspec.json.encode

    async def micro(more: str = "") -> Any:
        return decode((await bare.request(SUBJECTS["nats-py"] + more, encode(sent), timeout=10)).data)

    found["nats-py"] = micro
    found["faststream" + WAITS] = partial(faststream, WAITS)
    found["nats-py" + WAITS] = partial(micro, WAITS)
    return found


async def called(call: Callable[[], Awaitable[Any]], calls: int) -> None:
    """Make calls, `IN_FLIGHT` of them under way."""

    async def one() -> None:
        for _ in range(calls // IN_FLIGHT):
            await call()

    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))


def busy(process: int) -> float:
    """Seconds that the main thread of a process has run."""
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


async def timed(process: int, calls: int, work: Awaitable[None]) -> tuple[float, float, float]:
    """Calls per second: by the clock, of the server's processor time, and of the client's."""
    began, client, server = time.perf_counter(), busy(os.getpid()), busy(process)
    await work
    clock, client, server = time.perf_counter() - began, busy(os.getpid()) - client, busy(process) - server
    return calls / clock, calls / server, calls / client


async def loaded(connection: Connection, subject: str, answers: list[Any], inbox: str, calls: int) -> None:
    """Make calls with as little work as can be, always `IN_FLIGHT` of them under way."""
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
    for _ in range(IN_FLIGHT):
        left -= 1
        connection.post(subject, BODY, reply=inbox, headers=b"content-type: application/json\r\n")
    await asyncio.wait_for(done, 30)


async def drive(url: str, processes: dict[str, int]) -> None:
    """Take the rounds and print the rates."""
    loads: dict[str, tuple[Connection, str, list[Any], str]] = {}
    for which in SERVERS:
        connection = await connect(Connecting(url))
        answers: list[Any] = [None]
        inbox = connection.inbox()
        await connection.listen(inbox, lambda message, answers=answers: answers[0](message))
        await connection.flush()
        loads[which] = (connection, SUBJECTS[which], answers, inbox)
    calls = await callers(url)
    rates: dict[str, list[tuple[float, float, float]]] = {
        which + how: [] for which in SERVERS for how in ("", ALONE, WAITS)
    }
    order = list(SERVERS)
    for number in range(ROUNDS + WARM):
        for which in order:
            process = processes[which]
            found = {
                which: await timed(process, CALLS, called(calls[which], CALLS)),
                which + ALONE: await timed(process, CALLS, loaded(*loads[which], CALLS)),
                which + WAITS: await timed(process, WAITING_CALLS, called(calls[which + WAITS], WAITING_CALLS)),
            }
            if number >= WARM:
                for name, rate in found.items():
                    rates[name].append(rate)
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
            processes = (f"{which}:{server.pid}" for which, server in zip(SERVERS, servers, strict=True))
            printed, _ = started("drive", nats.url, *processes).communicate(timeout=600)
        finally:
            for server in servers:
                server.kill()
                server.wait()
    return report(json.loads(printed.splitlines()[-1]))


def report(rates: dict[str, list[tuple[float, float, float]]]) -> int:
    """Print what the client measured."""

    def ratio(which: str, how: str = "", by: int = CLOCK) -> float:
        rounds = zip(rates[which + how], rates["faststream" + how], rates["nats-py" + how], strict=True)
        return statistics.median(ours[by] / max(other[by] for other in others) for ours, *others in rounds)

    def microseconds(which: str, by: int) -> float:
        return statistics.median(1e6 / each[by] for each in rates[which])

    return publish(
        "service_nats",
        [
            at_least("rate by the better of FastStream and nats-py's service API", ratio("headgate"), "x", LEAST),
            observed("the same of the server's processor time", ratio("headgate", by=SERVER), "x"),
            observed("the same of the client's processor time", ratio("headgate", by=CLIENT), "x"),
            observed("under one load generator", ratio("headgate", ALONE), "x"),
            observed("under one load generator, of the server's processor time", ratio("headgate", ALONE, SERVER), "x"),
            observed("with a handler that waits a millisecond", ratio("headgate", WAITS), "x"),
            observed("the same of the server's processor time, waiting", ratio("headgate", WAITS, SERVER), "x"),
            observed("behind all controls of the kit", ratio("kit"), "x"),
            observed("behind all controls of the kit, of the server's processor time", ratio("kit", by=SERVER), "x"),
            observed("behind all controls of the kit, waiting", ratio("kit", WAITS), "x"),
            *(observed(which, statistics.median(each[CLOCK] for each in rates[which]), "calls/s") for which in rates),
            *(observed(f"{which}: server", microseconds(which, SERVER), "us/call") for which in rates),
            *(observed(f"{which}: client", microseconds(which, CLIENT), "us/call") for which in rates),
        ],
    )


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "serve":
        run(serve(sys.argv[2], sys.argv[3]))
    elif len(sys.argv) > 1:
        run(drive(sys.argv[2], {which: int(pid) for which, _, pid in (each.partition(":") for each in sys.argv[3:])}))
    else:
        sys.exit(measure())
