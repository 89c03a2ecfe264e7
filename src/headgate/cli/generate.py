"""`headgate generate`: code written into a project, and documents and clients made of contracts."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.failures import Failure
from headgate.cli.options import Options
from headgate.cli.output import text
from headgate.cli.project import F, in_directory, of_services

if TYPE_CHECKING:
    from headgate.service.dev.target import Found
    from headgate.service.generate.declare import Declaration


def _out(command: F) -> F:
    command = click.option("--force", is_flag=True, help="Replace a file that is there.")(command)
    command = click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Where it is written; unless given, standard output.",
    )(command)
    return of_services(command)


@click.group()
def generate() -> None:
    """Write code: services, methods, clients, documents.

    What is there is never overwritten, and never formatted anew.
    """


@generate.command(epilog="\b\nExample:\n  headgate generate service payments")
@click.argument("name")
@in_directory
def service(name: str, directory: Path) -> None:
    """Add a service to the project: a module, its test, and its place in the application."""
    from headgate.service.generate.edit import add_service

    _changed(add_service(directory.absolute(), name), directory)


@generate.command(
    epilog="""\b
Examples:
  headgate generate method Orders cancel id:str --returns Order --post '/orders/{id}/cancel'
  headgate generate method Orders track id:str --returns OrderEvent --shape server-stream
  headgate generate method Orders ping --public"""
)
@click.argument("service")
@click.argument("name")
@click.argument("parameters", metavar="[PARAMETER:TYPE]...", nargs=-1)
@click.option("--returns", metavar="TYPE", default="None", show_default=True, help="Type of one answer.")
@click.option(
    "--shape",
    type=click.Choice(["unary", "server-stream", "client-stream", "bidi"]),
    default="unary",
    show_default=True,
    help="How many messages go each way.",
)
@click.option("--get", metavar="PATH", default="", help="Bind it to GET at this path.")
@click.option("--post", metavar="PATH", default="", help="Bind it to POST.")
@click.option("--put", metavar="PATH", default="", help="Bind it to PUT.")
@click.option("--patch", metavar="PATH", default="", help="Bind it to PATCH.")
@click.option("--delete", metavar="PATH", default="", help="Bind it to DELETE.")
@click.option("--public", is_flag=True, help="Everybody may call it.")
@click.option("--summary", metavar="TEXT", default="", help="What it does, in one line.")
@in_directory
def method(directory: Path, service: str, **told: Any) -> None:
    """Add a method to a service's class, behind its last one; the rest of the file stays as it is.

    SERVICE is the class or the service's name. The method answers that it is not written yet.
    """
    from headgate.service.generate.edit import add_method

    _changed(add_method(directory.absolute(), service, _declaration(told)), directory)


@generate.command(
    epilog="""\b
Examples:
  headgate generate client --language typescript --out web/src/orders.ts
  headgate generate client orders.api:Orders > orders_client.py"""
)
@_out
@click.option(
    "--language",
    "-l",
    type=click.Choice(["python", "typescript"]),
    default="python",
    show_default=True,
    help="Language of the client.",
)
def client(targets: tuple[str, ...], directory: Path, out: Path | None, force: bool, language: str) -> None:
    """Make a typed client of one service."""
    from headgate.service.docs import python_client, typescript_client

    found = _one(targets, directory)
    made = python_client(found.contract) if language == "python" else typescript_client(found.contract)
    _write(made, out, force)


@generate.command(epilog="\b\nExample:\n  headgate generate proto orders.api:Orders --out orders.proto")
@_out
def proto(targets: tuple[str, ...], directory: Path, out: Path | None, force: bool) -> None:
    """Make the .proto of one service, with the numbers of its lock."""
    from headgate.service.lock import read_lock
    from headgate.service.proto.text import proto_text

    found = _one(targets, directory)
    lock = read_lock(found.lock) if found.lock.exists() else None
    _write(proto_text(found.contract, lock), out, force)


@generate.command(epilog="\b\nExample:\n  headgate -o yaml generate openapi --title Shop --out openapi.yaml")
@_out
@click.option("--title", metavar="TEXT", default="", help="Title of the document.")
@click.option("--server", "servers", metavar="URL", multiple=True, help="Where it is served; may be given again.")
@click.pass_obj
def openapi(
    options: Options,
    targets: tuple[str, ...],
    directory: Path,
    out: Path | None,
    force: bool,
    title: str,
    servers: tuple[str, ...],
) -> None:
    """Make the OpenAPI document of all services, as JSON, or YAML with --output yaml."""
    from headgate.service.dev.target import contracts_in
    from headgate.service.docs import openapi as document_of

    contracts = [each.contract for each in contracts_in(targets, directory)]
    document = document_of(contracts, title=title, servers=servers)
    _write(text(document, "yaml" if options.output == "yaml" else "json"), out, force)


def _declaration(told: dict[str, Any]) -> "Declaration":
    from headgate.service.generate.declare import VERBS, Declaration

    bound = [(verb, told.pop(verb)) for verb in VERBS]
    given = [(verb, path) for verb, path in bound if path]
    if len(given) > 1:
        raise click.UsageError("A method is bound to one path; keep one of " + ", ".join(f"--{v}" for v, _ in given))
    verb, path = given[0] if given else ("", "")
    pairs = [each.partition(":") for each in told.pop("parameters")]
    for name, _, hint in pairs:
        if not hint:
            raise click.UsageError(f"'{name}' has no type; a parameter is NAME:TYPE, such as id:str")
    return Declaration(parameters=tuple((name, hint.strip()) for name, _, hint in pairs), verb=verb, path=path, **told)


def _one(targets: tuple[str, ...], directory: Path) -> "Found":
    from headgate.service.dev.target import contracts_in

    found = list(contracts_in(targets, directory))
    if len(found) != 1:
        names = ", ".join(each.contract.name for each in found)
        raise Failure(f"there are several services: {names}", hint="name one, as MODULE:SERVICE")
    return found[0]


def _write(made: str, out: Path | None, force: bool) -> None:
    if out is None:
        click.echo(made, nl=not made.endswith("\n"))
        return
    if out.exists() and not force:
        raise Failure(f"{out} is there already", hint="add --force to replace it")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(made, encoding="utf-8")
    click.echo(f"{out} written", err=True)


def _changed(files: dict[Path, str], directory: Path) -> None:
    root = directory.absolute()
    for file, what in files.items():
        click.echo(f"{what}  {file.relative_to(root) if file.is_relative_to(root) else file}")
