"""`headgate history | restore`: who changed what, and back to before."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import click

from headgate.cli.client import NATIVE, Client
from headgate.cli.converge import wait_option, wait_until_acknowledged
from headgate.cli.diffs import fields, show_outcome
from headgate.cli.options import Options
from headgate.cli.output import ago, confirm, show, yes_option


@click.command()
@click.argument("revision", type=click.IntRange(0), required=False)
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="How many, newest first.")
@click.pass_obj
def history(options: Options, revision: int | None, limit: int) -> None:
    """Who changed what, when.

    With REVISION: every row that it changed, before and after.
    """
    with Client(options) as client:
        if revision is not None:
            _show_revision(options, client.get(f"{NATIVE}/revisions/{revision}"))
            return
        items = list(islice(client.pages(f"{NATIVE}/revisions"), limit))
    rows = ((item["revision"], ago(item["at"]), item["actor"], item["surface"], item["message"]) for item in items)
    show(options, {"items": items}, ("revision", "when", "who", "through", "why"), rows, "no revisions yet")


def _show_revision(options: Options, found: Mapping[str, Any]) -> None:
    if options.output != "table":
        show(options, found, (), ())
        return
    why = f": {found['message']}" if found["message"] else ""
    click.echo(f"revision {found['revision']}, {found['at']}, by {found['actor']} through {found['surface']}{why}")
    for change in found["changes"]:
        before, after = change.get("before"), change.get("after")
        mark = "+" if before is None else "-" if after is None else "~"
        click.echo(f"{mark} {change['kind']} {change['name']}")
        if before is not None and after is not None:
            for line in fields(before, after):
                click.echo(f"    {line}")


@click.command()
@click.argument("revision", type=click.IntRange(0))
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@yes_option
@wait_option
@click.pass_obj
def restore(options: Options, revision: int, dry_run: bool, yes: bool, wait: float) -> None:
    """Go back to an earlier revision.

    Makes a new revision whose state equals that one; history stays as it is.
    """
    if not dry_run:
        confirm(f"Make everything as it was in revision {revision}?", yes)
    with Client(options) as client:
        outcome, _ = client.request("POST", f"{NATIVE}/revisions/{revision}/restore", query={"dry_run": dry_run})
        show_outcome(options, outcome)
        if not dry_run:
            wait_until_acknowledged(client, options, outcome["revision"], wait)
