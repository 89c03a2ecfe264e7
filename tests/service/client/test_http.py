"""Over real HTTP servers: what happens when they die, are slow, are full, or say odd things."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.kit.controls.faults import Internal, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from headgate.kit.controls.retry import RetryPolicy
from headgate.service.client import BadAnswer, Client, ClientPolicy, ConnectionLost, RoundRobin
from headgate.service.registry.memory import MemoryRegistry
from tests.service.client.scripted import First
from tests.service.client.served import Slow, instances, over_http, until
from tests.service.shop import NewOrder, Orders

ROOT = Path(__file__).parents[3]
QUICK = RetryPolicy(first_pause=0.0)


@asynccontextmanager
async def raw(*answers: bytes) -> AsyncIterator[str]:
    """A server that answers with these bytes, one for each connection, and hangs up; none is hanging up at once."""
    left = list(answers)
    writers = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        if left:
            writer.write(left.pop(0))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        for writer in writers:
            writer.close()
        server.close()
        await server.wait_closed()


def http(status: str, body: bytes = b"", content_type: str = "application/json", *headers: str) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {content_type}", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


SERVER = """
import asyncio, sys
from tests.service.client.served import Slow, over_http

async def main():
    async with over_http(Slow()) as server:
        print(server.url, file=sys.stderr, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def process() -> AsyncIterator[tuple[str, int]]:
    """The slow shop in a process of its own: its URL and pid."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, cwd=ROOT, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        while not (line := await running.stderr.readline()).startswith(b"http"):
            assert line, "the server did not start"
        yield line.decode().strip(), running.pid
    finally:
        if running.returncode is None:
            running.kill()
        await running.wait()


async def test_a_server_that_dies_in_the_midst_of_a_call():
    """When a server is killed, a call that may be repeated is answered elsewhere, another is told what happened."""
    quick = Slow()
    quick.go.set()
    async with process() as (url, pid), over_http(quick) as other:
        places = instances(other)
        dying = type(places[0])(id="dying", service="orders", endpoints={"http": url})
        client = Client(Slow, instances=[dying, *places], balancer=First(), policy=ClientPolicy(retry=QUICK))
        async with client as orders:
            events = orders.track("7")
            assert (await anext(events)).sku == "first"
            safe = asyncio.create_task(orders.get("7"))
            unsafe = asyncio.create_task(orders.place(NewOrder("tea")))
            await until(lambda: client.peers.members[0].outstanding == 3)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(ConnectionLost):
                await anext(events)
            assert (await safe).id == "7"
            with pytest.raises(ConnectionLost):
                await unsafe


async def test_a_refused_connection_is_tried_elsewhere():
    """Calls of any method go to another instance when one does not listen."""
    async with over_http() as gone:
        places = instances(gone)
    async with over_http() as there:
        places = [*places, type(places[0])(id="there", service="orders", endpoints={"http": there.url})]
        async with Client(Orders, instances=places, balancer=First(), policy=ClientPolicy(retry=QUICK)) as orders:
            assert await orders.upload(_parts()) == 3


async def test_a_503_says_when_to_come_back():
    """Retry-After of an answer that is no document of ours is kept, and a safe call is sent again after it."""
    slept = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    body = b'{"id":"7","sku":"tea"}'
    async with raw(http("503 Busy", b"busy", "text/plain", "retry-after: 3"), http("200 OK", body)) as url:
        client = Client(Orders, address=url, policy=ClientPolicy(retry=QUICK), codec="json")
        client._caller._world["sleep"] = sleep
        assert (await client.stub.get("7")).id == "7"
        await client.aclose()
    assert slept == [3.0]


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (http("404 Not Found", b"<h1>no</h1>", "text/html"), NotFound),
        (http("502 Bad Gateway"), Unavailable),
        (http("500 Oops", b"{", "application/problem+json"), Internal),
        (http("200 OK", b"<h1>login</h1>", "text/html"), BadAnswer),
        (http("200 OK", b'{"id": 7}'), BadAnswer),
        (http("200 OK", b"\xff"), BadAnswer),
        (http("302 Found", b"", "text/html", "location: http://elsewhere/"), BadAnswer),
        (http("200 OK", b"x" * 2_000), ResourceExhausted),
        (b"SSH-2.0-OpenSSH_9.2\r\n", ConnectionLost),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 50\r\n\r\n{", ConnectionLost),
        (b"", ConnectionLost),
    ],
)
async def test_odd_answers_are_faults(answer, fault):
    """Whatever answers in the service's place: the caller gets a fault that says what happened."""
    async with raw(answer) as url:
        client = Client(Orders, address=url, policy=ClientPolicy(max_message=1_000))
        with pytest.raises(fault):
            await client.using(retries=0).get("7")
        await client.aclose()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"next":{"id":"7","sku":"tea"}}\n', ConnectionLost),
        (b'{"next":{"id":7}}\n', BadAnswer),
        (b"nonsense\n", BadAnswer),
        (b'{"error":{"kind":"NOT_FOUND"}}\n', NotFound),
    ],
)
async def test_odd_streams_are_faults(body, fault):
    """A stream that breaks off, or is none, is told as what it is."""
    answer = http("200 OK", body, "application/x-ndjson")
    async with raw(answer) as url, Client(Orders, address=url, codec="json") as orders:
        with pytest.raises(fault):
            async for _ in orders.track("7"):
                pass


