"""Rolling restarts under load: instances come and go, and no call fails on any wire."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from headgate.service import App, Service, ServiceSettings, rpc
from headgate.service.client import Client, ClientPolicy
from headgate.service.registry import Directory, MemoryRegistry
from headgate.service.running import Running
from headgate.testing.nats import nats_or_skip

WIRES = ["http", "grpc", "socket", "nats"]
CALLERS = 8
STREAMED = 5


class Counter(Service, name="counter", public=True):
    """Takes a moment for each call, so that some are always under way. None of them may be repeated."""

    @rpc
    async def add(self, number: int) -> int:
        """One answer."""
        await asyncio.sleep(0.005)
        return number

    @rpc
    async def flow(self, most: int) -> AsyncIterator[int]:
        """Many."""
        for number in range(most):
            await asyncio.sleep(0.005)
            yield number


class Fleet:
    """Instances of the counter in one registry, stopped and started by name."""

    def __init__(self, nats: str) -> None:
        self.directory = Directory()
        self.running: dict[str, Running] = {}
        self._nats = nats

    async def start(self, name: str) -> None:
        """Start an instance on ports of its own."""
        settings = ServiceSettings(
            rate_limit_default="off", access_log=False, max_concurrent=0, max_concurrent_per_caller=0, docs=False,
            shutdown_delay=0.5, shutdown_grace=10.0, instance_id=name, nats_url=self._nats,
        )  # fmt: skip
        app = App(Counter(), settings=settings, registry=MemoryRegistry(self.directory))
        self.running[name] = app.running(free_ports=True)
        await self.running[name].serving.start()

    async def stop(self, name: str) -> None:
        """Stop it as SIGTERM does."""
        await self.running.pop(name).serving.stop()


class Load:
    """Callers that never rest. `failed` is what went wrong, `calls` how many did not."""

    def __init__(self, stub: Counter) -> None:
        self.failed: list[BaseException] = []
        self.calls = 0
        self._stub = stub
        self._over = False
        self._tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]

    async def more(self, calls: int) -> None:
        """Return after that many more calls, or a failure."""
        wanted = self.calls + calls
        while self.calls < wanted and not self.failed:
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Let the last calls end."""
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self._over:
            try:
                assert await self._stub.add(3) == 3
                assert [each async for each in self._stub.flow(STREAMED)] == list(range(STREAMED))
            except BaseException as error:  # noqa: BLE001 - none is to fail
                self.failed.append(error)
                return
            self.calls += 2


@pytest.fixture(scope="module")
def nats() -> Iterator[str]:
    """The URL of a NATS server."""
    with nats_or_skip() as server:
        yield server.url


async def restarts(wire: str, nats: str, rounds: int) -> Load:
    """Restart two instances by turns under load. Returns how the load fared."""
    fleet = Fleet(nats)
    names = ("one", "two")
    for name in names:
        await fleet.start(name)
    client = Client(Counter, registry=MemoryRegistry(fleet.directory), wire=wire, policy=ClientPolicy(timeout=30))
    load = Load(client.stub)
    for _ in range(rounds):
        for name in names:
            await load.more(CALLERS)
            await fleet.stop(name)
            await load.more(CALLERS)
            await fleet.start(name)
    await load.more(CALLERS)
    await load.stop()
    await client.aclose()
    for name in names:
        await fleet.stop(name)
    return load


@pytest.mark.parametrize("wire", WIRES)
async def test_a_rolling_restart_fails_no_call(wire, nats):
    """Instances that are stopped and started by turns serve every call that was made meanwhile."""
    load = await restarts(wire, nats, rounds=1)
    assert load.failed == []
    assert load.calls >= 5 * CALLERS


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("wire", WIRES)
async def test_many_rolling_restarts_fail_no_call(wire, nats):
    """The same for a minute on each wire."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        load = await restarts(wire, nats, rounds=3)
        assert load.failed == []
