"""`headgate status`: what each dataplane wants, has acknowledged and has refused."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click

from headgate.cli.client import NATIVE, Client
from headgate.cli.converge import reason
from headgate.cli.dataplanes import path_of
from headgate.cli.options import Options, platform
from headgate.cli.output import ago, show, table

_EVERY = 1.0
_WORDS = {"in_sync": "in sync", "pending": "waiting", "refused": "REFUSED", "disconnected": "gone"}


@click.command()
@click.argument("name", required=False)
@click.option("--watch", "-w", is_flag=True, help="Again every second, until Ctrl-C.")
@click.pass_obj
def status(options: Options, name: str | None, watch: bool) -> None:
    """What each dataplane wants, has acknowledged and has refused.

    With NAME: one dataplane, type by type. Exits with 1 when one refused something.
    """
    with Client(options) as client:
        while True:
            found = client.get(f"{NATIVE}/dataplanes/{path_of(name)}") if name else _all(client)
            if watch and options.output == "table":
                click.clear()
                click.echo(f"{client.url}  {datetime.now(UTC):%H:%M:%S} UTC\n")
            _show(options, found, one=bool(name))
            _show_children(options)
            if not watch:
                break
            time.sleep(_EVERY)
    if any(one["refused"] for one in ([found] if name else found["items"])):
        raise click.exceptions.Exit(1)


def _all(client: Client) -> dict[str, Any]:
    return {"items": list(client.pages(f"{NATIVE}/dataplanes"))}


def _show(options: Options, found: Mapping[str, Any], *, one: bool) -> None:
    if options.output != "table":
        show(options, found, (), ())
        return
    dataplanes: Sequence[Mapping[str, Any]] = [found] if one else found["items"]
    columns = ("dataplane", "state", "wants", "has", "refused", "Envoy", "protocol", "seen")
    table(columns, map(_row, dataplanes), "no dataplane has connected yet; `headgate envoy` starts one")
    if one:
        click.echo()
        _show_types(found)
    for dataplane in dataplanes:
        for refusal in dataplane["refused"]:
            click.echo(f"\n{dataplane['id']} refused {reason(refusal)}")
            kept = refusal.get("last_good_version")
            click.echo("  the last good version stays in use" if kept else "  it has no earlier version of this")


def _show_children(options: Options) -> None:
    """The processes of `headgate up` in this directory, when it runs and it is the one asked."""
    here = platform()
    if options.output != "table" or here.get("api") != options.api_url() or not _runs(here.get("pid")):
        return
    rows = [
        (child["name"], child["state"], child["pid"], child["restarts"], child["version"], child["reason"])
        for child in here.get("children", ())
    ]
    click.echo()
    table(("process", "state", "pid", "restarts", "version", "why"), rows)


def _runs(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def _row(one: Mapping[str, Any]) -> tuple[Any, ...]:
    seen = "now" if one["connected"] else ago(one["last_seen"])
    wants, has = one["revision_wanted"], one["revision_acked"]
    state = _WORDS.get(one["state"], one["state"])
    return one["id"], state, wants, has, len(one["refused"]), one["version"].removeprefix("envoy "), one["mode"], seen


def _show_types(one: Mapping[str, Any]) -> None:
    rows = []
    for name, kind in one["types"].items():
        waiting = ", ".join(f"{resource} for {' '.join(needs)}" for resource, needs in kind["waiting"].items())
        rows.append((name, kind["resources"], kind["in_sync"], kind["wanted"], kind["acknowledged"], waiting))
    table(("type", "resources", "in sync", "wanted", "acknowledged", "held back"), rows, "nothing was asked for yet")
