"""The schema comes up by itself, once, and is the one the tables say."""

import asyncio
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from headgate.controlplane.store.migrate import HEAD, SCRIPTS
from headgate.controlplane.store.store import Store
from headgate.controlplane.store.tables import metadata
from headgate.kit.controls.faults import FailedPrecondition
from headgate.testing.postgres import Postgres


async def test_migrations_build_the_tables(store: Store) -> None:
    """The migrations make exactly the schema that the table definitions describe."""
    async with store.reading() as connection:
        difference = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
        )
    assert difference == []


def test_head_is_the_newest_migration() -> None:
    """The head known without Alembic is the one Alembic finds."""
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
async def test_replicas_starting_together_migrate_once(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Replicas that start at once on an empty database all come up, on one schema."""
    url = f"sqlite+aiosqlite:///{tmp_path}/new.db"
    if kind == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.url(server.create_database())
    stores = await asyncio.gather(*(Store.open(url) for _ in range(8)))
    try:
        assert [await store.team_revisions() for store in stores] == [{}] * 8
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_a_newer_database_is_refused(database_url: str) -> None:
    """A database that a newer Headgate wrote is left alone."""
    store = await Store.open(database_url)
    async with store.transaction() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await store.close()
    with pytest.raises(FailedPrecondition) as refused:
        await Store.open(database_url)
    assert refused.value.code == "database_too_new"
