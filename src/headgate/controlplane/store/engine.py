"""Connections: what SQLite and PostgreSQL must be told so that both behave alike."""

import asyncio
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from headgate.controlplane.store.sqlite_connection import QuickConnection
from headgate.kit.controls.faults import InvalidArgument, Unavailable

BUSY_TIMEOUT_MS: Final = 10_000
DRIVERS: Final = ("sqlite+aiosqlite", "postgresql+asyncpg")
WRITES: Final = "headgate_writes"
"""Execution option: the transaction will write, so SQLite takes its lock at the start and never upgrades."""


def make_engine(url: str) -> AsyncEngine:
    """Return an engine for `url`. Raises InvalidArgument (`invalid_setting`) for another database.

    The parameters of statements are never logged or shown in errors: they are documents.
    """
    parsed = _parse(url)
    # Last in, first out: what is idle stays idle, and its cache small.
    options: dict[str, Any] = {
        "hide_parameters": True,
        "pool_size": 5,
        "max_overflow": 15,
        "pool_timeout": 30,
        "pool_use_lifo": True,
    }
    if parsed.drivername == "sqlite+aiosqlite":
        _make_room_for(parsed)

        async def connect() -> QuickConnection:
            connection = QuickConnection(_file(parsed))
            await connection
            return connection

        engine = create_async_engine(parsed, **options, async_creator=connect)
        event.listen(engine.sync_engine, "connect", _prepare_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
        return engine
    arguments = {"timeout": 10, "server_settings": {"application_name": "headgate", "jit": "off"}}
    return create_async_engine(parsed, **options, pool_pre_ping=True, connect_args=arguments)


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in DRIVERS or (_is_sqlite(parsed) and not _file(parsed)):
        # The URL itself may hold a password.
        raise InvalidArgument(
            "database_url is neither an SQLite file nor a PostgreSQL database.",
            code="invalid_setting",
            hint="Use sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST/NAME.",
        )
    return parsed


def _is_sqlite(url: URL) -> bool:
    return url.drivername.startswith("sqlite")


def _file(url: URL) -> str:
    return "" if url.database in (None, ":memory:") else str(url.database)


def _make_room_for(url: URL) -> None:
    directory = Path(_file(url)).parent
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise Unavailable(
            f"The directory of the database, {directory}, cannot be made: {error.strerror}.",
            code="state_unwritable",
            hint="Set HEADGATE_DATABASE_URL or HEADGATE_STATE_DIR to a place this user may write.",
        ) from error


async def prepare_file(engine: AsyncEngine) -> None:
    """Put an SQLite file into WAL mode, in which readers and the writer pass each other; it stays in it.

    Does nothing for PostgreSQL.
    """
    if _is_sqlite(engine.url):
        await asyncio.to_thread(_switch_to_wal, _file(engine.url))


def _switch_to_wal(file: str) -> None:
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                # SQLite does not wait here, lest two that switch at once wait for each other.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.001, 0.02))  # noqa: S311 - spreads the replicas, guards nothing
            else:
                return


def _prepare_sqlite(connection: Any, record: object) -> None:  # noqa: ARG001
    # FULL makes a commit survive a power cut, not only the end of the process.
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "journal_size_limit = 67108864",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # The driver must not open transactions by itself: it would do so too late, and not around DDL.
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
