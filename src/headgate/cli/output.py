"""Printing: a table for people, JSON or YAML for programs."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

from headgate.cli.options import Options

F = TypeVar("F", bound=Callable[..., Any])


def show(
    options: Options, document: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = ""
) -> None:
    """Print a document as it is when JSON or YAML was asked for, else rows under columns."""
    if options.output == "table":
        table(columns, rows, empty)
    else:
        click.echo(text(document, options.output), nl=False)


def text(document: Any, form: str) -> str:
    """A document as JSON or YAML."""
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str = "") -> None:
    """Print rows under columns; `empty` when there are none."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row))
    if not grid.row_count:
        click.echo(empty or "nothing")
        return
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 10_000
    with console.capture() as drawn:
        console.print(grid)
    click.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def ago(moment: str | None) -> str:
    """How long ago an RFC 3339 time was, in one unit."""
    if not moment:
        return ""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except ValueError:
        return moment
    return f"{_span(seconds)} ago"


def left(moment: str) -> str:
    """How long it is until an RFC 3339 time, in one unit; "" when it is past."""
    seconds = (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    return _span(seconds) if seconds > 0 else ""


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def yes_option(command: F) -> F:
    """Add `--yes`, for `confirm`."""
    return click.option("--yes", "-y", is_flag=True, help="Do not ask.")(command)


def confirm(question: str, yes: bool) -> None:
    """Ask before something is destroyed; without a terminal `--yes` must have been given."""
    import sys

    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} This is no terminal to ask on: add --yes.")
    click.confirm(question, abort=True, err=True)
