"""A route flips between clusters under load, and every answer that is not 200 is counted.

Two kinds of flip: the route moves between two clusters that stay, and (harder) each flip creates the new
cluster, moves the route and deletes the old cluster in one revision.
"""

import asyncio
import sys

from benchmarks.platform import Platform, cluster, forward, listener, platform
from benchmarks.report import exactly, observed, publish
from benchmarks.traffic import load, upstream
from headgate.testing.server import free_port

FLIPS = 1_000
REPLACEMENTS = 200
ROUTE = "/api/v1/native/route-configs/flips/virtual-hosts/all/routes/flip"


async def _set_up(running: Platform, port: int, first: int, second: int) -> None:
    hosts = [{"name": "all", "domains": ["*"], "routes": [forward("flip", "/flip", "first")]}]
    documents = [
        ("cluster", "first", cluster(first)),
        ("cluster", "second", cluster(second)),
        ("route_config", "flips", {"virtual_hosts": hosts}),
        ("listener", "flips", listener(port, "flips")),
    ]
    changes = [{"operation": "create", "kind": kind, "name": name, "spec": spec} for kind, name, spec in documents]
    await running.call("POST", "/api/v1/native/changes", {"changes": changes})
    await running.acknowledged()


async def _flip(running: Platform) -> None:
    for number in range(FLIPS):
        target = ("second", "first")[number % 2]
        await running.call("PATCH", ROUTE, {"forward": {"cluster": target}})


async def _replace(running: Platform, ports: tuple[int, int]) -> None:
    old = "first"
    for number in range(REPLACEMENTS):
        new = f"generation-{number}"
        changes = [
            {"operation": "create", "kind": "cluster", "name": new, "spec": cluster(ports[number % 2])},
            {"operation": "patch", "kind": "route", "name": "flips/all/flip", "spec": {"forward": {"cluster": new}}},
            {"operation": "delete", "kind": "cluster", "name": old},
        ]
        await running.call("POST", "/api/v1/native/changes", {"changes": changes})
        old = new


async def measure() -> int:
    """Run both kinds and print the figures."""
    port = free_port()
    async with upstream("first") as first, upstream("second") as second, platform() as running:
        await _set_up(running, port, first, second)
        async with load(port, "/flip") as flips:
            await _flip(running)
            await running.acknowledged()
        async with load(port, "/flip") as replacements:
            await _replace(running, (first, second))
            await running.acknowledged()
    return publish(
        "gateway_flips",
        [
            exactly(f"answers other than 200 in {FLIPS:,} flips", flips.not_ok, "answers", 0),
            observed("answers during the flips", flips.total, "answers"),
            exactly(f"answers other than 200 in {REPLACEMENTS} replaced clusters", replacements.not_ok, "answers", 0),
            observed("answers during the replacements", replacements.total, "answers"),
        ],
    )


if __name__ == "__main__":
    sys.exit(asyncio.run(measure()))
