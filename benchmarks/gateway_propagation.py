"""From the API call to the first changed response, one Envoy, one route among 3,000."""

import asyncio
import sys
import time

from benchmarks.platform import Platform, cluster, forward, listener, platform, until_answered
from benchmarks.report import at_most, observed, percentile, publish
from benchmarks.traffic import upstream
from headgate.testing.server import free_port

ROUTES = 3_000
CHANGES = 300
WARM_UP = 10


async def _set_up(running: Platform, port: int, first: int, second: int) -> None:
    routes = [forward(f"route-{number}", f"/items/{number}", "first") for number in range(ROUTES)]
    documents = [
        ("cluster", "first", cluster(first)),
        ("cluster", "second", cluster(second)),
        ("route_config", "many", {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}),
        ("listener", "many", listener(port, "many")),
    ]
    changes = [{"operation": "create", "kind": kind, "name": name, "spec": spec} for kind, name, spec in documents]
    await running.call("POST", "/api/v1/native/changes", {"changes": changes})
    await running.acknowledged()


async def _change(running: Platform, port: int, number: int, target: str) -> tuple[float, float]:
    path = f"/api/v1/native/route-configs/many/virtual-hosts/all/routes/route-{number}"
    start = time.perf_counter()
    call = asyncio.create_task(running.call("PATCH", path, {"forward": {"cluster": target}}))
    seen = await until_answered(port, f"/items/{number}", target.encode())
    await call
    return (seen - start) * 1000, (time.perf_counter() - start) * 1000


async def measure() -> int:
    """Flip routes all over the table, one after the other, and print the figures."""
    port = free_port()
    async with upstream("first") as first, upstream("second") as second, platform() as running:
        await _set_up(running, port, first, second)
        times, calls = [], []
        for turn in range(CHANGES + WARM_UP):
            number = turn * 977 % ROUTES
            seen, answered = await _change(running, port, number, "second")
            if turn >= WARM_UP:
                times.append(seen)
                calls.append(answered)
    return publish(
        "gateway_propagation",
        [
            observed("API call to first changed response, p50", percentile(times, 50), "ms"),
            at_most("API call to first changed response, p99", percentile(times, 99), "ms", 100),
            observed("API call to first changed response, max", max(times), "ms"),
            observed("API call and its answer, p50", percentile(calls, 50), "ms"),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
