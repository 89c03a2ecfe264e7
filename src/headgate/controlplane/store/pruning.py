"""Letting go of the past: old audit rows, and revisions beyond those to keep."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.store.tables import audit, revisions, teams


async def prune(connection: AsyncConnection, *, audit_days: int, revisions_keep: int) -> dict[str, int]:
    """Delete, and return how many rows of audit and revisions went.

    The state at the newest revision that goes can still be had by undoing all that came after it, so it
    becomes the floor of the team's history.
    """
    before = datetime.now(UTC) - timedelta(days=audit_days)
    audit_gone = (await connection.execute(delete(audit).where(audit.c.at < before))).rowcount
    gone = 0
    for record in (await connection.execute(select(teams.c.id, teams.c.revision, teams.c.history_floor))).all():
        floor = record.revision - max(revisions_keep, 1)
        if floor > record.history_floor:
            old = (revisions.c.team_id == record.id) & (revisions.c.number <= floor)
            gone += (await connection.execute(delete(revisions).where(old))).rowcount
            await connection.execute(update(teams).where(teams.c.id == record.id).values(history_floor=floor))
    return {"audit": audit_gone, "revisions": gone}
