"""`headgate apis`: the API definitions that were imported."""

import click

from headgate.cli.client import PLATFORM, Client, segment
from headgate.cli.converge import wait_option, wait_until_acknowledged
from headgate.cli.diffs import show_outcome
from headgate.cli.options import Options
from headgate.cli.output import ago, confirm, show, text

_PATH = f"{PLATFORM}/apis"


@click.group()
def apis() -> None:
    """API definitions that were imported."""


@apis.command("list")
@click.pass_obj
def list_(options: Options) -> None:
    """What was imported."""
    with Client(options) as client:
        items = list(client.pages(_PATH))
    columns = ("name", "title", "version", "routed", "not routed", "imported")
    rows = (
        (one["name"], one["title"], one["version"], one["routed"], one["not_routed"], ago(one["updated_at"]))
        for one in items
    )
    show(options, {"items": items}, columns, rows, "no APIs; `headgate import openapi FILE` publishes one")


@apis.command()
@click.argument("name")
@click.pass_obj
def get(options: Options, name: str) -> None:
    """One definition, with the account of every operation."""
    with Client(options) as client:
        found = client.get(f"{_PATH}/{segment(name)}")
    click.echo(text(found, "yaml" if options.output == "table" else options.output), nl=False)


@apis.command()
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@wait_option
@click.pass_obj
def delete(options: Options, name: str, yes: bool, wait: float) -> None:
    """Take an API back: its routes, and the clusters nothing else uses."""
    confirm(f"Delete API '{name}' and its routes?", yes)
    with Client(options) as client:
        done, _ = client.request("DELETE", f"{_PATH}/{segment(name)}")
        show_outcome(options, done)
        wait_until_acknowledged(client, options, done["revision"], wait)
