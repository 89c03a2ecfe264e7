"""Several parts as one: what comes before what, and what one's end means for the others."""

import asyncio
import json
import signal
import socket
import subprocess
import sys

import grpc
import httpx
import pytest

from headgate.kit.asgi.health import Health
from headgate.kit.controls.call import Pipeline
from headgate.kit.controls.faults import FailedPrecondition, Unavailable
from headgate.kit.grpc.server import grpc_server as kit_grpc_server
from headgate.kit.serve.grpc import GrpcServer
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import FAILED, NOT_STARTED, SERVED, Serving, grpc_part
from headgate.kit.serve.parts import Adapted
from tests.kit.serve.conftest import until, until_refused


class Fake:
    """A part that writes down what becomes of it, and does it as badly as it is told."""

    certificates = None

    def __init__(self, name: str, story: list[str], **trouble: BaseException) -> None:
        self.name = name
        self.story = story
        self.trouble = trouble
        self.ended = asyncio.Event()

    async def bind(self) -> None:
        self._do("bind")

    async def start(self) -> None:
        self._do("start")

    async def wait(self) -> None:
        await self.ended.wait()
        if "wait" in self.trouble:
            raise self.trouble["wait"]

    def leave(self) -> None:
        self._do("leave")

    async def drain(self, grace: float) -> None:
        self._do("drain")

    async def stop(self) -> None:
        self._do("stop")
        self.ended.set()

    def _do(self, what: str) -> None:
        self.story.append(f"{what} {self.name}")
        if what in self.trouble:
            raise self.trouble[what]


def together(*parts: Fake, **options) -> Serving:
    """A process of these parts."""
    serving = Serving(**options)
    for part in parts:
        serving.add(part)
    return serving


async def test_the_order():
    """All bind before any starts; all drain at the same time; they stop in the reverse order."""
    story = []
    serving = together(Fake("a", story), Fake("b", story), on_ready=lambda: story.append("ready"))
    await serving.start()
    assert story == ["bind a", "bind b", "start a", "start b", "ready"]
    story.clear()
    await serving.stop()
    assert story == ["leave a", "leave b", "drain a", "drain b", "stop b", "stop a"]


async def test_readiness_ends_first():
    """Nothing is drained before readiness is off and the delay is over."""
    story, health = [], Health()
    serving = together(Fake("a", story), health=health, shutdown_delay=0.2)
    await serving.start()
    stopping = asyncio.create_task(serving.stop())
    await until(lambda: health.draining)
    assert "drain a" not in story
    await stopping
    assert "drain a" in story


@pytest.mark.parametrize("fails", [False, True])
async def test_others_are_told_before_anything_ends(fails):
    """`on_stopping` is over before readiness is off, and its failure keeps nothing from stopping."""
    story, health = [], Health()

    async def tell() -> None:
        story.append(f"told while draining is {health.draining}")
        if fails:
            raise ConnectionError("nobody listens")

    serving = together(Fake("a", story), health=health, on_stopping=tell)
    await serving.start()
    story.clear()
    await serving.stop()
    assert story == ["told while draining is False", "leave a", "drain a", "stop a"]


@pytest.mark.parametrize("where", ["bind", "start"])
async def test_a_part_that_cannot_start(where):
    """The fault of one part is raised, and those before it are stopped again."""
    story = []
    serving = together(Fake("a", story), Fake("b", story, **{where: Unavailable("no", code="no")}))
    with pytest.raises(Unavailable):
        await serving.start()
    assert story[-2:] == ["stop b", "stop a"]
    assert ("start a" in story) == (where == "start")


async def test_parts_that_were_never_asked_are_stopped_too():
    """When one cannot have its address those behind it are let go of, with whatever they were made of."""
    story = []
    with pytest.raises(Unavailable):
        await together(Fake("a", story, bind=Unavailable("no", code="no")), Fake("b", story)).start()
    assert story == ["bind a", "stop b", "stop a"]


async def test_a_start_that_is_given_up():
    """A start that is cancelled leaves nothing behind."""
    story, part = [], None

    class Slow(Fake):
        async def start(self) -> None:
            await asyncio.Event().wait()

    part = Slow("slow", story)
    starting = asyncio.create_task(together(Fake("a", story), part).start())
    await until(lambda: "start a" in story)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert story[-2:] == ["stop slow", "stop a"]


async def test_being_asked_to_stop_during_the_start():
    """Who is asked to stop before all has started stops then, and calls that served."""
    story, stop = [], asyncio.Event()

    class Slow(Fake):
        async def start(self) -> None:
            stop.set()
            await asyncio.Event().wait()

    assert await together(Slow("a", story)).run(stop) == SERVED
    assert story[-1] == "stop a"


