"""A database that cannot is a fault that says so, and nothing is half-written."""

import asyncio
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from headgate.controlplane.core.changes import Actor, Change
from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.store.errors import as_faults
from headgate.controlplane.store.store import Store
from headgate.kit.controls.faults import Fault, Internal, InvalidArgument, ResourceExhausted, Unavailable
from headgate.testing.postgres import Postgres

ME = Actor("me", "test")


def _resources(store: Store) -> Resources:
    return Resources(store, preflight=None, secrets=SecretBox(bytes(32)))


def _many(count: int) -> list[Change]:
    """Creates of clusters with long documents: megabytes in all."""
    endpoints = [{"address": "127.0.0.1", "port": port} for port in range(1, 500)]
    return [Change("create", "cluster", f"c{number}", {"endpoints": endpoints}) for number in range(count)]


def _limit_pages(connection: Any, limit: dict[str, int]) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA max_page_count = {limit['pages']}")
    cursor.close()


async def test_a_full_disk_refuses_and_keeps_what_there_is(sqlite_store: Store) -> None:
    """When the disk is full, the change is refused whole, reads go on, and writes too once there is room."""
    await Teams(sqlite_store).create(ME, "t")
    resources = _resources(sqlite_store)
    await resources.apply(ME, "t", [Change("create", "cluster", "old", {})])
    limit = {"pages": 300}
    listening = (sqlite_store._engine.sync_engine, "checkout", lambda c, *_: _limit_pages(c, limit))
    event.listen(*listening)
    with pytest.raises(ResourceExhausted) as refused:
        await resources.apply(ME, "t", _many(100))
    assert refused.value.code == "storage_full"
    assert refused.value.hint
    assert (await resources.list("t", "cluster")).total == 1
    assert await sqlite_store.team_revisions() == {"t": 1}
    assert (await resources.revisions("t")).total == 1
    limit["pages"] = 1_000_000
    assert (await resources.apply(ME, "t", _many(100))).revision == 2


