"""`headgate expose | unexpose`: a URL under a path of the gateway, and back."""

import click

from headgate.cli.client import PLATFORM, Client, segment
from headgate.cli.converge import wait_option, wait_until_acknowledged
from headgate.cli.diffs import show_outcome
from headgate.cli.options import Options
from headgate.cli.output import confirm, yes_option


@click.command()
@click.argument("url")
@click.option("--name", required=True, help="Name of the cluster and of the route.")
@click.option("--path", default=None, help="Path prefix at the gateway; unless given, / and the name.")
@click.option("--domain", default=None, help="Only for requests to this host; unless given, any.")
@click.option("--listener", default=None, help="Listener to serve it on; unless given, `gateway`.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@wait_option
@click.pass_obj
def expose(options: Options, /, url: str, *, dry_run: bool, wait: float, **given: str | None) -> None:
    """Publish a URL under a path of the gateway.

    Makes cluster, route and, if need be, the listener in one revision. A URL with a path, even /, has that
    path instead of --path in requests to the upstream; one without leaves the path as it is.
    """
    wanted = {"url": url, **given}
    with Client(options) as client:
        done, _ = client.request(
            "POST",
            f"{PLATFORM}/expose",
            query={"dry_run": dry_run},
            body={key: value for key, value in wanted.items() if value is not None},
        )
        show_outcome(options, done)
        if options.output == "table":
            for note in done["notes"]:
                click.echo(f"note: {note['message']}")
            click.echo(f"{url} {'would be' if dry_run else 'is'} published at {done['url']}")
        if not dry_run:
            wait_until_acknowledged(client, options, done["revision"], wait)


@click.command()
@click.argument("name")
@yes_option
@wait_option
@click.pass_obj
def unexpose(options: Options, name: str, yes: bool, wait: float) -> None:
    """Take back what `expose` published."""
    confirm(f"Take back '{name}'?", yes)
    take_back(options, f"{PLATFORM}/expose/{segment(name)}", wait)


def take_back(options: Options, path: str, wait: float) -> None:
    """Delete what was published at a path of the API, say what went, and wait for the Envoys."""
    with Client(options) as client:
        done, _ = client.request("DELETE", path)
        show_outcome(options, done)
        wait_until_acknowledged(client, options, done["revision"], wait)
