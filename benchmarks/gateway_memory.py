"""Memory of the control-plane process at rest with 1,000 clusters and 3,000 routes."""

import asyncio
import sys

from benchmarks.platform import cluster, forward, listener, platform
from benchmarks.report import at_most, observed, publish
from headgate.testing.server import free_port

CLUSTERS = 1_000
ROUTES = 3_000
MEGABYTE = 1_000_000


async def measure() -> int:
    """Fill the platform, let it rest, and print the figures."""
    async with platform() as running:
        process = running.control_plane()
        empty = process.memory_info().rss
        changes = [
            {"operation": "create", "kind": "cluster", "name": f"cluster-{number}", "spec": cluster(20_000 + number)}
            for number in range(CLUSTERS)
        ]
        routes = [forward(f"route-{n}", f"/items/{n}", f"cluster-{n % CLUSTERS}") for n in range(ROUTES)]
        hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
        changes += [
            {"operation": "create", "kind": "route_config", "name": "many", "spec": {"virtual_hosts": hosts}},
            {"operation": "create", "kind": "listener", "name": "many", "spec": listener(free_port(), "many")},
        ]
        await running.call("POST", "/api/v1/native/changes", {"changes": changes})
        await running.acknowledged()
        after_writing = process.memory_info().rss
        await running.call("GET", "/api/v1/native/route-configs/many")
        await asyncio.sleep(5)
        resting = process.memory_info().rss
    return publish(
        "gateway_memory",
        [
            at_most("resident memory at rest", resting / MEGABYTE, "MB", 200),
            observed("right after the write", after_writing / MEGABYTE, "MB"),
            observed("with nothing stored", empty / MEGABYTE, "MB"),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
