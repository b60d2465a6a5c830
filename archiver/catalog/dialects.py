"""The two databases that can hold the rows of an archive: here one is chosen, and errors of both are mapped.

``sqlite`` and ``postgresql`` have two classes each: ``Database`` is the place of the rows, and says how they
are opened, locked and copied. ``Dialect`` is what else differs, given a connection. Only the module of the
database that is used is loaded.

Messages never show a statement or a parameter: those hold what strangers wrote, and a URL may hold a
password.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct
from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError, StatementError

from archiver.errors import ArchiveDamaged, ConfigError, DatabaseError, DiskFull

if TYPE_CHECKING:
    from archiver.catalog import postgresql, sqlite

Database: TypeAlias = "sqlite.Database | postgresql.Database"
"""The place of a database. ``str()`` does not show the password. ``path``: None on a server."""
Dialect: TypeAlias = "sqlite.Dialect | postgresql.Dialect"

POOLED_READERS = 8
"""About as many as read at once in a run: to open a connection takes longer than all reads of a page."""
WORKER = "archiver worker "
"""The beginning of the name under which a server knows the connections of a worker; its id follows."""


class Sighting(Struct, frozen=True):
    """What was at the place of a database at one moment.

    ``database``: device and inode of the SQLite file; for PostgreSQL, when the server was started, and the
    numbers of the database and of its table ``archive``. None if there is no file. ``beside``: device and
    inode of the WAL and of its index. ``written``: size of the SQLite file, and when it was last written to.
    """

    database: tuple[object, ...] | None
    beside: tuple[tuple[int, int] | None, ...] = ()
    written: tuple[int, int] | None = None

    def is_other_than(self, earlier: Sighting) -> bool:
        """Return whether another database has taken the place of the earlier one, or a file of it is gone."""
        pairs = zip(earlier.beside, self.beside, strict=True)
        return self.database != earlier.database or any(was not in (None, now) for was, now in pairs)


class Trigger(Struct, frozen=True):
    """A trigger: ``when`` is its event, and for which rows; ``body`` its statements, without the last ";"."""

    name: str
    when: str
    body: str


def locate(database: str | Path) -> Database:
    """Return the Database at a path, or at the URL of a PostgreSQL database.

    Raises ConfigError for any other URL.
    """
    text = str(database)
    if isinstance(database, Path) or "://" not in text:
        from archiver.catalog import sqlite

        return sqlite.Database(Path(database).absolute())
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):  # not shown: the text may hold a password
        raise ConfigError(
            "invalid archive.database: not a URL", "use a path, or postgresql+psycopg://"
        ) from None
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(
            f"archive.database: {url.drivername} is not supported", "use a path, or postgresql+psycopg://"
        )
    from archiver.catalog import postgresql

    return postgresql.Database(url.set(drivername="postgresql+psycopg"))


def dialect_of(connection: Connection) -> Dialect:
    """Return what is special in the database of a connection."""
    return dialect_called(connection.dialect.name)


@cache
def dialect_called(name: str) -> Dialect:
    """Return what is special in the database that SQLAlchemy calls ``name``."""
    if name == "sqlite":
        from archiver.catalog import sqlite

        return sqlite.Dialect()
    from archiver.catalog import postgresql

    return postgresql.Dialect()


@contextmanager
def disposing(engine: Engine) -> Iterator[Engine]:
    """Close the connections of an engine when the block ends."""
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def map_errors(database: Database) -> Iterator[None]:
    """Raise errors of SQLAlchemy, the driver and the operating system as DatabaseError or DiskFull."""
    try:
        yield
    except Exception as exc:
        mapped = to_archiver_error(exc, database)
        if mapped is exc:
            raise
        raise mapped from exc


@contextmanager
def map_read_errors(database: Database) -> Iterator[None]:
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


def to_archiver_error(exc: BaseException, database: Database) -> BaseException:
    """Return the exception to raise in place of ``exc``.

    A value that no column takes (a naive time) is a bug of the caller: that exception is returned unchanged.
    """
    if isinstance(exc, StatementError) and not isinstance(exc, DBAPIError):
        return exc.orig or exc
    cause = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    if mapped := database.map_error(cause):
        return mapped
    if isinstance(cause, OSError):
        if cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return disk_full(database)
        return DatabaseError(f"the database {database} cannot be used: {cause.strerror}")
    return to_database_error(cause, database) if isinstance(exc, SQLAlchemyError) else exc


def to_database_error(cause: BaseException, database: Database) -> DatabaseError:
    """Return an error with the first line of a message: those that follow quote the statement."""
    return DatabaseError(f"the database {database}: {str(cause).partition(chr(10))[0].strip()}")


def disk_full(database: Database) -> DiskFull:
    """Return the error for a database that cannot grow."""
    return DiskFull(f"the disk of the database {database} is full", "free some space, then run again")


def is_connection_lost(exc: BaseException) -> bool:
    """Return whether the connection to a server ended, as opposed to an error sent over it."""
    return isinstance(exc, DBAPIError) and exc.connection_invalidated
