"""Showing what a change did, or would do."""

from collections.abc import Iterator, Mapping
from typing import Any

import click

from headgate.cli.options import Options
from headgate.cli.output import show

_MARKS = {"created": "+", "updated": "~", "deleted": "-", "unchanged": "="}
_MOST = 60


def show_outcome(options: Options, outcome: Mapping[str, Any]) -> None:
    """Print an outcome: one line per resource, and in an update one per field that differs."""
    if options.output != "table":
        show(options, outcome, (), ())
        return
    diffs = [diff for diff in outcome["diffs"] if diff["what"] != "unchanged"]
    for diff in diffs[:_MOST]:
        click.echo(f"{_MARKS[diff['what']]} {diff['kind']} {diff['name']}")
        if diff["what"] == "updated":
            for line in list(fields(diff.get("before"), diff.get("after")))[:_MOST]:
                click.echo(f"    {line}")
    if len(diffs) > _MOST:
        click.echo(f"  ... and {len(diffs) - _MOST} more")
    click.echo(summary(outcome))


def summary(outcome: Mapping[str, Any]) -> str:
    """An outcome in one line."""
    counts: dict[str, int] = {}
    for diff in outcome["diffs"]:
        counts[diff["what"]] = counts.get(diff["what"], 0) + 1
    counted = ", ".join(f"{counts[what]} {what}" for what in _MARKS if counts.get(what)) or "nothing"
    if outcome.get("dry_run"):
        return f"dry run: {counted}"
    if not outcome.get("changed", True):
        return f"nothing changed (revision {outcome['revision']})"
    return f"revision {outcome['revision']}: {counted}"


def fields(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """The fields that differ, each as `/pointer: before -> after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in [*before, *(key for key in after if key not in before)]:
            yield from fields(before.get(key, _ABSENT), after.get(key, _ABSENT), f"{at}/{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from fields(old, new, f"{at}/{index}")
    elif before != after:
        yield f"{at or '/'}: {_brief(before)} -> {_brief(after)}"


_ABSENT = object()


def _brief(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    import json

    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= _MOST else written[: _MOST - 1] + "…"