async def test_a_part_that_breaks(logged):
    """A part that ends by itself is told of in the log, the others are stopped, and the exit code says so."""
    story, broken = [], None
    broken = Fake("broken", story, wait=Unavailable("the disk is gone", code="gone"))
    running = asyncio.create_task(together(Fake("a", story), broken).run(asyncio.Event()))
    await until(lambda: "start broken" in story)
    broken.ended.set()
    assert await asyncio.wait_for(running, 20) == FAILED
    assert story[-2:] == ["stop broken", "stop a"]
    assert "the disk is gone" in [line.get("reason") for line in logged()]


async def test_a_part_that_just_ends():
    """A part that ends without a word counts as one that broke."""
    part = Fake("a", [])
    serving = together(part)
    await serving.start()
    waiting = asyncio.create_task(serving.wait())
    part.ended.set()
    with pytest.raises(Unavailable, match="a ended by itself"):
        await waiting
    await serving.stop()


async def test_what_fails_to_stop_does_not_keep_the_others():
    """Every part is stopped, whatever the others do about it."""
    story = []
    serving = together(Fake("a", story, drain=OSError("x")), Fake("b", story, stop=OSError("x"), drain=OSError("y")))
    await serving.start()
    await serving.stop()
    assert story[-2:] == ["stop b", "stop a"]


async def test_stopping_twice():
    """Whoever asks a second time waits for the same end."""
    story = []
    serving = together(Fake("a", story))
    await serving.start()
    await asyncio.gather(serving.stop(), serving.stop())
    assert story.count("stop a") == 1


async def test_a_fault_at_the_start_is_logged(logged, probe):
    """Running what cannot start logs the fault with its hint, and returns an exit code of its own."""
    taken = HttpServer(probe, host="127.0.0.1", port=0, setting="port")
    await taken.start()
    other = HttpServer(probe, host="127.0.0.1", port=taken.port, setting="port")
    assert await together(other).run(asyncio.Event()) == NOT_STARTED
    await taken.stop()
    (line,) = [line for line in logged() if line["event"] == "not started"]
    assert (line["code"], line["hint"]) == ("address_in_use", "set HEADGATE_PORT or --port")


class Thing:
    """Has a start and an end."""

    def __init__(self) -> None:
        self.story: list[object] = []

    async def start(self) -> int:
        self.story.append("start")
        return 1

    def drain(self) -> None:
        self.story.append("drain")

    async def stop(self, grace: float) -> None:
        self.story.append(grace)


async def test_other_things():
    """What has a start and an end is a part too, is told when serving is about to end, and has the grace of all."""
    thing = Thing()
    serving = together(Adapted(thing, name="thing"), shutdown_grace=7)
    await serving.start()
    await serving.stop()
    assert thing.story == ["start", "drain", 7]


async def test_other_things_with_a_port(probe):
    """A taken port of another thing is told before anything starts."""
    taken = HttpServer(probe, host="127.0.0.1", port=0, setting="port")
    await taken.start()
    thing = Thing()
    adapted = Adapted(thing, name="thing", host="127.0.0.1", port=taken.port, setting="grpc_port")
    with pytest.raises(FailedPrecondition, match="HEADGATE_GRPC_PORT"):
        await together(adapted).start()
    assert thing.story == []
    await taken.stop()


async def echo(request: bytes, context: object) -> bytes:
    """A unary call."""
    return request


