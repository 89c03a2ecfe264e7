"""An aiosqlite connection that goes to its thread once per statement instead of four times.

Opening a cursor, executing, fetching and closing are one errand there. A change of one route is a dozen
statements, and most of its time was spent on the way between the threads.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import aiosqlite


class _Result(NamedTuple):
    description: Any
    rows: list[Any]
    rowcount: int
    lastrowid: int | None


class QuickConnection(aiosqlite.Connection):
    """A connection to `file`, made in autocommit mode: transactions begin with BEGIN."""

    def __init__(self, file: str) -> None:
        # What a statement leaves is read from the event loop's thread, when the other one is idle.
        super().__init__(lambda: sqlite3.connect(file, isolation_level=None, check_same_thread=False), 64)
        self._thread.daemon = True

    def cursor(self) -> "QuickCursor":  # type: ignore[override]
        """A cursor; it needs neither to be awaited nor to be closed."""
        return QuickCursor(self)

    async def commit(self) -> None:
        """Commit, when there is something to commit."""
        if self.in_transaction:
            await super().commit()

    async def rollback(self) -> None:
        """Roll back, when there is something to roll back."""
        if self.in_transaction:
            await super().rollback()

    async def run(self, method: str, sql: str, parameters: Iterable[Any]) -> _Result:
        """Run `execute` or `executemany` in the connection's thread, and bring everything back."""
        result: _Result = await self._execute(_run, self._conn, method, sql, parameters)  # type: ignore[no-untyped-call]
        return result


def _run(connection: sqlite3.Connection, method: str, sql: str, parameters: Iterable[Any]) -> _Result:
    cursor = connection.cursor()
    try:
        statement: Callable[..., Any] = getattr(cursor, method)
        statement(sql, parameters)
        rows = cursor.fetchall() if cursor.description else []
        return _Result(cursor.description, rows, cursor.rowcount, cursor.lastrowid)
    finally:
        cursor.close()


class QuickCursor:
    """What SQLAlchemy needs of a cursor. Holds all rows as soon as it is executed."""

    def __init__(self, connection: QuickConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None
        self.arraysize = 1

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> Self:
        """Execute a statement."""
        return self._take(await self._connection.run("execute", sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> Self:
        """Execute a statement for each of the parameters."""
        return self._take(await self._connection.run("executemany", sql, parameters))

    def _take(self, result: _Result) -> Self:
        self.description, self._rows, self.rowcount, self.lastrowid = result
        return self

    async def fetchall(self) -> list[Any]:
        """The rows, once."""
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        """Forget the rows."""
        self._rows = []
