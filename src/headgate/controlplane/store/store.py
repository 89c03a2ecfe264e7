"""The store: one door to the database, SQLite or PostgreSQL.

async with store.read(team) as view:      one consistent view of a team
async with store.edit(team) as edit:      the same, locked and one revision ahead
async with store.transaction() as c:      whatever belongs to no team's revision
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from typing import Final, Self

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from headgate.controlplane.model.rows import Row, RowChange
from headgate.controlplane.store.edit import TeamEdit
from headgate.controlplane.store.engine import WRITES, make_engine, prepare_file
from headgate.controlplane.store.errors import as_faults
from headgate.controlplane.store.history import changes_after
from headgate.controlplane.store.migrate import migrate
from headgate.controlplane.store.pruning import prune
from headgate.controlplane.store.tables import teams
from headgate.controlplane.store.view import TeamView
from headgate.controlplane.store.wakeups import PostgresListener, Wakeups

POLL_INTERVAL: Final = 1.0


class Store:
    """Where everything that must survive is kept. Open with `Store.open`, close with `close`."""

    def __init__(self, engine: AsyncEngine, poll_interval: float) -> None:
        self._engine = engine
        self._poll_interval = poll_interval
        self._wakeups = Wakeups()
        self._seen: dict[str, int] = {}
        self._listener: PostgresListener | None = None
        self._is_sqlite = engine.dialect.name == "sqlite"
        # SQLite has one writer at a time and lets the others poll; a queue is fair and needs no polling.
        self._writer: AbstractAsyncContextManager[None] = asyncio.Lock() if self._is_sqlite else nullcontext()

    @classmethod
    async def open(cls, url: str, *, poll_interval: float = POLL_INTERVAL) -> Self:
        """Connect, bring the schema up to date, and return the store.

        `url` is `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://...`; `poll_interval`, in seconds, is how
        often `wait_moved` looks for changes it was not told about. Raises Unavailable when there is no
        connection, InvalidArgument for another kind of database, FailedPrecondition when it belongs to a
        newer Headgate.
        """
        store = cls(make_engine(url), poll_interval)
        try:
            with as_faults(connecting=True):
                await prepare_file(store._engine)
                await migrate(store._engine)
                store._seen = await store.team_revisions()
        except BaseException:
            await store.close()
            raise
        if not store._is_sqlite:
            store._listener = PostgresListener(store._engine, store._wakeups)
            store._listener.start()
        return store

    async def close(self) -> None:
        """Close every connection."""
        if self._listener is not None:
            await self._listener.stop()
        await self._engine.dispose()

    async def ping(self) -> None:
        """Prove that the database answers; raises Unavailable."""
        async with self.reading() as connection:
            await connection.execute(text("SELECT 1"))

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A consistent view of the whole database."""
        async with self._connect() as connection:
            if not self._is_sqlite:
                await connection.execution_options(isolation_level="REPEATABLE READ")
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Writes that are kept together, or not at all when an exception leaves the block."""
        async with self._writer, self._connect() as connection:
            await connection.execution_options(**{WRITES: True})
            async with connection.begin():
                yield connection

    @asynccontextmanager
    async def read(self, team: str) -> AsyncIterator[TeamView]:
        """A consistent view of a team. Raises NotFound (`unknown_team`)."""
        async with self.reading() as connection:
            yield await TeamView.find(connection, team)

    @asynccontextmanager
    async def edit(self, team: str) -> AsyncIterator[TeamEdit]:
        """Lock a team and write. Without `edit.write` nothing is kept. Raises NotFound (`unknown_team`)."""
        async with self._writer, self._connect() as connection:
            await connection.execution_options(**{WRITES: True})
            transaction = await connection.begin()
            try:
                edit = await TeamEdit.lock(connection, team)
                yield edit
            except BaseException:
                await transaction.rollback()
                raise
            if not edit.written:
                await transaction.rollback()
                return
            await transaction.commit()
        self._wakeups.ring()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[AsyncConnection]:
        with as_faults():
            async with AsyncExitStack() as stack:
                with as_faults(connecting=True):
                    connection = await stack.enter_async_context(self._engine.connect())
                yield connection

    async def team_revisions(self) -> dict[str, int]:
        """Return every team's current revision."""
        async with self.reading() as connection:
            records = await connection.execute(select(teams.c.name, teams.c.revision))
            return {record.name: record.revision for record in records}

    async def load_team(self, team: str) -> tuple[int, list[Row]]:
        """Return the team's revision and all rows at it. Raises NotFound."""
        async with self.read(team) as view:
            return view.revision, await view.all_rows()

    async def changes_since(self, team: str, revision: int) -> tuple[int, list[RowChange]]:
        """Return the head revision and the row changes after `revision`, in order.

        Raises OutOfRange (code `history_pruned`) when the history does not reach back that far, or
        `revision` is past the head: load the team afresh.
        """
        async with self.read(team) as view:
            return view.revision, await changes_after(view, revision)

    async def wait_moved(self, timeout: float) -> None:
        """Return when some team may have moved, or after `timeout` seconds.

        For one waiter per store. What moves between two calls ends the second one at once.
        """
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if await self._wakeups.wait(min(left, self._poll_interval)):
                return
            if await self._moved():
                return

    async def _moved(self) -> bool:
        """Whether any revision differs from the last look: another process may have written."""
        now = await self.team_revisions()
        moved = now != self._seen
        self._seen = now
        return moved

    async def prune(self, *, audit_days: int, revisions_keep: int) -> dict[str, int]:
        """Delete audit rows older than `audit_days` and all but the newest `revisions_keep` revisions per team.

        Any kept revision can still be restored. Returns how many rows went: {"audit": n, "revisions": n}.
        """
        async with self.transaction() as connection:
            return await prune(connection, audit_days=audit_days, revisions_keep=revisions_keep)
