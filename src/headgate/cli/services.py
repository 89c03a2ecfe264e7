"""`headgate services`: what a registry knows."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import click

from headgate.cli.failures import UNREACHABLE, Failure
from headgate.cli.options import Options
from headgate.cli.output import show, text

if TYPE_CHECKING:
    from headgate.service.registry import Registry, Snapshot

_HASH: Final = 12
_SECONDS: Final = 2.0
_OK: Final = 200
_COLUMNS: Final = ("service", "instance", "version", "zone", "health", "wires", "contract")


@click.command(
    epilog="""\b
Examples:
  headgate services
  headgate services orders --watch
  headgate -o json services --registry 'consul://127.0.0.1:8500?dc=eu'"""
)
@click.argument("names", metavar="[SERVICE]...", nargs=-1)
@click.option(
    "--registry",
    envvar="REGISTRY",
    show_envvar=True,
    metavar="URL",
    help="Ask this one; unless given, the registry of the `headgate run` of this directory.",
)
@click.option("--watch", is_flag=True, help="Print what changes, until Ctrl-C; as JSON one document a line.")
@click.option("--health/--no-health", default=True, show_default=True, help="Ask each instance whether it is ready.")
@click.pass_obj
def services(options: Options, names: tuple[str, ...], registry: str | None, watch: bool, health: bool) -> None:
    """What a registry knows: services and their instances.

    Health is what the instance says itself at /ready; the contract is the beginning of its hash: instances of one
    service that differ there promise different things, which is also said below the table.
    """
    from headgate.cli.call.place import registry_here

    url = registry or registry_here()
    if not url:
        raise Failure(
            "there is no registry to ask",
            hint="set REGISTRY or --registry, or run this where `headgate run` runs",
        )
    asyncio.run(_watch(url, names, options, health) if watch else _once(url, names, options, health))


async def _once(url: str, names: tuple[str, ...], options: Options, health: bool) -> None:
    from headgate.service.registry import registry_from

    async with registry_from(url) as registry:
        wanted = names or sorted(await registry.services())
        snapshots = await asyncio.gather(*(registry.get(name) for name in wanted))
    told = [each for snapshot in snapshots for each in await _told(snapshot, health)]
    for snapshot in snapshots:
        if snapshot.stale and not snapshot.generation:
            raise Failure(
                f"{snapshot.service}: the registry could not be asked ({snapshot.reason})", exit_code=UNREACHABLE
            )
        if snapshot.stale:
            click.echo(f"{snapshot.service}: the registry could not be asked ({snapshot.reason})", err=True)
    show(options, told, _COLUMNS, map(_row, told), empty="no service is known")
    for snapshot in snapshots:
        _compare(snapshot)


async def _watch(url: str, names: tuple[str, ...], options: Options, health: bool) -> None:
    from headgate.service.registry import registry_from

    printing = asyncio.Lock()
    async with registry_from(url) as registry, asyncio.TaskGroup() as group:
        followed: set[str] = set()
        while True:
            for name in names or sorted(await registry.services()):
                if name not in followed:
                    followed.add(name)
                    group.create_task(_follow(registry, name, options, health, printing))
            if names:
                return
            await asyncio.sleep(_SECONDS)


async def _follow(registry: "Registry", name: str, options: Options, health: bool, printing: asyncio.Lock) -> None:
    async for snapshot in registry.watch(name):
        told = await _told(snapshot, health)
        async with printing:
            _compare(snapshot)
            if options.output == "table":
                stale = f", stale: {snapshot.reason}" if snapshot.stale else ""
                click.echo(f"{name}: {len(told)} instances, generation {snapshot.generation}{stale}")
                show(options, told, _COLUMNS, map(_row, told), empty="  none")
            else:
                document = {"service": name, "generation": snapshot.generation, "instances": told}
                document["stale"] = snapshot.stale
                line = json.dumps(document, ensure_ascii=False) + "\n"
                click.echo(line if options.output == "json" else "---\n" + text(document, "yaml"), nl=False)


def _compare(snapshot: "Snapshot") -> None:
    """Say which instances of one service promise different things."""
    found: dict[str, list[str]] = {}
    for each in snapshot.instances:
        found.setdefault(_short(each.contract), []).append(each.id)
    found.pop("", None)
    if len(found) > 1:
        told = "; ".join(f"{contract}: {', '.join(ids)}" for contract, ids in found.items())
        click.echo(f"{snapshot.service}: its instances have {len(found)} contracts ({told})", err=True)


async def _told(snapshot: "Snapshot", health: bool) -> list[dict[str, Any]]:
    asked = await asyncio.gather(*(_health(each.endpoints.get("http", ""), health) for each in snapshot.instances))
    return [
        {
            "service": each.service,
            "id": each.id,
            "version": each.version,
            "zone": each.zone,
            "health": state,
            "endpoints": dict(each.endpoints),
            "weight": each.weight,
            "contract": each.contract,
            "metadata": dict(each.metadata),
        }
        for each, state in zip(snapshot.instances, asked, strict=True)
    ]


async def _health(address: str, wanted: bool) -> str:
    """What the instance says of itself: ready, not ready, draining; or that it says nothing."""
    if not wanted or not address:
        return ""
    import httpx

    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
            answer = await client.get(f"{address.rstrip('/')}/ready")
        told = answer.json()
    except (httpx.HTTPError, ValueError):
        return "no answer"
    said = told.get("status") if isinstance(told, dict) else None
    return str(said)[:40] if said else "ready" if answer.status_code == _OK else f"answers {answer.status_code}"


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    contract = _short(each["contract"])
    wires = ", ".join(f"{wire} {address}" for wire, address in each["endpoints"].items())
    return (each["service"], each["id"], each["version"], each["zone"], each["health"], wires, contract)


def _short(contract: str) -> str:
    return contract.removeprefix("sha256:")[:_HASH]
