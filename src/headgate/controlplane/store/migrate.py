"""Bring the schema up to date, once, however many replicas start together."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from headgate.controlplane.store.engine import WRITES
from headgate.kit.controls.faults import FailedPrecondition

HEAD: Final = "0001"
"""The newest migration. Known without Alembic, which is loaded only when there is something to do."""
SCRIPTS: Final = Path(__file__).with_name("migrations")
_LOCK: Final = 0x4865_6164_6761_7465


async def migrate(engine: AsyncEngine) -> bool:
    """Upgrade to HEAD and say whether there was anything to do.

    Whoever comes second waits for the first: PostgreSQL's advisory lock, SQLite's write lock. Raises
    FailedPrecondition (`database_too_new`) when the database is ahead of this program.
    """
    async with engine.connect() as connection:
        if await connection.run_sync(_at_head):
            return False
    async with engine.connect() as connection:
        await connection.execution_options(**{WRITES: True})
        async with connection.begin():
            if connection.dialect.name == "postgresql":
                await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            if await connection.run_sync(_at_head):
                return False
            await connection.run_sync(_upgrade)
    return True


def _at_head(connection: Connection) -> bool:
    if not inspect(connection).has_table("alembic_version"):
        return False
    current = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if current is not None and str(current) > HEAD:
        raise FailedPrecondition(
            f"The database has schema {current}; this Headgate knows schemas up to {HEAD}.",
            code="database_too_new",
            hint="Start the Headgate that wrote it, or a newer one.",
        )
    return current == HEAD


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
