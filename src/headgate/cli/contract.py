"""`headgate contract`: what services promise, and whether they still keep what was promised."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headgate.cli.failures import FAILED, Failure
from headgate.cli.options import Options
from headgate.cli.output import show, text
from headgate.cli.project import of_services

if TYPE_CHECKING:
    from headgate.service.compare import Change
    from headgate.service.dev.target import Found

COLOURS = {"breaking": "red", "dangerous": "yellow", "safe": "green"}


@click.group()
def contract() -> None:
    """What services promise, compared with what they promised before.

    The lock of each service, contracts/NAME.lock, is what was released last; commit it.
    """


@contract.command(
    epilog="""\b
Examples:
  headgate contract check
  headgate contract check orders.api:Orders --allow-dangerous
  headgate contract check --update

Exit codes: 0 kept, 1 not kept or never written down, 2 wrong usage."""
)
@of_services
@click.option("--update", is_flag=True, help="Write the locks: this is what is released now.")
@click.option("--allow-dangerous", is_flag=True, help="Dangerous changes are no failure.")
@click.option("--allow-breaking", is_flag=True, help="Nor are breaking ones; with --update, for a new major version.")
@click.pass_obj
def check(
    options: Options,
    targets: tuple[str, ...],
    directory: Path,
    update: bool,
    allow_dangerous: bool,
    allow_breaking: bool,
) -> None:
    """Compare contracts with their locks.

    Breaking changes fail callers or events that were served before, dangerous ones may surprise them, safe ones
    they do not notice. Pointers lead into the contract. With --update breaking changes are written only when they
    are allowed. A lock whose service is gone is a breaking change too, unless services are named.
    """
    from headgate.service.dev.target import contracts_in

    found = list(contracts_in(targets, directory))
    reports = [_compared(each, update=update, allow_breaking=allow_breaking) for each in found]
    if not targets:
        reports += [_removed(lock, update=update and allow_breaking) for lock in _left(directory, found)]
    _print(options, reports)
    refused = ["breaking"] * (not allow_breaking) + ["dangerous"] * (not allow_dangerous and not update)
    broken = [report for report in reports if any(each["level"] in refused for each in report["changes"])]
    missing = [report for report in reports if report["state"] == "no lock"]
    if missing:
        raise Failure(
            f"{', '.join(each['service'] for each in missing)}: never written down",
            hint="`headgate contract check --update` writes the lock; commit it",
        )
    if broken:
        raise Failure(
            f"{', '.join(each['service'] for each in broken)}: not what was promised",
            exit_code=FAILED,
            hint="keep it, or release it knowingly: --update writes it down"
            + (" with --allow-breaking" if any(_has(each, "breaking") for each in broken) else ""),
        )


@contract.command("show", epilog="\b\nExample:\n  headgate -o yaml contract show orders.api:Orders")
@of_services
@click.pass_obj
def show_(options: Options, targets: tuple[str, ...], directory: Path) -> None:
    """Show contracts: as tables, or whole with --output json or yaml."""
    from headgate.service.dev.target import contracts_in

    found = [each.contract for each in contracts_in(targets, directory)]
    documents = [{**each.document, "hash": each.hash} for each in found]
    if options.output != "table":
        click.echo(text(documents[0] if len(documents) == 1 else documents, options.output), nl=False)
        return
    for number, document in enumerate(documents):
        click.echo(("\n" if number else "") + f"{document['service']} {document['version']}  {document['hash']}")
        rows = [
            (each["name"], each["kind"].replace("_", " "), _place(each), _guard(each["guard"]), _faults(each))
            for each in document["methods"]
        ]
        rows += [
            (each["name"], "subscription", each["subject"], each["group"], "") for each in document["subscriptions"]
        ]
        show(options, document, ("name", "kind", "bound to", "for", "faults"), rows)


def _compared(found: "Found", *, update: bool, allow_breaking: bool) -> dict[str, Any]:
    """What became of one contract: its state, its changes, and whether the lock was written."""
    from headgate.kit.controls.faults import InvalidArgument
    from headgate.service.compare import check as compared
    from headgate.service.lock import read_lock, update_lock, write_lock

    old = read_lock(found.lock) if found.lock.exists() else None
    try:
        changes = compared(found.contract, old) if old is not None else []
    except InvalidArgument as fault:
        if fault.code != "reserved_field":
            raise
        raise Failure(f"{found.contract.name}: {fault.message}", exit_code=FAILED, hint=fault.hint) from fault
    breaks = any(each.level == "breaking" for each in changes) and not allow_breaking
    written = update and not breaks and write_lock(update_lock(found.contract, old), found.lock)
    is_kept = old is not None or update
    return {
        "service": found.contract.name,
        "lock": str(found.lock),
        "state": ("written" if written else "changed" if changes else "kept") if is_kept else "no lock",
        "changes": [_told(each) for each in changes],
    }


def _left(directory: Path, found: list["Found"]) -> list[Path]:
    """The locks of services that the workspace has no more."""
    from headgate.service.dev.workspace import load_workspace
    from headgate.service.lock import SUFFIX

    folders = dict.fromkeys(each.contracts for each in load_workspace(directory.absolute()).apps)
    locks = [lock for folder in folders for lock in sorted(folder.glob(f"*{SUFFIX}"))]
    return [lock for lock in locks if lock not in [each.lock for each in found]]


def _removed(lock: Path, *, update: bool) -> dict[str, Any]:
    """What became of a contract that nobody keeps; with `update` its lock is removed too."""
    if update:
        lock.unlink()
    change = {"level": "breaking", "pointer": "/service", "message": "the service was removed"}
    return {"service": lock.stem, "lock": str(lock), "state": "removed", "changes": [change]}


def _told(change: "Change") -> dict[str, str]:
    return {"level": change.level, "pointer": change.pointer, "message": change.message}


def _print(options: Options, reports: list[dict[str, Any]]) -> None:
    if options.output != "table":
        click.echo(text(reports, options.output), nl=False)
        return
    for report in reports:
        click.echo(f"{report['service']}: {report['state']}")
        for each in report["changes"]:
            level = click.style(f"{each['level']:9}", fg=COLOURS[each["level"]])
            click.echo(f"  {level} {each['pointer']}  {each['message']}")


def _has(report: dict[str, Any], level: str) -> bool:
    return any(each["level"] == level for each in report["changes"])


def _place(method: dict[str, Any]) -> str:
    bound = method.get("http")
    return f"{bound['method']} {bound['path']}" if bound else ""


def _guard(guard: dict[str, Any] | None) -> str:
    if guard is None:
        return "nobody yet: it has no guard"
    if guard.get("public"):
        return "everybody"
    return ", ".join(f"{name} {' '.join(values)}" for name, values in guard.items()) or "who is known"


def _faults(method: dict[str, Any]) -> str:
    return ", ".join(each["code"] for each in method["faults"])
