"""The tenants themselves."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from headgate.controlplane.store.audit import AuditEntry, insert_audit
from headgate.controlplane.store.tables import teams

if TYPE_CHECKING:
    from headgate.controlplane.store.store import Store


@dataclass(frozen=True, slots=True)
class TeamRecord:
    """A team and its newest revision."""

    name: str
    revision: int
    created_at: datetime


async def insert_team(store: "Store", name: str, entry: AuditEntry) -> None:
    """Make a team at revision 0. Raises Aborted (`conflict`) when the name is taken."""
    async with store.transaction() as connection:
        await add_team(connection, name, entry)


async def add_team(connection: AsyncConnection, name: str, entry: AuditEntry) -> None:
    """Make a team within a transaction."""
    await connection.execute(insert(teams), {"name": name, "revision": 0, "history_floor": 0, "created_at": entry.at})
    await insert_audit(connection, entry)


async def list_teams(store: "Store") -> list[TeamRecord]:
    """All teams by name."""
    query = select(teams.c.name, teams.c.revision, teams.c.created_at).order_by(teams.c.name)
    async with store.reading() as connection:
        return [TeamRecord(*record) for record in await connection.execute(query)]


async def find_team(store: "Store", name: str) -> TeamRecord | None:
    """One team, or None."""
    query = select(teams.c.name, teams.c.revision, teams.c.created_at).where(teams.c.name == name)
    async with store.reading() as connection:
        record = (await connection.execute(query)).first()
        return None if record is None else TeamRecord(*record)
