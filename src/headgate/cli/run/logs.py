"""What many processes say, on one terminal: each line with the name of who said it, in a colour of its own.

console = Console(["orders", "payments"])
console("orders", "serving on http://127.0.0.1:8081")      # orders   | serving on ...
"""

import json
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final

import click

COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "bright_red", "bright_cyan", "bright_magenta")
RUNNER: Final = "run"

_QUIET: Final = frozenset(("time", "timestamp", "level", "logger", "event", "exception"))
_LEVELS: Final = {"warning": "yellow", "error": "red", "critical": "red", "debug": "bright_black"}


class Console:
    """See the module. Lines of JSON, as services log, are shown as text unless `raw` is set."""

    def __init__(self, names: Iterable[str], *, raw: bool = False) -> None:
        listed = [RUNNER, *names]
        self._width = max(map(len, listed))
        self._colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(listed[1:])}
        self._raw = raw

    def __call__(self, name: str, line: str) -> None:
        """Show a line. Empty ones are left out."""
        line = line.rstrip()
        if not line:
            return
        if not self._raw and line.startswith("{"):
            line = readable(line)
        prefix = f"{name:{self._width}} | "
        colour = self._colours.get(name)
        with suppress(OSError):  # whoever read this may have gone; the services stay
            for each in line.splitlines():
                click.echo(click.style(prefix, fg=colour, bold=colour is None) + each)
            sys.stdout.flush()


def readable(line: str) -> str:
    """A line of a JSON log as people read it; any other line as it is."""
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return line
    if not isinstance(entry, dict) or "event" not in entry:
        return line
    level = str(entry.get("level", "info"))
    said = click.style(f"{level:7} ", fg=_LEVELS.get(level)) + str(entry["event"])
    rest = " ".join(f"{key}={_shown(value)}" for key, value in entry.items() if key not in _QUIET)
    trace = f"\n{entry['exception']}" if isinstance(entry.get("exception"), str) else ""
    return f"{said}  {rest}".rstrip() + trace


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value if value and not any(each.isspace() for each in value) else json.dumps(value, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)
