"""What a process tells of the application it has imported, for the one that runs it: its contracts and its modules.

write_report(app, file)
report = read_report(file)              # None until there is one
report.contracts[0]["service"], report.modules
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.service.types import plain

if TYPE_CHECKING:
    from headgate.service.app import App


class Report(msgspec.Struct, frozen=True):
    """Contracts as documents with their `hash`, and the files of modules that were imported."""

    contracts: list[dict[str, Any]] = []
    modules: list[str] = []


def write_report(app: "App", file: Path) -> None:
    """Write it whole."""
    contracts = [{**plain(each.contract.document), "hash": each.contract.hash} for each in app.hosted]
    files = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    modules = sorted({str(Path(each).resolve()) for each in files if each and "site-packages" not in each})
    draft = file.with_name(f".{file.name}.new")
    draft.write_bytes(msgspec.json.encode(Report(contracts, modules)))
    draft.replace(file)


def read_report(file: Path) -> Report | None:
    """What was written; None when nothing was, or nothing that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError):
        return None
