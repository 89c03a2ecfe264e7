"""The reference page of the command line, made from the commands: `python -m headgate.cli.reference FILE`."""

import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from headgate.cli.root import VERBS, cli

_HEAD = """# Command line

Made from the code by `python -m headgate.cli.reference docs/reference/cli.md`; a test holds it current.

`headgate VERB --help` says the same. Exit codes:

| code | meaning |
|---|---|
| 0 | done |
| 1 | failed; a dataplane refused the change, or did not acknowledge it in time |
| 2 | wrong usage |
| 3 | the API refused: the message, the place in the document and what to do are printed |
| 4 | the API is not reachable |

With `--output json` an error is printed as the problem document (RFC 9457) that the API answered with. A defect of
the command line itself is one line too; `HEADGATE_TRACEBACK=1` shows where it came from.
"""


def page() -> str:
    """The whole page."""
    root = click.Context(cli, info_name="headgate")
    parts = [_HEAD, _section(root, cli, 2)]
    for name in VERBS:
        command = cli.get_command(root, name)
        assert command  # noqa: S101 - it stands in the table
        parts += _sections(click.Context(command, info_name=name, parent=root), command, 2)
    return "\n".join(parts)


def _sections(context: click.Context, command: click.Command, level: int) -> Iterator[str]:
    yield _section(context, command, level)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner  # noqa: S101 - the group lists it
            yield from _sections(click.Context(inner, info_name=name, parent=context), inner, level + 1)


def _section(context: click.Context, command: click.Command, level: int) -> str:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    lines = [f"{'#' * level} {context.command_path}", "", cleandoc(command.help or ""), "", f"    {usage}", ""]
    rows = [record for option in command.params if (record := option.get_help_record(context))]
    if rows:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| `{_cell(names)}` | {_cell(meaning)} |" for names, meaning in rows]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
