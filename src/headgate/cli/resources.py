"""`headgate get | apply | edit | delete`: resources as documents `{kind, name, spec}`."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from headgate.cli.client import NATIVE, Client, segment
from headgate.cli.converge import wait_option, wait_until_acknowledged
from headgate.cli.diffs import show_outcome
from headgate.cli.failures import USAGE, Failure
from headgate.cli.options import Options
from headgate.cli.output import ago, confirm, show, text, yes_option

PLURALS = {"cluster": "clusters", "route_config": "route-configs", "listener": "listeners", "secret": "secrets"}
_ALIASES = {"rc": "route_config", "routeconfig": "route_config", "routeconfigs": "route_config"}
_LARGEST_FILE = 64 << 20

F = TypeVar("F", bound=Callable[..., Any])


def kind_of(word: str) -> str:
    """The kind as the API calls it, from `cluster`, `clusters`, `route-config`, `route_configs`, ..."""
    folded = word.lower().replace("-", "_")
    for kind, plural in PLURALS.items():
        if folded in (kind, plural.replace("-", "_")):
            return kind
    if folded in _ALIASES:
        return _ALIASES[folded]
    raise click.BadParameter(f"'{word}' is none of {', '.join(PLURALS.values())}.")


def kind_argument(command: F) -> F:
    """Add the argument KIND."""
    return click.argument("kind", metavar="KIND", callback=lambda _ctx, _param, value: kind_of(value))(command)


@click.command()
@kind_argument
@click.argument("name", required=False)
@click.option("--contains", default="", metavar="TEXT", help="Only those whose name holds this text.")
@click.pass_obj
def get(options: Options, kind: str, name: str | None, contains: str) -> None:
    """Show resources.

    KIND is clusters, route-configs, listeners or secrets. With NAME: the document, ready for `headgate apply`.
    """
    with Client(options) as client:
        if name:
            found = client.get(_path(kind, name))
            form = "yaml" if options.output == "table" else options.output
            document = _document(kind, found) if options.output == "table" else found
            click.echo(text(document, form), nl=False)
            return
        items = list(client.pages(_path(kind), name_contains=contains or None))
    rows = ((item["name"], item["revision"], item["owner"] or "-", ago(item["updated_at"])) for item in items)
    show(options, {"items": items}, ("name", "revision", "owner", "changed"), rows, f"no {PLURALS[kind]}")


@click.command()
@click.option(
    "--file",
    "-f",
    "files",
    multiple=True,
    required=True,
    metavar="FILE",
    help="YAML or JSON documents {kind, name, spec}; - reads standard input. May be given more than once.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--message", "-m", default="", help="Why; kept with the revision.")
@wait_option
@click.pass_obj
def apply(options: Options, files: Sequence[str], dry_run: bool, message: str, wait: float) -> None:
    """Create or replace resources from files, all or none.

    All documents of all files become one revision. A document may have `operation: delete` (and no spec).
    """
    changes = [change for file in files for change in _changes(file)]
    with Client(options) as client:
        outcome, _ = client.request(
            "POST", f"{NATIVE}/changes", body={"changes": changes, "message": message, "dry_run": dry_run}
        )
        show_outcome(options, outcome)
        if not dry_run:
            wait_until_acknowledged(client, options, outcome["revision"], wait)


@click.command()
@kind_argument
@click.argument("name")
@wait_option
@click.pass_obj
def edit(options: Options, kind: str, name: str, wait: float) -> None:
    """Change a resource in your editor.

    It is written only if nobody else changed it meanwhile.
    """
    with Client(options) as client:
        found = client.get(_path(kind, name))
        before = text(_document(kind, found), "yaml")
        after = click.edit(before, extension=".yaml")
        if after is None or after == before:
            click.echo("nothing changed")
            return
        (document,) = _documents(after, "the edited text")
        _, answer = client.request(
            "PUT", _path(kind, name), body=document.get("spec"), headers={"If-Match": found["etag"]}
        )
        revision = int(answer.headers.get("Headgate-Revision", "0"))
        click.echo(f"{kind} {name} changed in revision {revision}")
        wait_until_acknowledged(client, options, revision, wait)


@click.command()
@kind_argument
@click.argument("name")
@yes_option
@wait_option
@click.pass_obj
def delete(options: Options, kind: str, name: str, yes: bool, wait: float) -> None:
    """Delete a resource.

    Refused while another names it.
    """
    confirm(f"Delete {kind} '{name}'?", yes)
    with Client(options) as client:
        _, answer = client.request("DELETE", _path(kind, name))
        revision = int(answer.headers.get("Headgate-Revision", "0"))
        click.echo(f"{kind} {name} deleted in revision {revision}")
        wait_until_acknowledged(client, options, revision, wait)


def _path(kind: str, name: str = "") -> str:
    return f"{NATIVE}/{PLURALS[kind]}" + (f"/{segment(name)}" if name else "")


def _document(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "name": found["name"], "spec": found["spec"]}


def _changes(file: str) -> Iterator[dict[str, Any]]:
    for document in _documents(_read(file), file):
        unknown = set(document) - {"kind", "name", "spec", "operation", "if_match", "before"}
        if unknown or not isinstance(document.get("name"), str):
            what = f"unknown field '{min(unknown)}'" if unknown else "a name is missing"
            raise Failure(f"{file}: {what}", exit_code=USAGE, hint="write documents {kind, name, spec}")
        kind = str(document.get("kind"))
        yield {
            "operation": "put",
            **document,
            "kind": "route" if kind == "route" else kind_of(kind),
        }


def _read(file: str) -> str:
    if file == "-":
        return sys.stdin.read(_LARGEST_FILE)
    if Path(file).stat().st_size > _LARGEST_FILE:
        raise Failure(f"{file} is larger than {_LARGEST_FILE >> 20} MiB", exit_code=USAGE)
    return Path(file).read_text(encoding="utf-8")


def _documents(content: str, where: str) -> list[dict[str, Any]]:
    """The documents of a text: YAML (also several), JSON, a list of documents, or `{items: [...]}`."""
    import yaml

    try:
        found: list[Any] = [json.loads(content)]
    except ValueError:
        try:
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            found = [document for document in yaml.load_all(content, Loader=loader) if document is not None]
        except yaml.YAMLError as error:
            raise Failure(f"{where} is neither YAML nor JSON: {error}", exit_code=USAGE) from None
    flat: list[Any] = []
    for document in found:
        items = document.get("items") if isinstance(document, dict) and set(document) == {"items"} else document
        flat.extend(items if isinstance(items, list) else [items])
    if not flat or not all(isinstance(document, dict) for document in flat):
        raise Failure(f"{where} holds no documents", exit_code=USAGE, hint="write documents {kind, name, spec}")
    return flat
