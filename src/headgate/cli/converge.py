"""After a write: wait until the connected dataplanes run it, and say which do not and why."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from headgate.cli.client import NATIVE, Client
from headgate.cli.failures import Failure
from headgate.cli.options import Options

F = TypeVar("F", bound=Callable[..., Any])
_POLL = 0.1


def wait_option(command: F) -> F:
    """Add `--wait`."""
    return click.option(
        "--wait",
        type=click.FloatRange(0, 600),
        default=10.0,
        show_default=True,
        metavar="SECONDS",
        help="Longest to wait until every connected Envoy has acknowledged the change; 0 does not wait.",
    )(command)


def wait_until_acknowledged(client: Client, options: Options, revision: int, seconds: float) -> None:
    """Say how the dataplanes took a revision. Raises Failure when one refused it, or was not done in time."""
    if not seconds:
        return
    say = click.echo if options.output == "table" else _to_stderr
    started = time.monotonic()
    while True:
        connected = [one for one in client.get(f"{NATIVE}/dataplanes")["items"] if one["connected"]]
        behind = [one for one in connected if one["revision_acked"] < revision]
        took = time.monotonic() - started
        refused = [one for one in behind if one["refused"]]
        if not behind:
            break
        if len(refused) == len(behind) or took >= seconds:
            raise _failure(revision, behind, refused, seconds)
        time.sleep(_POLL)
    if connected:
        names = ", ".join(one["id"] for one in connected[:3]) + (" ..." if len(connected) > 3 else "")
        say(f"acknowledged by {len(connected)} Envoy{'s' if len(connected) > 1 else ''} ({names}) in {took:.1f} s")
    else:
        say("no Envoy is connected; it will get this when it is")


def _failure(
    revision: int, behind: Sequence[Mapping[str, Any]], refused: Sequence[Mapping[str, Any]], seconds: float
) -> Failure:
    if not refused:
        names = ", ".join(one["id"] for one in behind)
        return Failure(
            f"revision {revision} is stored, but not acknowledged by {names} within {seconds:g} s",
            hint="headgate status --watch",
        )
    lines = [f"  {one['id']}: {reason(refusal)}" for one in refused for refusal in one["refused"]]
    return Failure(
        f"revision {revision} is stored, but refused by {', '.join(one['id'] for one in refused)}",
        details="\n".join(lines),
        hint="the last good configuration stays in use; correct the field, or `headgate restore` an earlier revision",
    )


def reason(refusal: Mapping[str, Any]) -> str:
    """Why a resource was refused, with the place in the user's document when it is known."""
    where = f"{refusal.get('kind', '')} {refusal.get('name', '')}".strip() or refusal.get("resource", "")
    return f"{where}{refusal.get('pointer') or ''}: {refusal['message']}"


def _to_stderr(message: str) -> None:
    click.echo(message, err=True)
