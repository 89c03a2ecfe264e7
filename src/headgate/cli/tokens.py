"""`headgate token`: make, list and revoke tokens."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import click

from headgate.cli.client import Client, segment
from headgate.cli.config import flags_given, load_settings, setting_flags
from headgate.cli.failures import Failure
from headgate.cli.options import Options
from headgate.cli.output import ago, confirm, left, show, yes_option
from headgate.controlplane.settings import ControlPlaneSettings

_PATH = "/api/v1/tokens"
_NOT_THE_STORE = [name for name in ControlPlaneSettings.model_fields if name not in ("database_url", "state_dir")]
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


@click.group()
def token() -> None:
    """Tokens: who may do what."""


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", value)
    if not match:
        raise click.BadParameter("write a number and one of s, m, h, d, w: such as 90d.")
    return int(match[1]) * _UNITS[match[2]]


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    metavar="SCOPE",
    help="What it may do: clusters:read, *:read, *:write, *, ...; repeatable.",
)
@click.option("--expires-in", callback=_seconds, metavar="TIME", help="Such as 12h or 90d; unless given, never.")
@click.option("--all-teams", is_flag=True, help="For every team, instead of --team or your own.")
@click.pass_obj
def create(options: Options, name: str, scopes: Sequence[str], expires_in: int | None, all_teams: bool) -> None:
    """Make a token and print it: it cannot be shown again."""
    body: dict[str, Any] = {"name": name, "scopes": list(scopes)}
    if expires_in is not None:
        body["expires_in_s"] = expires_in
    if all_teams:
        body["team"] = None
    elif options.team:
        body["team"] = options.team
    with Client(options) as client:
        made, _ = client.request("POST", _PATH, body=body)
    if options.output != "table":
        show(options, made, (), ())
        return
    click.echo(f"token '{name}' ({_scope(made)}), id {made['id']}; it is shown only now:", err=True)
    click.echo(made["token"])


@token.command()
@click.option("--name", default="admin", show_default=True, help="Name of the new token.")
@setting_flags(ControlPlaneSettings, without=_NOT_THE_STORE)
def recover(name: str, config_file: Path | None, **arguments: Any) -> None:
    """Make an admin token in the database itself.

    For when every admin token is lost: needs access to the database, and no token. Works beside a running
    control plane; the audit log shows it.
    """
    settings, _ = load_settings(flags_given(arguments), config_file)
    click.echo(asyncio.run(_recovered(settings.database_url, name)))


async def _recovered(database_url: str, name: str) -> str:
    from headgate.controlplane.core.changes import Actor
    from headgate.controlplane.core.tokens import Tokens
    from headgate.controlplane.store.store import Store

    store = await Store.open(database_url)
    try:
        actor = Actor("recovery", "cli")
        _, plaintext = await Tokens(store).create(actor, name=name, team=None, scopes=["*"], expires_at=None)
        return plaintext
    finally:
        await store.close()


@token.command("list")
@click.pass_obj
def list_(options: Options) -> None:
    """Tokens that were made, newest first."""
    with Client(options) as client:
        items = list(client.pages(_PATH))
    columns = ("id", "name", "may do", "state", "last used", "made", "by")
    show(options, {"items": items}, columns, map(_row, items))


def _row(one: Mapping[str, Any]) -> tuple[Any, ...]:
    used, made = ago(one["last_used_at"]) or "never", ago(one["created_at"])
    return one["id"], one["name"], _scope(one), _state(one), used, made, one["created_by"]


def _state(one: Mapping[str, Any]) -> str:
    if one["revoked_at"]:
        return "revoked"
    if not one["expires_at"]:
        return "valid"
    remaining = left(one["expires_at"])
    return f"valid for {remaining}" if remaining else "expired"


def _scope(one: Mapping[str, Any]) -> str:
    return f"{' '.join(one['scopes'])} in {one['team'] or 'every team'}"


@token.command()
@click.argument("token_id", metavar="ID")
@yes_option
@click.pass_obj
def revoke(options: Options, token_id: str, yes: bool) -> None:
    """Make a token worthless, from now on."""
    confirm(f"Revoke token '{token_id}'?", yes)
    with Client(options) as client:
        try:
            client.request("DELETE", f"{_PATH}/{segment(token_id)}")
        except Failure as failure:
            if (failure.problem or {}).get("status") == HTTPStatus.NOT_FOUND:
                failure.hint = failure.hint or "`headgate token list` shows the ids"
            raise
    click.echo(f"token {token_id} is revoked")
