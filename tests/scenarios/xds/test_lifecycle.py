"""Streams that end, servers that stop: rows 53 and 54."""

import asyncio
import gc
import subprocess
import sys
import time

import pytest
from grpc import StatusCode

from headgate.controlplane.translate.resource import CLUSTER
from headgate.controlplane.xds.hub import Session
from headgate.testing.envoy import eventually
from tests.scenarios.xds.rig import MODES, serving
from tests.scenarios.xds.world import cluster

A, B = cluster("a"), cluster("b")

STRANGER = """
import asyncio, sys
from headgate.testing.xds import Mode, XdsClient, node

async def main(target, kind, delta, aggregated):
    async with XdsClient(target, Mode(delta == "True", aggregated == "True"), node("stranger", team="red")) as client:
        await client.request(kind)
        await client.next()
        print("connected", flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


async def all_gone(rig):
    """Wait until the server has no stream, by its gauge and in its memory."""

    async def gone():
        return rig.streams == 0 and not rig.hub.sessions()

    await eventually(gone, 10.0, f"{rig.streams} streams are open")


def sessions_alive():
    """How many sessions there are in memory, used or not."""
    gc.collect()
    return sum(isinstance(each, Session) for each in gc.get_objects())


async def test_53_a_half_close_ends_the_stream(client, rig, source):
    """When a client says that it will ask no more, the server ends the stream in good order."""
    source.put(A)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [A])
    assert rig.streams == 1
    await client.half_close()
    assert await client.ended(CLUSTER) is StatusCode.OK
    await all_gone(rig)


async def test_53_a_reset_ends_the_stream(client, rig, source):
    """When a client cuts a stream off, in the middle of an answer or not, the server lets go of it."""
    source.put(A)
    await client.request(CLUSTER)
    await client.expect(CLUSTER, [A])
    await client.reset()
    await all_gone(rig)
    await client.request(CLUSTER)
    await client.accept(CLUSTER, [A])


async def test_53_a_killed_client_ends_the_stream(rig, mode, source):
    """When a client's process is killed, the server lets go of its streams."""
    source.put(A)
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STRANGER, f"127.0.0.1:{rig.server.port}", CLUSTER),
        *(str(mode.delta), str(mode.aggregated)),
        stdout=subprocess.PIPE,
    )
    try:
        assert child.stdout
        assert await asyncio.wait_for(child.stdout.readline(), 30.0) == b"connected\n"
        assert rig.streams == 1
    finally:
        child.kill()
        await child.wait()
    await all_gone(rig)


async def cycle(rig, cycles):
    """Connect and leave in every way, so many times, some at once."""

    async def once(number):
        async with rig.client(MODES[number % 4], f"n{number % 50}") as client:
            await client.request(CLUSTER)
            if number % 3:
                answer = await client.next(CLUSTER)
                if number % 5:
                    await client.ack(answer)
            if not number % 7:
                await client.half_close()

    for first in range(0, cycles, 20):
        await asyncio.gather(*(once(number) for number in range(first, min(first + 20, cycles))))


@pytest.mark.parametrize("cycles", [200, pytest.param(10_000, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
async def test_53_streams_leave_nothing_behind(rig, source, cycles):
    """After many connections that ended in every way, the gauge is back and no session is left in memory."""
    source.put(A, B)
    before = sessions_alive()
    await cycle(rig, cycles)
    await all_gone(rig)

    async def collected():
        return sessions_alive() <= before

    await eventually(collected, 10.0, "sessions are left in memory")


async def test_54_a_server_that_drains(settings, mode):
    """A server that stops ends its streams, and a client that moves to another has all it had, and goes on."""
    async with serving(settings) as one, serving(settings) as two:
        for rig in (one, two):
            rig.source.put(A, B)
        async with one.client(mode) as client, two.client(mode) as moved:
            await client.request(CLUSTER)
            answer = await client.accept(CLUSTER, [A, B])
            stopping = asyncio.create_task(one.server.drain(5.0))
            assert await client.ended(CLUSTER) in {StatusCode.OK, StatusCode.UNAVAILABLE}
            await moved.request(CLUSTER, versions=answer.versions if mode.delta else {"": answer.version})
            await moved.silence()
            c = cluster("c")
            two.source.put(c)
            await moved.accept(CLUSTER, [c], full=[A, B, c])
            await stopping
        assert one.streams == 0


async def test_54_a_drained_server_takes_nobody(settings, mode):
    """A server that has stopped refuses new streams instead of leaving them hanging."""
    async with serving(settings) as rig:
        async with rig.client(mode) as client:
            await client.request(CLUSTER)
            await client.accept(CLUSTER, [])
            began = time.monotonic()
            await rig.server.drain(60.0)
            assert time.monotonic() - began < 30.0
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", rig.server.port)


async def test_54_a_stream_that_begins_as_the_server_stops_is_ended(settings, mode, monkeypatch):
    """A stream that is on its way in when the server stops does not hold it up until the end of its grace."""
    arrived, go_on = asyncio.Event(), asyncio.Event()
    async with serving(settings) as rig, rig.client(mode) as client:
        rig.source.put(A)
        connected = rig.hub._ledger.connected

        async def slowly(*given):
            arrived.set()
            await go_on.wait()
            return await connected(*given)

        monkeypatch.setattr(rig.hub._ledger, "connected", slowly)
        await client.request(CLUSTER)
        await asyncio.wait_for(arrived.wait(), 10)
        stopping = asyncio.create_task(rig.server.drain(60.0))

        async def closing():
            return rig.hub.closing

        await eventually(closing, 10.0, "the server does not stop")
        go_on.set()
        assert await client.ended(CLUSTER) is StatusCode.OK
        await asyncio.wait_for(stopping, 10)
