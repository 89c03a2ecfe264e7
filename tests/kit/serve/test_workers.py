"""Several processes on the same ports, and their parent."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import psutil
import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.serve.http import HttpServer
from headgate.kit.serve.lifecycle import FAILED, NOT_STARTED, SERVED
from headgate.kit.serve.plan import Plan, from_json, imported, to_json
from headgate.kit.serve.workers import Workers
from headgate.kit.tls.files import TlsFiles
from tests.kit.serve.conftest import shown_serial, until
from tests.kit.tls.conftest import Folder

SHOP = "tests.kit.serve.shop"


class Running:
    """Workers that serve, and their exit code in the end."""

    def __init__(self, plan: Plan, **options) -> None:
        self.ready, self.stop = asyncio.Event(), asyncio.Event()
        self.workers = Workers(plan, on_ready=self.ready.set, **options)
        self.task = asyncio.create_task(self.workers.run(self.stop))

    @property
    def url(self) -> str:
        """Where they answer."""
        return f"http://127.0.0.1:{self.workers.plan.port}"

    async def get(self, path: str) -> str:
        """Ask over a connection of its own, so that any of them may answer."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            return (await http.get(path)).text

    async def end(self) -> int:
        """Stop them."""
        self.stop.set()
        return await asyncio.wait_for(self.task, 30)


@asynccontextmanager
async def running(count: int = 2, **plan) -> AsyncIterator[Running]:
    """So many workers, all ready."""
    workers = Running(Plan(**{"app": f"{SHOP}:app", "port": 0, "grpc_port": 0, **plan}), count=count, backoff=(0.1, 1))
    await asyncio.wait({asyncio.create_task(workers.ready.wait()), workers.task}, return_when="FIRST_COMPLETED")
    assert workers.ready.is_set()
    try:
        yield workers
    finally:
        await workers.end()


async def seen(workers: Running, path: str, count: int) -> set[str]:
    """Ask until so many workers have answered."""
    pids: set[str] = set()
    async with asyncio.timeout(30):
        while len(pids) < count:
            pids |= set(await asyncio.gather(*(workers.get(path) for _ in range(8))))
    return pids


async def test_they_share_a_port(kind):
    """Each of them answers on the one port, whichever server it is; asked to stop they do, and the code is 0."""
    async with running(server=kind) as workers:
        pids = await seen(workers, "/who", 2)
        assert pids == {str(pid) for pid in workers.workers.processes}
        assert await workers.end() == SERVED
    with pytest.raises(httpx.ConnectError):
        await workers.get("/who")


async def test_one_that_crashes(logged):
    """A worker that dies is replaced, and the other serves meanwhile."""
    async with running() as workers:
        before = set(workers.workers.processes)
        with pytest.raises(httpx.TransportError):
            await workers.get("/crash")
        assert await workers.get("/who")
        await until(lambda: len(set(workers.workers.processes) - before) == 1)
        await seen(workers, "/who", 2)
    ended = [line for line in logged() if line["event"].startswith("a worker ended")]
    assert [line["code"] for line in ended] == [9]


async def test_calls_finish_when_they_stop(tmp_path, monkeypatch):
    """A call under way in a worker is answered although all were asked to stop, and no connections are taken."""
    monkeypatch.setenv("SHOP", str(tmp_path))
    async with running() as workers:
        under_way = asyncio.create_task(workers.get("/slow"))
        await until((tmp_path / "asked").exists)
        workers.stop.set()

        async def refused() -> None:
            while True:
                await workers.get("/who")

        with pytest.raises(httpx.TransportError):
            await asyncio.wait_for(refused(), 20)
        (tmp_path / "open").touch()
        assert await under_way == "through"
        assert await workers.end() == SERVED


