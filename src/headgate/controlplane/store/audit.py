"""The audit trail: who did what, when, through which surface, and whether they were let."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson
from sqlalchemy import ColumnElement, func, insert, select
from sqlalchemy.engine import Row as Record
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.store.tables import audit

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store

AuditOutcome = Literal["done", "refused"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act. `action` such as `apply`, `restore`, `token.create`, `authenticate`; `target` what it was done to.

    `team` is "" when it concerns no team; `revision` 0 when it made none; `detail` never holds secrets.
    """

    at: datetime
    actor: str
    surface: str
    action: str
    outcome: AuditOutcome = "done"
    team: str = ""
    target: str = ""
    revision: int = 0
    token_id: str = ""
    request_id: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries; what is left out does not narrow. `since` is included, `until` is not."""

    team: str | None = None
    actor: str = ""
    action: str = ""
    since: datetime | None = None
    until: datetime | None = None


async def insert_audit(connection: AsyncConnection, entry: AuditEntry) -> None:
    """Add an entry in the transaction of what it tells of."""
    await connection.execute(
        insert(audit),
        {
            "at": entry.at,
            "team": entry.team,
            "actor": entry.actor,
            "token_id": entry.token_id,
            "surface": entry.surface,
            "action": entry.action,
            "outcome": entry.outcome,
            "target": entry.target,
            "revision": entry.revision,
            "request_id": entry.request_id,
            "detail": orjson.dumps(entry.detail).decode(),
        },
    )


async def add_audit(store: "Store", entry: AuditEntry) -> None:
    """Add an entry in a transaction of its own."""
    async with store.transaction() as connection:
        await insert_audit(connection, entry)


async def audit_page(
    store: "Store", wanted: AuditFilter, *, limit: int, before: int | None
) -> tuple[list[AuditEntry], int]:
    """At most `limit` entries whose id is below `before`, newest first, and how many match in all."""
    conditions = _conditions(wanted)
    async with store.reading() as connection:
        counting = select(func.count()).select_from(audit).where(*conditions)
        total = (await connection.execute(counting)).scalar_one()
        query = select(audit).where(*conditions).order_by(audit.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(audit.c.id < before)
        return [_entry(record) for record in await connection.execute(query)], total


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.team is not None:
        conditions.append(audit.c.team == wanted.team)
    if wanted.actor:
        conditions.append(audit.c.actor == wanted.actor)
    if wanted.action:
        conditions.append(audit.c.action == wanted.action)
    if wanted.since is not None:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit.c.at < wanted.until)
    return conditions


def _entry(record: Record[Any]) -> AuditEntry:
    return AuditEntry(
        at=record.at,
        actor=record.actor,
        surface=record.surface,
        action=record.action,
        outcome=record.outcome,
        team=record.team,
        target=record.target,
        revision=record.revision,
        token_id=record.token_id,
        request_id=record.request_id,
        detail=orjson.loads(record.detail),
        id=record.id,
    )
