"""The documentation leads somewhere, and the commands in it are commands."""

import re
import shlex
from pathlib import Path

import click
import pytest

from headgate.cli.root import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"^ {4,}(?:\$ )?(?:\.venv/bin/|venv/bin/)?headgate (.+)$", re.MULTILINE)


def commands():
    """Yield each command line of the pages people read, with where it stands."""
    for page in PAGES:
        if page.name == "cli.md":
            continue
        for line in COMMAND.findall(page.read_text(encoding="utf-8")):
            yield pytest.param(line, id=f"{page.relative_to(ROOT)}: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    """Every link to another file leads to one."""
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("room", ["start", "guides", "reference", "explanation"])
def test_index_has_every_page(room):
    """Every page of the documentation is in its index."""
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs" / room).glob("*.md")]
    assert [page for page in pages if f"({page})" not in index] == []


@pytest.mark.parametrize("line", list(commands()))
def test_commands_are_commands(line):
    """A command in the documentation has a verb, options and arguments that the command line takes."""
    line = re.split(r" {2,}|\s[|>#]", line)[0]
    command, context, words = cli, click.Context(cli, info_name="headgate"), shlex.split(line)
    while isinstance(command, click.Group):
        _, words, _ = command.make_parser(context).parse_args(words)
        name, command, words = command.resolve_command(context, words)
        assert command, name
        context = click.Context(command, info_name=name, parent=context)
    command.make_parser(context).parse_args(words)