def grpc_server(**methods) -> grpc.aio.Server:
    """A server of plain methods, whose port cannot be shared."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop", handlers),))
    return server


def shared_grpc(server: grpc.aio.Server, port: int = 0) -> GrpcServer:
    """It as a part."""
    return GrpcServer(server, host="127.0.0.1", port=port, setting="grpc_port")


async def test_http_and_grpc_drain_together(http_server, probe):
    """Under one grace both refuse new calls, and both let those under way finish."""
    asked, opened = asyncio.Event(), asyncio.Event()

    async def wait(request: bytes, context: object) -> bytes:
        asked.set()
        await opened.wait()
        return b"through"

    http, rpc = http_server(probe), shared_grpc(grpc_server(Wait=wait))
    serving = Serving(shutdown_grace=60)
    serving.add(rpc)
    serving.add(http)
    await serving.start()
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel,
        httpx.AsyncClient(base_url=http.url, timeout=60) as client,
    ):
        calls = asyncio.gather(channel.unary_unary("/shop/Wait")(b""), client.get("/gate"))
        await asyncio.gather(asked.wait(), probe.asked.wait())
        stopping = asyncio.create_task(serving.stop())
        await until_refused(http.port)
        await until_refused(rpc.port)
        assert not stopping.done()
        opened.set()
        probe.opened.set()
        said, answered = await calls
    await asyncio.wait_for(stopping, 20)
    assert (said, answered.text) == (b"through", "through")


async def test_grpc_calls_are_cancelled_after_the_grace():
    """A call that goes on past the grace is cancelled in its handler, and UNAVAILABLE for its client."""
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: bytes, context: object) -> bytes:
        asked.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    rpc = shared_grpc(grpc_server(Hang=hang))
    serving = Serving(shutdown_grace=0.2)
    serving.add(rpc)
    await serving.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel:
        call = asyncio.ensure_future(channel.unary_unary("/shop/Hang")(b""))
        await asked.wait()
        await asyncio.wait_for(serving.stop(), 20)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert cancelled.is_set()


async def test_who_stops_waiting_for_grpc_does_not_keep_it_from_stopping(http_server, probe):
    """A wait that is given up leaves a gRPC server as it was: it drains and stops afterwards."""
    http, rpc = http_server(probe), shared_grpc(grpc_server(Echo=echo))
    serving = Serving(shutdown_grace=20)
    serving.add(rpc)
    serving.add(http)
    await serving.start()
    waiting = asyncio.create_task(serving.wait())
    for _ in range(10):  # until whatever it waits for is waited for
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{rpc.port}") as channel:
        assert await channel.unary_unary("/shop/Echo")(b"still") == b"still"
    await asyncio.wait_for(serving.stop(), 20)
    await until_refused(rpc.port)


async def test_a_taken_port_of_grpc(probe):
    """A taken port of gRPC names its setting, and what was bound before it is free again."""
    taken = HttpServer(probe, host="127.0.0.1", port=0, setting="port")
    await taken.start()
    first = shared_grpc(grpc_server(Echo=echo))
    serving = Serving()
    serving.add(first)
    refused = shared_grpc(grpc_server(Echo=echo), taken.port)
    serving.add(refused)
    serving.add(shared_grpc(grpc_server(Echo=echo)))
    with pytest.raises(FailedPrecondition, match="HEADGATE_GRPC_PORT"):
        await serving.start()
    await taken.stop()
    again = shared_grpc(grpc_server(Echo=echo), first.port)
    await again.start()
    await again.stop()


async def test_a_server_of_the_kit_beside(probe):
    """The kit's own gRPC server is served as it is: its health says no before its calls end."""
    rpc = kit_grpc_server(Pipeline([], frozenset(("grpc",))), port=0)
    serving = Serving(shutdown_delay=0.5)
    serving.add(grpc_part(rpc, host="127.0.0.1", port=1, tls=None))
    await serving.start()
    async with grpc.aio.insecure_channel(rpc.address) as channel:
        ask = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await ask(b"") == b"\x08\x01"
        stopping = asyncio.create_task(serving.stop())
        async with asyncio.timeout(20):
            while await ask(b"") != b"\x08\x02":
                await asyncio.sleep(0.01)
    await stopping


PROGRAM = """
import asyncio, sys
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.lifecycle import serve
from headgate.kit.serve.loop import run

configure_logs("info", "json", stream=sys.stdout)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        print("down", flush=True)
        await send({"type": "lifespan.shutdown.complete"})
    if "slow" in sys.argv:
        print("asked", flush=True)
        await asyncio.Event().wait()

sys.exit(run(serve(app, server=sys.argv[1], port=0, shutdown_grace=60 if "slow" in sys.argv else 5)))
"""


@pytest.fixture
def start():
    """Starts a process that serves; what is left of it ends with the test."""
    started = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield begin
    for child in started:
        child.kill()
        child.communicate()


def read_until(child: subprocess.Popen[str], text: str) -> str:
    """The first line with `text` in it."""
    for line in child.stdout:
        if text in line:
            return line
    raise AssertionError(f"no line with {text!r}")


def test_a_process(start, kind):
    """SIGTERM ends serving in order: the application is shut down, and the exit code is 0."""
    child = start(kind)
    read_until(child, '"serving"')
    child.send_signal(signal.SIGTERM)
    read_until(child, "down")
    assert child.wait(20) == 0


def test_a_process_in_a_hurry(start, kind):
    """A second signal ends a process that waits for its calls at once."""
    child = start(kind, "slow")
    url = httpx.URL(json.loads(read_until(child, '"serving"'))["url"])
    with socket.create_connection((url.host, url.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
        read_until(child, "asked")
        child.send_signal(signal.SIGTERM)
        read_until(child, "stopping")
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 128 + signal.SIGTERM
