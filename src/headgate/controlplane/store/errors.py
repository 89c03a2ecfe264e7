"""What the database says when it cannot, in the words of the fault tree.

SQLite full, PostgreSQL disk_full          ResourceExhausted  storage_full
read-only, busy, I/O error, connection     Unavailable        storage_unavailable (retry_after)
deadlock, serialisation, constraint race   Aborted            conflict
corrupt, not a database                    DataLoss           storage_damaged
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from headgate.kit.controls.faults import Aborted, DataLoss, Fault, Internal, ResourceExhausted, Unavailable

RETRY_AFTER: Final = 1.0
_SQLITE_FULL: Final = {sqlite3.SQLITE_FULL}
_SQLITE_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_POSTGRES_FULL: Final = {"53100"}
_POSTGRES_RACE: Final = {"40001", "40P01", "55P03"}
_POSTGRES_DAMAGED: Final = {"XX001", "XX002"}
_POSTGRES_AWAY: Final = ("08", "53", "57", "58", "25006", "28", "3D")


def fault_of(error: SQLAlchemyError | sqlite3.Error | OSError) -> Fault:
    """The fault that a database error means."""
    if isinstance(error, PoolTimeout):
        return _away("every connection to the database is in use", error)
    if isinstance(error, DBAPIError):
        return _of_driver(error)
    if isinstance(error, SQLAlchemyError):
        return Internal("The store failed.", code="storage_defect", internal=repr(error))
    if isinstance(error, sqlite3.Error):
        return _of_sqlite(error)
    return _away("the database cannot be reached", error)


def _of_driver(error: DBAPIError) -> Fault:
    driver = _innermost(error)
    sqlstate = str(getattr(driver, "sqlstate", "") or "")
    if isinstance(driver, sqlite3.Error):
        return _of_sqlite(driver)
    if sqlstate in _POSTGRES_FULL:
        return _full(error)
    if sqlstate in _POSTGRES_RACE or isinstance(error, IntegrityError):
        return _race(error)
    if sqlstate in _POSTGRES_DAMAGED:
        return _damaged(error)
    if error.connection_invalidated or sqlstate.startswith(_POSTGRES_AWAY) or not sqlstate:
        return _away("the database does not answer", error)
    return Internal("The store failed.", code="storage_defect", internal=_said(error))


def _innermost(error: DBAPIError) -> BaseException | None:
    """The driver's own exception: SQLAlchemy's asyncpg adapter wraps it once more."""
    original = error.orig
    cause = getattr(original, "__cause__", None)
    return cause if getattr(cause, "sqlstate", None) or isinstance(cause, sqlite3.Error) else original


def _of_sqlite(error: sqlite3.Error) -> Fault:
    # Errors the driver raises on its own account carry no code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _SQLITE_FULL:
        return _full(error)
    if code in _SQLITE_DAMAGED:
        return _damaged(error)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return _race(error)
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return _away("the database is busy", error)
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}:
        return _away("the database file cannot be read or written", error)
    return Internal("The store failed.", code="storage_defect", internal=_said(error))


def _full(error: BaseException) -> Fault:
    return ResourceExhausted(
        "The disk that holds the database is full; nothing was changed.",
        code="storage_full",
        hint="Free some space and try again. Data planes keep what they run.",
        internal=_said(error),
    )


def _race(error: BaseException) -> Fault:
    return Aborted(
        "Another change came between; nothing was changed.",
        code="conflict",
        hint="Read again and retry.",
        internal=_said(error),
    )


def _damaged(error: BaseException) -> Fault:
    return DataLoss(
        "The database is damaged.",
        code="storage_damaged",
        hint="Restore it from a backup.",
        internal=_said(error),
    )


def _away(what: str, error: BaseException) -> Fault:
    return Unavailable(
        f"Not now: {what}.",
        code="storage_unavailable",
        # A connection lost while committing leaves open whether it was kept.
        hint="Try again shortly; when you were changing something, look first whether it was done.",
        retry_after=RETRY_AFTER,
        internal=_said(error),
    )


def _said(error: BaseException) -> str:
    """The error without the statement's parameters, which may be documents."""
    driver = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(driver).__name__}: {driver}"


@contextmanager
def as_faults(*, connecting: bool = False) -> Iterator[None]:
    """Turn the database's errors into faults; let everything else pass.

    While `connecting`, every error of the operating system is the database's: asyncpg lets them through.
    """
    try:
        yield
    except Fault:
        raise
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        if isinstance(error, OSError) and not (connecting or isinstance(error, ConnectionError)):
            raise
        raise fault_of(error) from error
