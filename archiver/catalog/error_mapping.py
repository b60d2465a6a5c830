"""Map errors of SQLAlchemy, of the two drivers and of the operating system to ArchiverError.

Messages never show a statement or a parameter: those hold what strangers wrote, and a URL may hold a
password.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError, StatementError

from archiver.catalog.sqlite_copy import restore_hint
from archiver.errors import ArchiveDamaged, ArchiverError, DatabaseError, DiskFull

_SQLITE = {
    sqlite3.SQLITE_BUSY: ("is locked by another program", "close what writes to it, then run again"),
    sqlite3.SQLITE_LOCKED: ("is locked by another program", "close what writes to it, then run again"),
    sqlite3.SQLITE_CORRUPT: ("is damaged", ""),
    sqlite3.SQLITE_NOTADB: ("is not a SQLite database, or its header is damaged", ""),
    sqlite3.SQLITE_READONLY: ("cannot be written", "check its owner, its mode and the mount"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "check its owner, its mode and the mount"),
    sqlite3.SQLITE_PERM: ("cannot be opened", "check its owner, its mode and the mount"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written: the disk reports an error", "check the disk"),
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_SQLITE_ALSO_FULL = {sqlite3.SQLITE_IOERR_SHMSIZE}  # the index of the WAL cannot grow
_SQLITE_REFUSED = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}
_PG_REFUSED = {"22", "23", "42", "54", "P0"}  # data, constraints, names, limits, RAISE
_PG_DISK_FULL = "53100"
_PG_LOCKED = "55P03"
_PG_DEADLOCK = "40P01"


@contextmanager
def map_errors(database: str) -> Iterator[None]:
    """Raise errors of the block as DatabaseError or DiskFull about ``database``, a text without secrets."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
        raise to_archiver_error(exc, database) from exc


@contextmanager
def map_read_errors(database: str) -> Iterator[None]:
    """Raise errors of a block that reads rows: as ``map_errors``, and ArchiveDamaged for odd values.

    An archive may be a stranger's, or another program may have changed it: then a time, a hash or a word for
    a reason is none that archiver writes.
    """
    try:
        with map_errors(database):
            yield
    except (ValueError, KeyError, OverflowError) as exc:
        if isinstance(exc.__cause__, SQLAlchemyError):  # a value of the caller that no column takes
            raise
        raise ArchiveDamaged(
            f"a row of the database {database} cannot be read: {type(exc).__name__}: {exc}",
            "something else has changed it: archiver verify --read-data compares it with the journal",
        ) from exc


def is_connection_lost(exc: BaseException) -> bool:
    """Return whether the connection to PostgreSQL ended, as opposed to an error sent over it."""
    return isinstance(exc, DBAPIError) and exc.connection_invalidated


def is_deadlock(exc: BaseException) -> bool:
    """Return whether PostgreSQL ended a transaction because others waited for it, and it for them."""
    return isinstance(exc, DBAPIError) and exc.orig is not None and _sqlstate(exc.orig) == _PG_DEADLOCK


def is_refused(exc: DBAPIError) -> bool:
    """Return whether a healthy database refuses a value or statement, and would refuse it again.

    False if it is locked, full, damaged, short of memory, shutting down, or gone.
    """
    if isinstance(exc.orig, sqlite3.Error):
        return getattr(exc.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE_REFUSED
    state = _sqlstate(exc.orig) if exc.orig is not None else None
    return isinstance(exc, DataError) if state is None else state[:2] in _PG_REFUSED


def to_archiver_error(exc: BaseException, database: str) -> BaseException:
    """Return the exception to raise in place of ``exc``.

    A value that no column takes (a naive time) is a bug of the caller: that exception is returned unchanged.
    """
    if isinstance(exc, StatementError) and not isinstance(exc, DBAPIError):
        return exc.orig or exc
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if isinstance(cause, sqlite3.Error):
        return _map_sqlite(cause, database)
    if isinstance(cause, OSError):
        return _map_os_error(cause, database)
    if isinstance(exc, SQLAlchemyError) or type(cause).__module__.startswith("psycopg."):
        return _map_postgresql(cause, database)
    return exc


def _map_sqlite(cause: sqlite3.Error, database: str) -> ArchiverError:
    extended = getattr(cause, "sqlite_errorcode", 0)
    code = extended & 0xFF  # the rest of an extended code is detail
    if code == sqlite3.SQLITE_FULL or extended in _SQLITE_ALSO_FULL:
        return _disk_full(database)
    text, hint = _SQLITE.get(code, (f"reports an error: {cause}", ""))
    if code in _DAMAGE:
        hint = restore_hint(database)
    return DatabaseError(f"the database {database} {text}", hint)


def _map_os_error(cause: OSError, database: str) -> ArchiverError:
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        return _disk_full(database)
    return DatabaseError(f"the database {database} cannot be used: {cause.strerror}")


def _map_postgresql(cause: BaseException, database: str) -> ArchiverError:
    state = _sqlstate(cause)
    if state == _PG_DISK_FULL:
        return _disk_full(database)
    if state == _PG_LOCKED:
        return DatabaseError(f"the database {database} is locked by another program")
    # Only the first line: those that follow quote the statement.
    return DatabaseError(f"the database {database}: {str(cause).partition(chr(10))[0].strip()}")


def _disk_full(database: str) -> DiskFull:
    return DiskFull(f"the disk of the database {database} is full", "free some space, then run again")


def _sqlstate(cause: BaseException) -> str | None:
    state = getattr(cause, "sqlstate", None)
    return state if isinstance(state, str) else None
