"""Rolling restarts of two instances under load, on every wire: how many calls fail, and what the others wait.

Sixteen callers never rest while two instances in one registry are stopped and started by turns, ROUNDS times. No call
may be repeated, so that each failure would be seen. The wait is the 99th percentile of calls during restarts by that of
calls before them, in the same run.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator

from benchmarks.report import Measure, exactly, observed, percentile, publish
from headgate.kit.serve.loop import run
from headgate.service import App, Service, ServiceSettings, rpc
from headgate.service.client import Client, ClientPolicy
from headgate.service.registry import Directory, MemoryRegistry
from headgate.service.running import Running
from headgate.testing.nats import running_nats

WIRES = ("http", "grpc", "socket", "nats")
ROUNDS = 10
CALLERS = 16
STEADY_SECONDS = 3.0
STREAMED = 5
INSTANCES = ("one", "two")


class Counter(Service, name="counter", public=True):
    """Takes a moment for each call, so that some are always under way."""

    @rpc
    async def add(self, number: int) -> int:
        """One answer."""
        await asyncio.sleep(0.002)
        return number

    @rpc
    async def flow(self, most: int) -> AsyncIterator[int]:
        """Many."""
        for number in range(most):
            await asyncio.sleep(0.002)
            yield number


class Load:
    """Callers that never rest."""

    def __init__(self, stub: Counter) -> None:
        self.failed = 0
        self.took: list[float] = []
        self._stub = stub
        self._over = False
        self._tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]

    async def stop(self) -> None:
        """Let the last calls end."""
        self._over = True
        await asyncio.gather(*self._tasks)

    async def _call(self) -> None:
        while not self._over:
            began = time.perf_counter()
            try:
                whole = await self._stub.add(3) == 3
                self.took.append(time.perf_counter() - began)
                whole = whole and [each async for each in self._stub.flow(STREAMED)] == list(range(STREAMED))
            except Exception:  # noqa: BLE001 - counted, whatever it is
                whole = False
            self.failed += not whole


async def started(name: str, directory: Directory, nats: str) -> Running:
    """An instance on ports of its own."""
    settings = ServiceSettings(
        rate_limit_default="off", access_log=False, max_concurrent=0, max_concurrent_per_caller=0, docs=False,
        shutdown_delay=0.5, shutdown_grace=10.0, instance_id=name, nats_url=nats,
    )  # fmt: skip
    running = App(Counter(), settings=settings, registry=MemoryRegistry(directory)).running(free_ports=True)
    await running.serving.start()
    return running


async def restarts(wire: str, nats: str) -> list[Measure]:
    """Measure one wire."""
    directory = Directory()
    running = {name: await started(name, directory, nats) for name in INSTANCES}
    client = Client(Counter, registry=MemoryRegistry(directory), wire=wire, policy=ClientPolicy(timeout=30))  # type: ignore[arg-type]
    load = Load(client.stub)
    await asyncio.sleep(STEADY_SECONDS)
    steady, load.took = load.took, []
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for name in INSTANCES:
            await running[name].serving.stop()
            running[name] = await started(name, directory, nats)
            await asyncio.sleep(0.1)
    seconds = time.perf_counter() - began
    await load.stop()
    await client.aclose()
    for each in running.values():
        await each.serving.stop()
    return [
        exactly(f"{wire}: failed calls in {2 * ROUNDS} restarts", load.failed, "calls", 0),
        observed(f"{wire}: calls a second during restarts", len(load.took) / seconds, "calls/s"),
        observed(
            f"{wire}: 99th percentile by that without restarts", percentile(load.took, 99) / percentile(steady, 99), "x"
        ),
    ]


async def measure() -> list[Measure]:
    """Measure all wires."""
    with running_nats() as nats:
        return [each for wire in WIRES for each in await restarts(wire, nats.url)]


def main() -> int:
    """Print what was measured."""
    import logging

    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    return publish("service_restart", run(measure()))


if __name__ == "__main__":
    sys.exit(main())
