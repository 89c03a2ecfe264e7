"""Settings that applications are given while they are developed, unless they say otherwise themselves.

usual(entry)        # {"DEBUG": "true", ..., "RATE_LIMIT_DEFAULT": "off"}

What is set outside goes first, and so does what the application's own `.env` and `headgate.toml` hold: a variable
would go before both.
"""

import os
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from headgate.service.dev.workspace import AppEntry

USUAL: Final = {
    "DEBUG": "true",
    "LOG_FORMAT": "json",
    "DOCS_PUBLIC": "true",
    "RATE_LIMIT_DEFAULT": "off",
}


def usual(entry: AppEntry) -> dict[str, str]:
    """The settings that are the runner's to choose."""
    told = {*os.environ, *_told_in(entry.directory)}
    return {name: value for name, value in USUAL.items() if name not in told}


def _told_in(folder: Path) -> set[str]:
    """The variables of what an application's files set."""
    found = {name.upper() for name in dotenv_values(folder / ".env")}
    with suppress(OSError, ValueError):  # there is none, or it is no TOML: the application says so itself
        found |= {name.upper() for name in tomllib.loads((folder / "headgate.toml").read_text(encoding="utf-8"))}
    return found
