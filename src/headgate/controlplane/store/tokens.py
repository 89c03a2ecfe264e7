"""API tokens as they are kept: a hash, never the token."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.engine import Row as Record
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.store.audit import AuditEntry, insert_audit
from headgate.controlplane.store.tables import teams, tokens
from headgate.controlplane.store.teams import add_team
from headgate.kit.controls.faults import NotFound

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A token. `hash` is the SHA-256 of its plaintext in hexadecimal; `team` None acts on every team."""

    id: str
    name: str
    team: str | None
    hash: str = field(repr=False)
    scopes: Sequence[str]
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


async def insert_token(store: "Store", token: TokenRecord, entry: AuditEntry) -> None:
    """Keep a new token. Raises NotFound (`unknown_team`)."""
    async with store.transaction() as connection:
        await _add(connection, token)
        await insert_audit(connection, entry)


async def insert_first(store: "Store", team: str, token: TokenRecord, entry: AuditEntry) -> bool:
    """Make the first team and the first token, unless there is a team or a token, and say whether it did.

    Raises Aborted (`conflict`) when another replica did so at the same moment.
    """
    async with store.transaction() as connection:
        for table in (teams, tokens):
            if (await connection.execute(select(table.c.name).limit(1))).first() is not None:
                return False
        await add_team(connection, team, entry)
        await _add(connection, token)
        return True


async def _add(connection: AsyncConnection, token: TokenRecord) -> None:
    team_id = None
    if token.team is not None:
        team_id = (await connection.execute(select(teams.c.id).where(teams.c.name == token.team))).scalar()
        if team_id is None:
            raise NotFound(f"There is no team '{token.team}'.", code="unknown_team")
    await connection.execute(
        insert(tokens),
        {
            "id": token.id,
            "name": token.name,
            "team_id": team_id,
            "hash": token.hash,
            "scopes": orjson.dumps(list(token.scopes)).decode(),
            "created_at": token.created_at,
            "created_by": token.created_by,
            "expires_at": token.expires_at,
        },
    )


async def find_token(store: "Store", *, token_id: str = "", hash_: str = "") -> TokenRecord | None:
    """The token with this id, or with this hash."""
    query = _known().where(tokens.c.id == token_id if token_id else tokens.c.hash == hash_)
    async with store.reading() as connection:
        record = (await connection.execute(query)).first()
        return None if record is None else _token(record)


async def token_page(
    store: "Store", *, team: str | None, include_revoked: bool, limit: int, after: tuple[datetime, str] | None
) -> tuple[list[TokenRecord], int]:
    """At most `limit` tokens made before `after` (time, id), newest first, and how many match in all."""
    conditions = [] if team is None else [teams.c.name == team]
    if not include_revoked:
        conditions.append(tokens.c.revoked_at.is_(None))
    query = _known().where(*conditions).order_by(tokens.c.created_at.desc(), tokens.c.id.desc()).limit(limit)
    if after is not None:
        at, token_id = after
        same = (tokens.c.created_at == at) & (tokens.c.id < token_id)
        query = query.where((tokens.c.created_at < at) | same)
    async with store.reading() as connection:
        counting = select(func.count()).select_from(tokens.outerjoin(teams)).where(*conditions)
        total = (await connection.execute(counting)).scalar_one()
        return [_token(record) for record in await connection.execute(query)], total


async def revoke_token(store: "Store", token_id: str, entry: AuditEntry) -> TokenRecord | None:
    """Mark a token as revoked at the time of the entry, once, and return it; None when there is none."""
    statement = update(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    async with store.transaction() as connection:
        if (await connection.execute(statement.values(revoked_at=entry.at))).rowcount:
            await insert_audit(connection, entry)
        record = (await connection.execute(_known().where(tokens.c.id == token_id))).first()
        return None if record is None else _token(record)


async def touch_token(store: "Store", token_id: str, at: datetime, *, unless_within: timedelta) -> None:
    """Note that a token was used, unless that was noted a moment ago."""
    stale = tokens.c.last_used_at.is_(None) | (tokens.c.last_used_at <= at - unless_within)
    async with store.transaction() as connection:
        await connection.execute(update(tokens).where(tokens.c.id == token_id, stale).values(last_used_at=at))


def _known() -> Select[Any]:
    return select(tokens, teams.c.name.label("team")).select_from(tokens.outerjoin(teams))


def _token(record: Record[Any]) -> TokenRecord:
    return TokenRecord(
        id=record.id,
        name=record.name,
        team=record.team,
        hash=record.hash,
        scopes=tuple(orjson.loads(record.scopes)),
        created_at=record.created_at,
        created_by=record.created_by,
        expires_at=record.expires_at,
        revoked_at=record.revoked_at,
        last_used_at=record.last_used_at,
    )