async def test_a_database_that_may_not_be_written_is_unavailable(sqlite_store: Store) -> None:
    """On a read-only database changes are Unavailable and reads go on."""
    await Teams(sqlite_store).create(ME, "t")

    def forbid(connection: Any, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    event.listen(sqlite_store._engine.sync_engine, "checkout", forbid)
    with pytest.raises(Unavailable) as refused:
        await _resources(sqlite_store).apply(ME, "t", [Change("create", "cluster", "a", {})])
    assert refused.value.retry_after
    assert await sqlite_store.team_revisions() == {"t": 0}


async def test_a_database_held_by_another_is_unavailable(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process keeps the write lock for too long, the change is Unavailable, to be tried again."""
    await Teams(sqlite_store).create(ME, "t")

    def impatient(connection: Any, *_: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA busy_timeout = 50")
        cursor.close()

    event.listen(sqlite_store._engine.sync_engine, "checkout", impatient)
    holder = sqlite3.connect(tmp_path / "headgate.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(Unavailable) as refused:
            await _resources(sqlite_store).apply(ME, "t", [Change("create", "cluster", "a", {})])
        assert (refused.value.code, refused.value.retry_after) == ("storage_unavailable", 1.0)
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert (await _resources(sqlite_store).apply(ME, "t", [Change("create", "cluster", "a", {})])).revision == 1


async def _lose_the_connection(store: Store, postgres: Postgres, database: str) -> None:
    async with store.edit("t") as edit:
        postgres.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            database=database,
        )
        await edit.all_rows()


async def test_a_lost_connection_is_unavailable_and_comes_back(postgres: Postgres, postgres_url: str) -> None:
    """When PostgreSQL drops the connection in the middle of a change, nothing is kept, and the next change works."""
    store = await Store.open(postgres_url)
    try:
        await Teams(store).create(ME, "t")
        with pytest.raises(Unavailable) as refused:
            await _lose_the_connection(store, postgres, make_url(postgres_url).database or "")
        assert refused.value.retry_after
        assert await store.team_revisions() == {"t": 0}
        assert (await _resources(store).apply(ME, "t", [Change("create", "cluster", "a", {})])).revision == 1
    finally:
        await store.close()


@pytest.mark.parametrize("where", ["/?host=/nowhere/at/all", "127.0.0.1:1/x"])
async def test_a_database_that_does_not_answer_is_unavailable(where: str) -> None:
    """Without a server to connect to, opening the store is Unavailable."""
    pytest.importorskip("asyncpg")
    with pytest.raises(Unavailable):
        await Store.open(f"postgresql+asyncpg://me:hunter2@{where}")


@pytest.mark.parametrize(
    "url", ["mysql://x", "sqlite+aiosqlite://", "sqlite:///x.db", "postgresql://me:hunter2@h/d", "nonsense", ""]
)
async def test_another_kind_of_database_is_refused(url: str) -> None:
    """Only an SQLite file and PostgreSQL will do; the answer does not repeat the URL's password."""
    with pytest.raises(InvalidArgument) as refused:
        await Store.open(url)
    assert "hunter2" not in f"{refused.value} {refused.value.hint}"


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is no database, or a place that cannot be written, is told as such."""
    file = tmp_path / "x.db"
    file.write_bytes(b"not a database at all" * 1000)
    with pytest.raises(Fault) as refused:
        await Store.open(f"sqlite+aiosqlite:///{file}")
    assert refused.value.code == "storage_damaged"
    with pytest.raises(Fault) as refused:
        await Store.open(f"sqlite+aiosqlite:///{file}/below/y.db")
    assert refused.value.code == "state_unwritable"


class _Driver(Exception):  # noqa: N818
    def __init__(self, sqlstate: str) -> None:
        super().__init__("driver says so")
        self.sqlstate = sqlstate


def _postgres_error(sqlstate: str, kind: type[DBAPIError] = DBAPIError) -> DBAPIError:
    return kind("SELECT secret", {"secret": "s3cret"}, _Driver(sqlstate))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (_postgres_error("53100"), "storage_full"),
        (_postgres_error("53300"), "storage_unavailable"),
        (_postgres_error("57P01"), "storage_unavailable"),
        (_postgres_error("08006"), "storage_unavailable"),
        (_postgres_error("25006"), "storage_unavailable"),
        (_postgres_error("", InterfaceError), "storage_unavailable"),
        (_postgres_error("40001"), "conflict"),
        (_postgres_error("40P01"), "conflict"),
        (_postgres_error("23505", IntegrityError), "conflict"),
        (_postgres_error("XX001"), "storage_damaged"),
        (_postgres_error("42601"), "storage_defect"),
        (InvalidRequestError("wrong"), "storage_defect"),
        (PoolTimeout("none left"), "storage_unavailable"),
        (ConnectionResetError("gone"), "storage_unavailable"),
        (sqlite3.OperationalError("odd"), "storage_defect"),
    ],
)
def test_every_error_of_a_driver_is_a_fault(error: Exception, code: str) -> None:
    """What a driver raises becomes a fault with a code, and shows neither statement nor values."""
    with pytest.raises(Fault) as refused, as_faults():
        raise error
    assert refused.value.code == code
    assert "s3cret" not in f"{refused.value} {refused.value.internal}"


@pytest.mark.parametrize("error", [FileNotFoundError("mine"), ValueError("mine"), KeyError("mine")])
def test_what_is_not_the_databases_passes(error: Exception) -> None:
    """Errors of the code between the statements are left alone."""
    with pytest.raises(type(error)), as_faults():
        raise error


async def test_an_abandoned_change_leaves_the_lock(store: Store) -> None:
    """A change that is cancelled half-way keeps nothing and holds nobody up."""
    await Teams(store).create(ME, "t")
    inside = SimpleNamespace(reached=asyncio.Event())

    async def stuck() -> None:
        async with store.edit("t") as edit:
            await edit.connection.execute(text("UPDATE teams SET revision = 99"))
            inside.reached.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stuck())
    await inside.reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.team_revisions() == {"t": 0}
    outcome = await asyncio.wait_for(_resources(store).apply(ME, "t", [Change("create", "cluster", "a", {})]), 20)
    assert outcome.revision == 1


async def test_a_defect_is_internal(store: Store) -> None:
    """A statement that is wrong is our defect, told without its text."""
    with pytest.raises(Internal) as refused:
        async with store.reading() as connection:
            await connection.execute(text("SELECT nothing_of_the_kind FROM nowhere"))
    assert refused.value.code == "storage_defect"
    assert "nowhere" not in refused.value.message
