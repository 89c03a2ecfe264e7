"""A corpus of OpenAPI documents through a real gateway: import each, then ask for every routed operation.

    results = await reach({"shop.json": raw, ...}, tmp_path)
    assert all(not result.failures for result in results)

One control plane and one Envoy serve all documents, each for a domain of its own, with an `Echo` behind.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headgate.testing.controlplane import RunningControlPlane, running_control_plane
from headgate.testing.echo import Echo
from headgate.testing.envoy import RealEnvoy, bootstrap_for, eventually
from headgate.testing.replay import ROUTE_HEADER, Exchange, Failure, exchange, replay
from headgate.testing.server import free_port

_NATIVE = "/api/v1/native"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one document.

    `refusal` is why it was not imported ("" when it was); `unrouted` counts operations by the code of why
    they are not routed; `failures` are requests that did not arrive as they should.
    """

    name: str
    refusal: str
    operations: int
    accounted: int
    routed: int
    unrouted: Mapping[str, int]
    failures: tuple[Failure, ...]

    @property
    def reached(self) -> int:
        """How many operations were reached through the gateway."""
        return self.routed - len(self.failures)


async def reach(documents: Mapping[str, bytes], directory: Path, **settings: Any) -> list[Result]:
    """Import the documents and replay every operation that is routed. `settings` are of the control plane."""
    port = free_port()
    hosts = {name: f"d{index}.test" for index, name in enumerate(documents)}
    async with (
        Echo() as echo,
        running_control_plane(directory / "control-plane", **settings) as running,
        RealEnvoy(bootstrap_for(running.xds_port), directory / "envoy") as envoy,
    ):
        await _prepare(running, port, list(hosts.values()))
        imported = {name: await _import(running, raw, hosts[name], echo.url) for name, raw in documents.items()}
        results = await _replay(imported, hosts, port)
        refused = {name: count for name, count in (await envoy.admin.stats("update_rejected")).items() if count}
        assert not refused, f"Envoy refused updates: {refused}"
        return results


async def _prepare(running: RunningControlPlane, port: int, hosts: list[str]) -> None:
    """A listener whose responses name the route, with a virtual host for each document."""
    made = [{"name": host.replace(".", "-"), "domains": [host]} for host in hosts]
    chain = {"name": "http", "http": {"route_config": "gateway"}}
    for path, document in (
        ("route-configs/gateway", {"virtual_hosts": made, "response_headers": ROUTE_HEADER}),
        ("listeners/gateway", {"port": port, "filter_chains": [chain]}),
    ):
        answer = await running.client.put(f"{_NATIVE}/{path}", json=document)
        answer.raise_for_status()


async def _import(running: RunningControlPlane, raw: bytes, host: str, upstream: str) -> Mapping[str, Any]:
    """The report of an import, or the problem."""
    answer = await running.client.post(
        "/api/v1/platform/import/openapi",
        params={"name": host.replace(".", "-"), "domain": host, "upstream": upstream},
        content=raw,
        headers={"content-type": "text/plain"},
        timeout=120.0,
    )
    report: dict[str, Any] = answer.json()
    return report


async def _replay(imported: Mapping[str, Mapping[str, Any]], hosts: Mapping[str, str], port: int) -> list[Result]:
    exchanges = {
        name: [exchange(one, host=hosts[name]) for one in report.get("operations", ()) if one["routed"]]
        for name, report in imported.items()
    }
    everything = [one for each in exchanges.values() for one in each]
    await _served(port, everything)
    failures: dict[str, list[Failure]] = {}
    for failure in await replay("127.0.0.1", port, everything):
        failures.setdefault(failure.exchange.host, []).append(failure)
    return [
        _result(name, report, tuple(failures.get(hosts[name], ())), len(exchanges[name]))
        for name, report in imported.items()
    ]


async def _served(port: int, exchanges: list[Exchange]) -> None:
    """Wait until Envoy serves what was imported last."""

    async def last_answers() -> bool:
        return not await replay("127.0.0.1", port, exchanges[-1:])

    await eventually(last_answers, 60.0, "the last operation was not served")


def _result(name: str, report: Mapping[str, Any], failures: tuple[Failure, ...], routed: int) -> Result:
    if "operations" not in report:
        return Result(name, f"{report['code']}: {report['detail']}", 0, 0, 0, {}, ())
    unrouted: dict[str, int] = {}
    for operation in report["operations"]:
        if not operation["routed"]:
            unrouted[operation["code"]] = unrouted.get(operation["code"], 0) + 1
    total = report["totals"]["operations"]
    return Result(name, "", total, routed + sum(unrouted.values()), routed, unrouted, failures)
