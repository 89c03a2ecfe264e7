"""`headgate team`: make and list teams."""

import click

from headgate.cli.client import Client
from headgate.cli.options import Options
from headgate.cli.output import ago, show

_PATH = "/api/v1/teams"


@click.group()
def team() -> None:
    """Teams: whose configuration is whose."""


@team.command()
@click.argument("name")
@click.pass_obj
def create(options: Options, name: str) -> None:
    """Make a team. Needs a token that is for every team."""
    with Client(options) as client:
        made, _ = client.request("POST", _PATH, body={"name": name})
    if options.output != "table":
        show(options, made, (), ())
        return
    click.echo(f"team '{name}' is made; act for it with --team {name}")


@team.command("list")
@click.pass_obj
def list_(options: Options) -> None:
    """Teams you may see."""
    with Client(options) as client:
        items = list(client.pages(_PATH))
    rows = ((one["name"], one["revision"], ago(one["created_at"])) for one in items)
    show(options, {"items": items}, ("name", "revision", "made"), rows)