async def test_their_metrics_are_one(tmp_path, monkeypatch):
    """Whichever worker is asked for metrics counts what all have done; the files are gone in the end."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    async with running(app=f"{SHOP}:make", factory=True, health=f"{SHOP}:health") as workers:
        await seen(workers, "/sell", 2)
        text = [await workers.get("/metrics") for _ in range(3)]
        lines = [line for each in text for line in each.splitlines()]
        counted = {line for line in lines if line.startswith("headgate_cache_events_total")}
        assert len(counted) == 1
        assert float(counted.pop().rpartition(" ")[2]) >= 8
        assert json.loads(await workers.get("/ready"))["status"] == "ready"
    assert list(tmp_path.iterdir()) == []


async def test_grpc_too():
    """GRPC workers share a port too."""
    async with running(grpc=f"{SHOP}:rpc") as workers:
        address, pids = f"127.0.0.1:{workers.workers.plan.grpc_port}", set()
        async with asyncio.timeout(30):
            while len(pids) < 2:
                options = [("grpc.use_local_subchannel_pool", 1)]
                async with grpc.aio.insecure_channel(address, options) as channel:
                    pids.add(await channel.unary_unary("/shop/Who")(b""))
        assert pids == {str(pid).encode() for pid in workers.workers.processes}


async def test_one_that_hangs(tmp_path, monkeypatch):
    """A worker that does not stop in its time is killed, and the exit code says that something was wrong."""
    monkeypatch.setattr("headgate.kit.serve.workers.MARGIN_SECONDS", 0.2)
    monkeypatch.setenv("SHOP", str(tmp_path))
    async with running(1, shutdown_grace=0.1) as workers:
        under_way = asyncio.create_task(workers.get("/block"))
        await until((tmp_path / "asked").exists)
        assert await workers.end() == FAILED
        await asyncio.gather(under_way, return_exceptions=True)


async def test_certificates(tmp_path):
    """Told to, every worker shows the new certificate."""
    folder = Folder(tmp_path)

    def serial() -> str:
        return shown_serial(workers.workers.plan.port, folder.ca)

    async with running(tls=folder.files(), tls_reload=0) as workers:
        before = await asyncio.to_thread(serial)
        folder.renew()
        workers.workers.reload()
        async with asyncio.timeout(20):
            while before in [await asyncio.to_thread(serial) for _ in range(8)]:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("app", "factory", "reason"),
    [
        (f"{SHOP}:broken", True, "no database"),
        (f"{SHOP}:nothing", False, "has no 'nothing'"),
        ("no.such.module:app", False, "there is no module 'no'"),
    ],
)
async def test_what_cannot_start(capfd, app, factory, reason):
    """When no worker can start, that is the end, not the beginning of trying again; its log says why."""
    plan = Plan(app=app, factory=factory, port=0, log_format="json")
    code = await asyncio.wait_for(Workers(plan, count=1).run(asyncio.Event()), 30)
    assert code == NOT_STARTED
    assert reason in capfd.readouterr().err


@pytest.mark.parametrize("which", ["port", "grpc_port"])
async def test_a_taken_port(logged, probe, which):
    """A taken port is told before any process is started."""
    taken = HttpServer(probe, host="127.0.0.1", port=0, setting="port")
    await taken.start()
    plan = Plan(**{"app": f"{SHOP}:app", "grpc": f"{SHOP}:rpc", "port": 0, "grpc_port": 0, which: taken.port})
    assert await Workers(plan, count=2).run(asyncio.Event()) == NOT_STARTED
    await taken.stop()
    assert [line["code"] for line in logged() if line["event"] == "not started"] == ["address_in_use"]


PARENT = """
import sys
from headgate.kit.observe.logs import configure_logs
from headgate.kit.serve.loop import run
from headgate.kit.serve.plan import Plan
from headgate.kit.serve.workers import Workers

configure_logs("info", "json", stream=sys.stdout)
workers = Workers(Plan(app="tests.kit.serve.shop:app", port=0), count=2, on_ready=lambda: print("ready", flush=True))
code = run(workers.run())
assert "tests.kit.serve.shop" not in sys.modules
sys.exit(code)
"""


@pytest.fixture
def parent():
    """A parent in a process of its own, with two workers that are ready."""
    child = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line == "ready\n":
            break
    yield psutil.Process(child.pid)
    child.kill()
    child.communicate()


def test_a_signal_to_the_parent(parent):
    """SIGTERM to the parent ends the workers in order, and then the parent, with 0."""
    workers = parent.children()
    assert len(workers) == 2
    parent.terminate()
    assert parent.wait(30) == 0
    assert psutil.wait_procs(workers, 5)[1] == []


def test_the_parent_dies(parent):
    """Workers end when their parent is killed."""
    workers = parent.children()
    parent.kill()
    assert psutil.wait_procs(workers, 30)[1] == []


def test_ctrl_c(parent):
    """Workers are in sessions of their own: a terminal's interrupt reaches them once, through the parent."""
    assert {os.getsid(worker.pid) for worker in parent.children()} == {worker.pid for worker in parent.children()}
    parent.send_signal(signal.SIGINT)
    assert parent.wait(30) == 0


def test_a_plan_crosses_whole():
    """A plan is the same on the other side."""
    plan = Plan(app="a:b", tls=TlsFiles(Path("/c"), Path("/k"), None, least="1.3"), grpc="a:c", shutdown_grace=1.5)
    assert from_json(to_json(plan)) == plan


@pytest.mark.parametrize("name", ["shop", "shop:", ":app", "no.such:app", f"{SHOP}:app.nothing"])
def test_names_of_nothing(name):
    """A name that cannot be imported is a fault that says what is missing."""
    with pytest.raises(InvalidArgument):
        imported(name)


def test_names_of_something():
    """Attributes of attributes are found."""
    assert imported(f"{SHOP}:app.routes") is imported(f"{SHOP}:app").routes
