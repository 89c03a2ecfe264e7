"""The global options, and what stands in for those not given."""

import ipaddress
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from headgate.cli.failures import Failure

DEFAULT_API = "http://127.0.0.1:8080"
DEFAULT_XDS = "127.0.0.1:18000"
TOKEN_FILE = "admin-token"  # noqa: S105 - the name of a file
PLATFORM_FILE = "platform.json"
"""Where `headgate up` leaves the addresses of what it runs, for the other commands."""

VARIABLES = (
    "HEADGATE_API",
    "HEADGATE_TOKEN",
    "HEADGATE_TEAM",
    "HEADGATE_OUTPUT",
    "HEADGATE_TRACEBACK",
    "HEADGATE_DEMO",
    "HEADGATE_DEMO_PORT",
)
"""Environment variables of the command line that are no settings of a server."""


def state_directory() -> Path:
    """Where `headgate up` keeps its files."""
    return Path(os.environ.get("HEADGATE_STATE_DIR") or ".headgate")


@dataclass(frozen=True, slots=True)
class Options:
    """The global options as given."""

    api: str | None = None
    token: str | None = None
    team: str | None = None
    output: str = "table"

    def api_url(self) -> str:
        """The API to talk to, without a slash at its end."""
        return (self.api or platform().get("api") or DEFAULT_API).rstrip("/")

    def bearer(self) -> str:
        """The token to show. Raises Failure when there is none.

        The admin token of this directory is shown to this machine only, never to another that `--api` names.
        """
        if self.token:
            return self.token
        file = state_directory() / TOKEN_FILE
        with suppress(OSError):
            text = file.read_text(encoding="ascii", errors="replace").strip()
            if text and is_loopback(self.api_url()):
                return text
        here = f", or run this where {file} is (`headgate up` writes it at its first start)"
        raise Failure(
            f"no token for {self.api_url()}",
            hint=f"set HEADGATE_TOKEN or --token{here if is_loopback(self.api_url()) else ''}",
        )


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def platform() -> dict[str, Any]:
    """The addresses that `headgate up` left; empty when there are none."""
    with suppress(OSError, ValueError):
        found = json.loads((state_directory() / PLATFORM_FILE).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
