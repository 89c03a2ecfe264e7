"""What commands about a project of services take: where it is, and which of its services.

@click.command()
@of_services            # or @in_directory, for those that are about no service there is
def check(targets: tuple[str, ...], directory: Path) -> None: ...
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def in_directory(command: F) -> F:
    """Give the command `--directory`."""
    return click.option(
        "--directory",
        "-d",
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        default=Path(),
        metavar="DIRECTORY",
        help="The project or workspace; unless given, this directory.",
    )(command)


def of_services(command: F) -> F:
    """Give it `--directory`, and the services as arguments."""
    return click.argument("targets", metavar="[MODULE:SERVICE]...", nargs=-1)(in_directory(command))
