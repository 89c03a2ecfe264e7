"""`headgate new`: a project of its own, ready to run, test and ship."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from headgate.cli.failures import Failure
from headgate.cli.options import Options
from headgate.cli.output import text
from headgate.service.generate import TEMPLATE_NAMES


@click.command(
    epilog="""\b
Examples:
  headgate new hello
  headgate new shop-orders --template full --directory services/orders
  headgate new hello --dry-run"""
)
@click.argument("name")
@click.option(
    "--template",
    "-t",
    type=click.Choice(TEMPLATE_NAMES),
    default=TEMPLATE_NAMES[0],
    show_default=True,
    help="A service that is called, a worker that listens to events, or both in one project.",
)
@click.option(
    "--directory",
    "-d",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIRECTORY",
    help="Where it is written; unless given, NAME below this directory.",
)
@click.option("--description", metavar="TEXT", default="", help="What it does, in one line.")
@click.option("--dry-run", is_flag=True, help="List the files, and write none.")
@click.pass_obj
def new(options: Options, name: str, template: str, directory: Path | None, description: str, dry_run: bool) -> None:
    """Make a new project: a typed service with its tests, image and chart.

    Needs no network. Nothing that is there is overwritten: a directory that is not empty is refused.
    """
    from headgate.service.generate.project import project

    texts = project(name, template=template, description=description)
    folder = directory or Path(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Failure(f"{folder} is there already", hint="choose another --directory; nothing was written")
    if not dry_run:
        _make(texts, folder)
    written = sorted(texts) if dry_run else sorted(_files(folder))
    if options.output != "table":
        click.echo(text({"directory": str(folder), "files": written, "dry_run": dry_run}, options.output), nl=False)
        return
    for path in written:
        click.echo(folder / path)
    if not dry_run:
        click.echo(f"\nNext:\n\n  cd {folder}\n  headgate run")


def _make(texts: dict[str, str], folder: Path) -> None:
    """Write the project beside its place, with the locks of its contracts, and move it there whole."""
    from headgate.service.generate.project import write

    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".headgate-new-", dir=folder.absolute().parent) as draft:
        made = Path(draft) / "project"
        write(texts, made)
        _lock(made)
        made.chmod(0o755)
        made.replace(folder)  # an empty directory gives way


def _lock(folder: Path) -> None:
    """Write down what is promised. In a process of its own: the project's modules stay out of this one."""
    command = [sys.executable, "-m", "headgate.cli", "contract", "check", "--update", "--directory", str(folder)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failure(
            "the contract of the new project could not be written down",
            details=done.stderr.strip(),
            hint="the service framework needs its extra: pip install 'headgate[service]'",
        )


def _files(folder: Path) -> list[str]:
    return [each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()]
