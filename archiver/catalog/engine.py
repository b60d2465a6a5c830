"""The one engine factory: what every connection to the database is told before anything else.

SQLite: WAL with ``synchronous = FULL`` (with NORMAL a power loss takes acknowledged rows), foreign keys on, a hostile file not
trusted. The driver's own transaction handling is off and BEGIN is sent by us: only so is DDL transactional, and a writer's BEGIN
IMMEDIATE waits for its turn instead of failing half way. Readers open the file read-only.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from archiver.errors import ConfigError, DatabaseError, install_command

BUSY_SECONDS = 10
NEW = ".new"
"""Ends the name of a database that is being made."""
_READERS_KEPT = 4
_READERS_KIB = 65_536
"""Of pages that a reader may keep: a million blobs are looked up by their hashes, all over the file. Taken only as pages are read."""
_NO_INDEX = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_SETTINGS = (
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
)
_PG_OPTIONS = (
    "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s -c timezone=UTC"
)
PG_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "tcp_user_timeout": 60_000,
}
"""For libpq: a server that cannot be reached any more is noticed within a minute or so, not after hours."""
_PG_READ_ONLY = " -c default_transaction_read_only=on"
_SECRETS = ("password", "sslpassword", "passfile", "sslkey")


@dataclass(frozen=True, slots=True)
class Database:
    """Where the rows are: a file, or a PostgreSQL URL. ``str()`` is fit to be shown: no password."""

    path: Path | None = None
    url: URL | None = field(default=None, repr=False)

    def __str__(self) -> str:
        if self.url is None:
            return str(self.path)
        shown = self.url.difference_update_query(_SECRETS)
        return shown.render_as_string(hide_password=True)


def locate(database: str | Path) -> Database:
    """A path, or the URL of a PostgreSQL database, as a Database. Raises ConfigError for a URL of anything else."""
    text = str(database)
    if isinstance(database, Path) or "://" not in text:
        return Database(path=Path(database).absolute())
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigError(
            "archive.database is no URL that can be read"
        ) from None  # its text may hold a password
    if url.drivername not in ("postgresql", "postgresql+psycopg"):
        raise ConfigError(
            f"archive.database: {url.drivername} is not supported", "use a path, or postgresql+psycopg://"
        )
    return Database(url=url.set(drivername="postgresql+psycopg"))


def writer(database: Database, *, foreign_keys: bool = True) -> Engine:
    """An engine with one connection that may write. A missing SQLite file is an error: ``new_file`` makes one."""
    if database.url is not None:
        return _postgresql(database.url, _PG_OPTIONS, pool_size=1, max_overflow=0)
    engine = _sqlite(lambda: _open_for_writing(database), foreign_keys, pool_size=1, max_overflow=0)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def reader(database: Database) -> Engine:
    """An engine whose connections only read; several threads may use it at once."""
    if database.url is not None:
        options = _PG_OPTIONS + _PG_READ_ONLY
        return _postgresql(database.url, options, pool_size=_READERS_KEPT, max_overflow=-1)
    engine = _sqlite(lambda: open_for_reading(database), True, pool_size=_READERS_KEPT, max_overflow=-1)
    event.listen(engine, "begin", _begin)
    return engine


def open_for_reading(database: Database) -> sqlite3.Connection:
    """A bare read-only connection to the SQLite file, with our settings. Raises sqlite3.Error.

    A WAL database cannot be opened where the index of the WAL is not there and cannot be made. On a disk that is mounted read-only
    nobody can be writing, so the file alone (``immutable``) is the database. In a directory that only this user cannot write it is
    the last resort: if a run begins while such a connection is open, what it reads may be mixed of two moments.
    """
    path = database.path
    assert path is not None
    try:
        return _open_for_reading(path)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF not in _NO_INDEX or not path.exists() or _has_wal(path):
            raise
    alone = _open_for_reading(path, immutable=True)
    if not _has_wal(path):
        return alone
    alone.close()  # a run began just now: its WAL lets everybody in
    return _open_for_reading(path)


def _open_for_reading(path: Path, *, immutable: bool = False) -> sqlite3.Connection:
    connection = _connect(f"{path.as_uri()}?mode=ro" + ("&immutable=1" if immutable else ""))
    try:
        connection.execute("PRAGMA query_only = ON").close()
        connection.execute(f"PRAGMA cache_size = -{_READERS_KIB}").close()
        connection.execute(
            "PRAGMA schema_version"
        ).close()  # the first read: only now the file is opened in earnest
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _has_wal(path: Path) -> bool:
    return path.with_name(path.name + "-wal").exists()


def new_file(path: Path, *, group_readable: bool = False) -> None:
    """Make an empty database file that only its owner (and with ``group_readable`` its group) may read, whatever the umask.

    SQLite gives the same mode to what it puts beside the file. Raises OSError, FileExistsError if it is there.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.fchmod(descriptor, 0o640 if group_readable else 0o600)
    finally:
        os.close(descriptor)


def _open_for_writing(database: Database) -> sqlite3.Connection:
    assert database.path is not None
    connection = _connect(f"{database.path.as_uri()}?mode=rw")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        # A disk without shared memory (some network mounts): the old journal is as safe, and slower.
        connection.execute("PRAGMA journal_mode = DELETE")
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting).close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _sqlite(
    creator: Callable[[], sqlite3.Connection], foreign_keys: bool, *, pool_size: int, max_overflow: int
) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        hide_parameters=True,
    )
    if not foreign_keys:  # a migration rebuilds tables, and checks the keys itself before it commits
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = OFF").close())
    return engine


def _postgresql(url: URL, options: str, *, pool_size: int, max_overflow: int) -> Engine:
    try:
        return create_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            hide_parameters=True,
            use_native_hstore=False,  # else each connection asks whether there is such a type
            connect_args={"options": options, "application_name": "archiver", **PG_NETWORK},
        )
    except ModuleNotFoundError as exc:
        raise DatabaseError(
            "PostgreSQL needs the driver psycopg", f"install it: {install_command('psycopg[binary]')}"
        ) from exc


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def checkpoint(engine: Engine) -> None:
    """Move the WAL of a SQLite file into the file; a reader beside us keeps what it reads, and is not waited for.

    Raises sqlite3.Error where the disk refuses. Closing the last connection does the same, and keeps a refusal to itself.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 0").close()
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def sync(path: Path) -> None:
    """Make a closed file and its name survive a power loss. Raises OSError."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
