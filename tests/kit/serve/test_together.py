"""Every server at once, under one life: what is under way on each of them when serving ends."""

import asyncio
import json

import grpc
import httpx
import pytest
import websockets

from headgate.kit.asgi.health import Health
from headgate.kit.controls.faults import Unavailable
from headgate.kit.serve.grpc import GrpcServer
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import Serving
from headgate.kit.serve.ports import ensure_free
from tests.kit.serve.conftest import SERVERS, Probe, needs, until, until_refused


@pytest.fixture(autouse=True)
def _servers() -> None:
    """All of them are needed."""
    for server in SERVERS:
        needs(server)


class Feed:
    """A gRPC service that streams until the gate opens."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.ended = asyncio.Event()

    async def watch(self, _request, _context):
        try:
            while not self.opened.is_set():
                yield b"1"
                await asyncio.sleep(0.01)
            yield b"end"
        finally:  # where it waits for its client, gRPC closes it instead of cancelling it
            self.ended.set()

    def part(self) -> GrpcServer:
        """It on a free port."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handler = grpc.unary_stream_rpc_method_handler(self.watch)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", {"Watch": handler}),))
        return GrpcServer(server, host="127.0.0.1", port=0, setting="grpc_port")


class Process:
    """uvicorn, granian, hypercorn and grpc.aio in one process, with a stream on each, and WebSockets."""

    def __init__(self, **options) -> None:
        self.health = Health()
        self.serving = Serving(health=self.health, **options)
        self.feed = Feed()
        self.begun = 0
        self.rpc = self.feed.part()
        self.serving.add(self.rpc)
        self.probes = [Probe() for _ in SERVERS]
        self.https = [
            HttpServer(probe, server=server, host="127.0.0.1", port=0, setting="port")
            for probe, server in zip(self.probes, SERVERS, strict=True)
        ]
        for part in self.https:
            self.serving.add(part)

    def open(self) -> None:
        """Let every stream come to its end."""
        for gate in (self.feed, *self.probes):
            gate.opened.set()

    async def begin(self) -> "asyncio.Task[list[object]]":
        """Start, and read every stream to its end. Returns, once each has begun, what will give their last words."""
        await self.serving.start()
        reading = asyncio.gather(
            self._rpc(),
            *(self._events(part) for part in self.https),
            *(self._socket(part) for part in self.https),
            return_exceptions=True,
        )
        await until(lambda: self.begun == 1 + 2 * len(SERVERS))
        return asyncio.ensure_future(asyncio.wait_for(reading, 30))

    async def _rpc(self) -> bytes:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.rpc.port}") as channel:
            call = channel.unary_stream("/shop/Watch")(b"")
            said = [await call.read()]
            self.begun += 1
            while said[-1] is not grpc.aio.EOF:
                said.append(await call.read())
            return said[-2]

    async def _events(self, part: HttpServer) -> str:
        async with (
            httpx.AsyncClient(base_url=part.url, timeout=30) as client,
            client.stream("GET", "/stream") as stream,
        ):
            chunks = stream.aiter_text()
            text = await anext(chunks)
            self.begun += 1
            async for chunk in chunks:
                text += chunk
            return text.rpartition("data: ")[2].strip()

    async def _socket(self, part: HttpServer) -> int | None:
        async with websockets.connect(part.url.replace("http", "ws")) as client:
            await client.send("a")
            await client.recv()
            self.begun += 1
            ends = [asyncio.create_task(client.wait_closed()), asyncio.create_task(self.feed.opened.wait())]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ends:
                end.cancel()
        return client.close_code


async def test_streams_of_all_finish_in_the_grace():
    """Draining takes every port back and lets the streams of all of them end; serving ends with the last one."""
    process = Process(shutdown_grace=60)
    reading = await process.begin()
    stopping = asyncio.create_task(process.serving.stop())
    for part in (process.rpc, *process.https):
        await until_refused(part.port)
    assert not stopping.done()
    process.open()
    assert await reading == [b"end", *(["end"] * 3), *([1000] * 3)]
    await asyncio.wait_for(stopping, 30)
    assert {probe.story[-1] for probe in process.probes} == {"down"}


async def test_streams_of_all_are_cut_at_the_same_grace():
    """What goes on past the grace is cancelled in its handler on every server, and its client learns of it."""
    process = Process(shutdown_grace=0.3)
    reading = await process.begin()
    await asyncio.wait_for(process.serving.stop(), 30)
    ends = await reading
    assert isinstance(ends[0], grpc.aio.AioRpcError)
    assert ends[0].code() == grpc.StatusCode.UNAVAILABLE
    assert [type(end) for end in ends[1:4]] == [httpx.RemoteProtocolError] * 3
    assert ends[4:] == [1001] * 3
    await until(process.feed.ended.is_set)
    for probe in process.probes:
        assert "cancelled /stream" in probe.story
        assert probe.story[-1] == "down"


async def test_an_application_that_fails_to_start_takes_the_others_along():
    """When the last of several cannot start, those that serve already are stopped and their ports are free again."""

    async def broken(scope, receive, _send):
        await receive()
        raise RuntimeError("no database")

    process = Process()
    process.serving.add(HttpServer(broken, host="127.0.0.1", port=0, setting="port"))
    with pytest.raises(Unavailable, match="no database"):
        await process.serving.start()
    for part in (process.rpc, *process.https):
        ensure_free("127.0.0.1", part.port, "port")
    assert [probe.story for probe in process.probes] == [["up", "down"]] * 3


async def test_a_dependency_that_fails_is_not_the_process_that_ends():
    """A failing dependency makes the process not ready, names the check and not its cause, and ends nothing."""
    process = Process()

    async def ping() -> None:
        raise OSError("password=hunter2")

    process.health.add("store", ping)
    await process.serving.start()
    passed, document = await process.health.report()
    assert (passed, document["status"]) == (False, "not ready")
    assert "hunter2" not in json.dumps(document)
    async with httpx.AsyncClient(base_url=process.https[0].url) as client:
        assert (await client.get("/")).text == "hello"
    await asyncio.wait_for(process.serving.stop(), 30)
