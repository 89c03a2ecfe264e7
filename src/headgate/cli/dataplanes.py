"""`headgate dataplane`: the file an Envoy starts with, and forgetting one that is gone."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from headgate.cli.client import NATIVE, Client
from headgate.cli.options import DEFAULT_XDS, Options, platform
from headgate.cli.output import confirm, yes_option
from headgate.dataplane.bootstrap import Address, BootstrapOptions, Format, XdsTls, bootstrap, render

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def dataplane() -> None:
    """Envoys: their bootstrap, and those that were here."""


def node_options(command: F) -> F:
    """Add the options that say who an Envoy is and where its control plane is."""
    for option in reversed(_NODE_OPTIONS):
        command = option(command)
    return command


_NODE_OPTIONS: list[Callable[[Any], Any]] = [
    click.option(
        "--scope",
        type=click.Choice(["team", "all", "allowlist"]),
        default="team",
        show_default=True,
        help="What it is given: all of its team, of all teams, or the listeners named.",
    ),
    click.option("--listener", "listeners", multiple=True, metavar="NAME", help="With scope allowlist; repeatable."),
    click.option(
        "--xds",
        multiple=True,
        default=lambda: (platform().get("xds") or DEFAULT_XDS,),
        metavar="HOST:PORT",
        help="Where the control plane serves Envoys; repeatable, for replicas. Unless given, the one `headgate up` "
        f"runs in this directory, else {DEFAULT_XDS}.",
    ),
    click.option("--mode", type=click.Choice(["delta", "sotw"]), default="delta", show_default=True, help="Protocol."),
    click.option("--tls-ca", metavar="FILE", help="Authority of the control plane's certificate; turns TLS on."),
    click.option("--tls-server-name", metavar="NAME", help="Name in that certificate; unless given, the --xds host."),
    click.option("--tls-certificate", default="", metavar="FILE", help="Certificate the Envoy shows."),
    click.option("--tls-key", default="", metavar="FILE", help="Its private key."),
    click.option("--max-connections", type=int, default=50_000, show_default=True, help="Open at a time."),
    click.option("--max-heap-mib", type=int, default=0, show_default=True, help="Memory to stay under; 0 is no limit."),
]


def options_of(given: Mapping[str, Any], options: Options, admin: Address | None) -> BootstrapOptions:
    """The bootstrap options from the options given. Raises InvalidArgument and UsageError."""
    return BootstrapOptions(
        node_id=given["node_id"],
        team=options.team or "default",
        scope=given["scope"],
        listeners=given["listeners"],
        xds=tuple(Address.parse(text) for text in given["xds"]),
        mode=given["mode"],
        admin=admin,
        tls=_tls(given),
        max_connections=given["max_connections"],
        max_heap_bytes=given["max_heap_mib"] << 20,
    )


def _tls(given: Mapping[str, Any]) -> XdsTls | None:
    if not given["tls_ca"]:
        if given["tls_certificate"] or given["tls_key"] or given["tls_server_name"]:
            raise click.UsageError("--tls-ca turns TLS on; the other --tls options go with it.")
        return None
    server_name = given["tls_server_name"] or Address.parse(given["xds"][0]).host
    return XdsTls(given["tls_ca"], server_name, given["tls_certificate"], given["tls_key"])


@dataplane.command("bootstrap")
@click.option("--id", "node_id", required=True, metavar="ID", help="The Envoy's name: unique in its team.")
@node_options
@click.option(
    "--admin",
    default="127.0.0.1:9901",
    show_default=True,
    metavar="HOST:PORT",
    help="Envoy's own administration, on loopback; `none` for none.",
)
@click.option("--format", "form", type=click.Choice(["json", "yaml"]), default="yaml", show_default=True, help="Form.")
@click.pass_obj
def bootstrap_command(options: Options, /, admin: str, form: Format, **given: Any) -> None:
    """Print the file an Envoy starts with: `envoy -c FILE`.

    Its team is the one of --team. The paths of --tls-* are those on the Envoy's machine.
    """
    wanted = options_of(given, options, None if admin == "none" else Address.parse(admin))
    click.echo(render(bootstrap(wanted), form), nl=False)


@dataplane.command()
@click.argument("node_id", metavar="ID")
@yes_option
@click.pass_obj
def forget(options: Options, node_id: str, yes: bool) -> None:
    """Forget an Envoy that is not connected any more."""
    confirm(f"Forget dataplane '{node_id}'?", yes)
    with Client(options) as client:
        client.request("DELETE", f"{NATIVE}/dataplanes/{path_of(node_id)}")
    click.echo(f"dataplane {node_id} is forgotten")


def path_of(node_id: str) -> str:
    """A node id as the rest of a path: it may hold slashes."""
    from urllib.parse import quote

    return re.sub(r"^\.+", lambda dots: "%2E" * len(dots[0]), quote(node_id))
