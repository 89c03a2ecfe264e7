"""`headgate import openapi`: publish what an OpenAPI document describes."""

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import click

from headgate.cli.client import PLATFORM, Client, segment
from headgate.cli.converge import wait_option, wait_until_acknowledged
from headgate.cli.diffs import show_outcome, summary
from headgate.cli.documents import is_url, read
from headgate.cli.failures import FAILED, Failure, of_problem
from headgate.cli.options import Options
from headgate.cli.output import confirm, show, table

_NDJSON = "application/x-ndjson"
_MOST = 40


@click.group(name="import")
def import_() -> None:
    """Publish what a document describes."""


@import_.command()
@click.argument("source", metavar="FILE_OR_URL")
@click.option("--name", help="Name of the API; unless given, made from its title.")
@click.option("--upstream", metavar="URL", help="Where the API is, instead of the document's servers.")
@click.option("--path", metavar="PATH", help="Path prefix at the gateway, taken off before the upstream sees it.")
@click.option("--domain", metavar="HOST", help="Only for requests to this host; unless given, any.")
@click.option("--listener", metavar="NAME", help="Listener to serve it on; unless given, `gateway`.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before routes are removed.")
@click.option("--all", "show_all", is_flag=True, help="List every operation that is not routed.")
@wait_option
@click.pass_obj
def openapi(
    options: Options, /, source: str, *, dry_run: bool, yes: bool, show_all: bool, wait: float, **given: Any
) -> None:
    """Publish the operations of an OpenAPI document (2.0 to 3.2, JSON or YAML, also gzipped).

    FILE_OR_URL is a file, - for standard input, or a URL on this machine. Importing again applies the
    difference; importing the same again changes nothing.
    """
    content = read(source)
    query = {**given, "source_url": source if is_url(source) else None}
    with Client(options) as client:
        if not dry_run and not yes and _is_there(client, given["name"]):
            plan = _send(client, options, {**query, "dry_run": True}, content, "planning")
            _ask_about_removals(plan)
        report = _send(client, options, {**query, "dry_run": dry_run}, content, "importing")
        _show(options, report, show_all=show_all)
        if not dry_run:
            wait_until_acknowledged(client, options, report["revision"], wait)


def _is_there(client: Client, name: str | None) -> bool:
    """Whether an API of the name may have been imported before; without a name only the API can tell which it is."""
    if name is None:
        return True
    try:
        client.get(f"{PLATFORM}/apis/{segment(name)}")
    except Failure as failure:
        problem = failure.problem or {}
        if problem.get("code") == "unknown_api":
            return False
        if problem.get("status") != HTTPStatus.FORBIDDEN:  # who may publish and not read is shown the plan instead
            raise
    return True


def _ask_about_removals(plan: Mapping[str, Any]) -> None:
    removed = [diff["name"] for diff in plan["diffs"] if diff["what"] == "deleted"]
    if removed:
        click.echo("\n".join(f"- {name}" for name in removed[:_MOST]), err=True)
        confirm(f"{len(removed)} of what was imported before will be removed. Go on?", yes=False)


def _send(client: Client, options: Options, query: Mapping[str, Any], content: bytes, doing: str) -> dict[str, Any]:
    """Send the document and follow the progress to the report."""
    kind = "application/json" if content.lstrip()[:1] in (b"{", b"[") else "application/yaml"
    headers = {"Content-Type": kind, "Accept": _NDJSON}
    messages = client.stream(f"{PLATFORM}/import/openapi", query=query, content=content, headers=headers)
    report = _follow(messages, doing) if options.output == "table" else _last(messages)
    if report is None:
        raise Failure("the import ended without a report", exit_code=FAILED)
    return report


def _last(messages: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    report = None
    for message in messages:
        report = _report_of(message) or report
    return report


def _report_of(message: Mapping[str, Any]) -> dict[str, Any] | None:
    """The report in a message, None for progress. Raises Failure for a problem."""
    if "problem" in message:
        raise of_problem(int(message["problem"].get("status", 500)), message["problem"])
    if "progress" in message:
        return None
    report = message.get("report", message)
    return report if isinstance(report, dict) else None


def _follow(messages: Iterator[dict[str, Any]], doing: str) -> dict[str, Any] | None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    report = None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task(doing, total=None)
        for message in messages:
            report = _report_of(message) or report
            if progress := message.get("progress"):
                stage, done, total = progress["stage"], progress["done"], progress["total"]
                bar.update(task, description=f"{doing}: {stage}", completed=done, total=total)
    return report


def _show(options: Options, report: Mapping[str, Any], *, show_all: bool) -> None:
    if options.output != "table":
        show(options, report, (), ())
        return
    totals, about = report["totals"], report["document"]
    what = f"{about['title']} {about['version']} (OpenAPI {about['openapi']})".strip()
    click.echo(f"API '{report['name']}': {what}, at {report['gateway']['url']}{_domains(report)}\n")
    table(("operations", "routed", "not routed"), [(totals["operations"], totals["routed"], totals["not_routed"])])
    _show_lost([one for one in report["operations"] if not one["routed"]], show_all=show_all)
    _show_notes(report, show_all=show_all)
    if len(report["diffs"]) > _MOST and not show_all:
        click.echo(summary(report))
    else:
        show_outcome(options, report)


def _domains(report: Mapping[str, Any]) -> str:
    domains = report["gateway"]["domains"]
    return "" if domains == ["*"] else f" for {', '.join(domains)}"


def _show_notes(report: Mapping[str, Any], *, show_all: bool) -> None:
    unusable = [one for one in report["servers"] if one["status"] == "unusable"]
    told = [f"server {one['url']} is not used: {one['reason']}" for one in unusable]
    told += [f"{note['pointer']} {note['message']}".strip() for note in report["notes"]]
    for line in told if show_all else told[:_MOST]:
        click.echo(f"note: {line}")
    if len(told) > _MOST and not show_all:
        click.echo(f"... and {len(told) - _MOST} more notes; --all lists them")


def _show_lost(lost: Sequence[Mapping[str, Any]], *, show_all: bool) -> None:
    if not lost:
        return
    reasons = Counter(one["reason"] for one in lost)
    shown = lost if show_all else lost[:_MOST]
    table(("not routed", "", "why"), [(one["method"], one["path"], one["reason"]) for one in shown])
    if len(shown) < len(lost):
        click.echo(f"... and {len(lost) - len(shown)} more; --all lists them:")
        table(("how many", "why"), [(count, reason) for reason, count in reasons.most_common()])
    for hint in dict.fromkeys(one["hint"] for one in lost if one.get("hint")):
        click.echo(f"hint: {hint}")