async def test_a_full_pool_is_told():
    """Calls beyond the connections allowed wait so long and are told, and the instance is not blamed."""
    service = Slow()
    policy = ClientPolicy(max_connections=1, pool_timeout=0.05)
    async with over_http(service) as server:
        client = Client(Slow, address=server.url, policy=policy)
        first = asyncio.create_task(client.stub.get("1"))
        await service.begun.wait()
        with pytest.raises(ResourceExhausted) as full:
            await client.stub.get("2")
        assert full.value.code == "connections_exhausted"
        assert client.peers.members[0].breaker.stats().failures == 0
        service.go.set()
        assert (await first).id == "1"
        await client.aclose()


async def test_many_callers_wait_their_turn():
    """Calls beyond the connections allowed wait their turn, and one that leaves takes no place."""
    service = Slow()
    async with over_http(service) as server:
        client = Client(Slow, address=server.url, policy=ClientPolicy(max_connections=2))
        calls = [asyncio.create_task(client.stub.get(str(number))) for number in range(20)]
        await service.begun.wait()
        pool = client.peers.members[0].wire._pool
        assert len(pool._busy) <= 2
        calls[10].cancel()
        service.go.set()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(found.pop(10), asyncio.CancelledError)
        assert [each.id for each in found] == [str(each) for each in range(20) if each != 10]
        assert (len(pool._busy), len(pool._idle), pool._free._value) == (0, 2, 2)
        await client.aclose()


async def test_connections_are_used_again():
    """Calls one after the other take one connection."""
    accepted = 0

    async def answer(reader, writer):
        nonlocal accepted
        accepted += 1
        while await reader.read(65_536):
            writer.write(http("200 OK", b'{"id":"7","sku":"tea"}'))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with Client(Orders, address=url) as orders:
        for _ in range(5):
            await orders.get("7")
    server.close()
    assert accepted == 1


async def test_the_rolling_of_instances_fails_no_call():
    """Instances that come and go by the registry, each stopped once it has drained, fail no call."""
    registry = MemoryRegistry()
    failed, answered, stop = [], 0, asyncio.Event()
    client = Client(Orders, registry=registry, balancer=RoundRobin())

    async def load() -> None:
        nonlocal answered
        while not stop.is_set():
            try:
                await client.stub.upload(_parts())
                answered += 1
            except Exception as error:  # noqa: BLE001 - any is one too many
                failed.append(error)

    workers = []
    last = None
    for number in range(4):
        manager = over_http()
        server = await manager.__aenter__()
        found = instances(server)[0]
        lease = await registry.register(type(found)(id=f"orders-{number}", service="orders", endpoints=found.endpoints))
        workers = workers or [asyncio.create_task(load()) for _ in range(4)]
        before = answered
        await until(lambda number=number: [each.id for each in client.peers.members][-1:] == [f"orders-{number}"])
        await until(lambda before=before: answered > before + 20)
        if last is not None:
            await last[0].release()
            await until(lambda: len(client.peers.members) == 1 and not client.peers.leaving)
            await last[1].__aexit__(None, None, None)
        last = (lease, manager)
    stop.set()
    await asyncio.gather(*workers)
    await client.aclose()
    await last[1].__aexit__(None, None, None)
    await registry.aclose()
    assert not failed
    assert answered > 80


@pytest.mark.parametrize("address", ["http://", "ftp://x", "localhost:80", "http://user:secret@host", "http://h?x=1"])
async def test_what_is_no_address_is_refused(address):
    """An address that is none is refused, and what is secret in it is not repeated."""
    with pytest.raises(InvalidArgument) as refused:
        await Client(Orders, address=address).stub.get("7")
    assert refused.value.code in ("invalid_address", "invalid_instance")
    assert "secret" not in str(refused.value)


async def _parts():
    for number in range(2):
        yield NewOrder("tea", number + 1)
