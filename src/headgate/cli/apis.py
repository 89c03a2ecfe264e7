"""`headgate apis`: the API definitions that were imported."""

import click

from headgate.cli.client import PLATFORM, Client, segment
from headgate.cli.converge import wait_option
from headgate.cli.options import Options
from headgate.cli.output import ago, confirm, show, text, yes_option
from headgate.cli.publish import take_back

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
@yes_option
@wait_option
@click.pass_obj
def delete(options: Options, name: str, yes: bool, wait: float) -> None:
    """Take an API back: its routes, and the clusters nothing else uses."""
    confirm(f"Delete API '{name}' and its routes?", yes)
    take_back(options, f"{_PATH}/{segment(name)}", wait)
