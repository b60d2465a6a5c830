"""The engines of a database, and the settings of each connection.

SQLite uses WAL with ``synchronous = FULL`` (with NORMAL, a power loss can undo committed rows) and foreign
keys; ``trusted_schema`` is off, since the file may be hostile. The driver's own transactions are off, and
this module sends BEGIN: only then is DDL transactional, and with BEGIN IMMEDIATE a writer waits for its turn
instead of failing halfway. Readers open the file read-only.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import URL, Connection, Dialect, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import QueuePool

from archiver.errors import ConfigError, DatabaseError, install_command
from archiver.model.values import repr_without

C = TypeVar("C", bound=sqlite3.Connection)

BUSY_SECONDS = 10
NEW_SUFFIX = ".new"
"""The suffix of a database that is being created."""
SUFFIXES = ("", "-wal", "-shm", "-journal")
"""A SQLite file, and those that SQLite puts beside it and would apply to any file of that name."""
_POOLED_READERS = 8
"""About as many as read at once in a run: to open a connection takes longer than all reads of a page."""
_READER_CACHE_KIB = 65_536
"""Large, since blobs are looked up by hash, all over the file. Memory is used only as pages are read."""
_SMALL_CACHE_KIB = 2_048
"""For the readers of a process that writes or serves, where more is only memory: a run reads each account's
pages once, and a server has many readers."""
_WAL_INDEX_MISSING = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
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
WORKER = "archiver worker "
"""The beginning of the name under which a server knows the connections of a worker; its id follows."""
PG_LOCK_SECONDS = 30
"""How long a worker waits for the locks of others, in seconds."""
_PG_WORKER = (
    f"-c lock_timeout={PG_LOCK_SECONDS}s -c statement_timeout=60s -c idle_in_transaction_session_timeout=5s"
    " -c timezone=UTC"
)
"""The server ends the transaction of a worker that is stopped before the others give up waiting for it."""
_PG_COORDINATION = _PG_WORKER + " -c synchronous_commit=off"
"""A server that loses these rows in a crash has also ended the connections of all workers."""
PG_NETWORK = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "tcp_user_timeout": 60_000,
}
"""For libpq: an unreachable server is noticed within about a minute instead of hours."""
_PG_READ_ONLY = " -c default_transaction_read_only=on"
_PG_LOOK = """
SELECT pg_postmaster_start_time(), oid, to_regclass('archive')::oid FROM pg_database
WHERE datname = current_database()
"""
_PG_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
_SECRETS = ("password", "sslpassword", "passfile", "sslkey")


class Database(Struct, frozen=True):
    """The location of a database: a file, or a PostgreSQL URL. ``str()`` does not show the password."""

    path: Path | None = None
    url: URL | None = None

    def __repr__(self) -> str:
        return repr_without(self, "url")

    def __str__(self) -> str:
        if self.url is None:
            return str(self.path)
        return self.url.difference_update_query(_SECRETS).render_as_string(hide_password=True)


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


class ReadConnection(sqlite3.Connection):
    """A connection to a SQLite file that only reads."""

    opened_alone: tuple[Path, Sighting] | None = None
    """The file, and what was there, if it was opened without a WAL; see ``open_for_reading``."""

    def require_unchanged(self) -> None:
        """Raise DatabaseError if the file was written to since it was opened without a WAL.

        What was read from it since may be from two points in time.
        """
        if self.opened_alone is not None:
            path, before = self.opened_alone
            now = look_at_file(path)
            if now.database == before.database and now.written != before.written:
                raise DatabaseError(f"the database {path} was written to while it was read", "read it again")


def locate(database: str | Path) -> Database:
    """Return the Database at a path, or at the URL of a PostgreSQL database.

    Raises ConfigError for any other URL.
    """
    text = str(database)
    if isinstance(database, Path) or "://" not in text:
        return Database(path=Path(database).absolute())
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
    return Database(url=url.set(drivername="postgresql+psycopg"))


def create_writer(database: Database, *, foreign_keys: bool = True, worker: str | None = None) -> Engine:
    """Create an engine with one connection that may write.

    A SQLite file must exist; ``create_file`` makes one. ``worker``: the name of the connection, if it writes
    to PostgreSQL beside others.
    """
    if database.url is not None:
        options = _PG_OPTIONS if worker is None else _PG_WORKER
        return _create_postgresql(database.url, options, pool_size=1, max_overflow=0, name=worker)
    engine = _create_sqlite(lambda: _open_for_writing(database), pool_size=1, max_overflow=0)
    if not foreign_keys:  # a migration rebuilds tables, and checks the keys itself before it commits
        event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = OFF").close())
    event.listen(engine, "begin", lambda connection: _begin(connection, "BEGIN IMMEDIATE"))
    return engine


def create_coordinator(database: Database, worker: str, *, at_once: bool = False) -> Engine:
    """Create an engine for what workers tell each other, on PostgreSQL. ``worker``: as for a writer.

    ``at_once``: each statement is committed by itself.
    """
    assert database.url is not None
    return _create_postgresql(
        database.url, _PG_COORDINATION, pool_size=2, max_overflow=-1, name=worker, autocommit=at_once
    )


def create_reader(database: Database, *, of_writer: bool = False, is_lasting: bool = False) -> Engine:
    """Create an engine whose connections only read. Several threads may use it at once.

    ``is_lasting``: it is used for hours, and by many threads, so that the cache of each connection is small.

    ``of_writer``: this process writes too. Then a SQLite file is never opened without its WAL (see
    ``open_for_reading``), because the connection would not see what is written.
    """
    if database.url is not None:
        options = _PG_OPTIONS + _PG_READ_ONLY
        return _create_postgresql(database.url, options, pool_size=_POOLED_READERS, max_overflow=-1)
    path = database.path
    assert path is not None
    engine = _create_sqlite(
        lambda: (
            _open_read_only(path, cache=_SMALL_CACHE_KIB)
            if of_writer
            else open_for_reading(database, cache=_SMALL_CACHE_KIB if is_lasting else _READER_CACHE_KIB)
        ),
        pool_size=_POOLED_READERS,
        max_overflow=-1,
    )
    event.listen(engine, "begin", lambda connection: _begin(connection, "BEGIN"))
    return engine


def look_at(database: Database, connection: Connection) -> Sighting:
    """Return what is at the place of the database now. ``connection``: one that was just made, or used."""
    if database.path is not None:
        return look_at_file(database.path)
    return Sighting(tuple(connection.exec_driver_sql(_PG_LOOK).one()))


def look_at_file(path: Path) -> Sighting:
    """Return what is at the path of a SQLite file now."""
    file, *beside = (_status_of(place) for place in (path, f"{path}-wal", f"{path}-shm"))
    return Sighting(_identity(file), tuple(map(_identity, beside)), file and (file.st_size, file.st_mtime_ns))


def _status_of(path: Path | str) -> os.stat_result | None:
    """Return the status of a file; None for anything else, as a pipe, which would block whoever opens it."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return None if status is None else (status.st_dev, status.st_ino)


def require_unchanged(connection: Connection) -> None:
    """Do what ``ReadConnection.require_unchanged`` does, for a connection of a reader's engine."""
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        assert isinstance(driver, ReadConnection)
        driver.require_unchanged()


def open_for_reading(database: Database, *, cache: int = _READER_CACHE_KIB) -> ReadConnection:
    """Open a bare read-only connection to a SQLite file, with our settings. Raises sqlite3.Error.

    SQLite cannot open a WAL database if the index of the WAL is missing and cannot be created. If there is no
    WAL, the file is complete and is opened alone (``immutable``). Others may yet be able to write to it: call
    ``ReadConnection.require_unchanged`` after reading, and open it again when they have.
    """
    path = database.path
    assert path is not None
    before = look_at_file(path)
    try:
        return _open_read_only(path, cache=cache)
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF not in _WAL_INDEX_MISSING or not path.exists() or _has_wal(path):
            raise
    file_alone = _open_read_only(path, immutable=True, cache=cache)
    file_alone.opened_alone = path, before
    if not _has_wal(path):
        return file_alone
    file_alone.close()  # a run has just begun, and its WAL can be read
    return _open_read_only(path, cache=cache)


def create_file(path: Path, *, group_readable: bool = False) -> None:
    """Create an empty database file that only its owner can read, or also its group (``group_readable``).

    The mode does not depend on the umask, and SQLite gives the files beside it the same mode. Raises OSError;
    FileExistsError if the file exists.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.fchmod(descriptor, 0o640 if group_readable else 0o600)
    finally:
        os.close(descriptor)


def files_of(path: Path) -> list[Path]:
    """Return the paths of a SQLite file and of those beside it, in the order of ``SUFFIXES``."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES]


def checkpoint(engine: Engine) -> None:
    """Move the WAL of a SQLite file into the file, without waiting for readers.

    Raises sqlite3.Error if this fails. Closing the last connection also moves the WAL, but hides errors.
    """
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.execute("PRAGMA busy_timeout = 0").close()
        driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()


def scrub(database: Database) -> None:
    """Write all tables again, so that nothing is left of removed rows. Raises the errors of the driver.

    SQLite's VACUUM leaves no free pages; secure_delete fills with zeros what it does not use.
    """
    if database.url is not None:
        engine = _create_postgresql(
            database.url,
            f"{_PG_OPTIONS} -c statement_timeout=0",
            pool_size=1,
            max_overflow=0,
            autocommit=True,
        )
        try:
            with engine.connect() as connection:
                names = connection.exec_driver_sql(_PG_TABLES).scalars().all()
                connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {', '.join(names)}")
        finally:
            engine.dispose()
        return
    raw = _open_for_writing(database)
    try:
        raw.execute("PRAGMA secure_delete = ON").close()
        raw.execute("VACUUM").close()
        (is_busy, *_) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    finally:
        raw.close()
    if is_busy:
        raise DatabaseError(
            f"the database {database} still holds bytes of removed rows: another program is reading it",
            "end that program, and run this again",
        )


def sync(path: Path) -> None:
    """Flush a closed file and its directory to the disk. Raises OSError."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _open_read_only(path: Path, *, immutable: bool = False, cache: int = _READER_CACHE_KIB) -> ReadConnection:
    connection = _connect(f"{path.as_uri()}?mode=ro" + ("&immutable=1" if immutable else ""), ReadConnection)
    try:
        connection.execute("PRAGMA query_only = ON").close()
        connection.execute(f"PRAGMA cache_size = -{cache}").close()
        # The first read: SQLite opens the file only now.
        connection.execute("PRAGMA schema_version").close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _has_wal(path: Path) -> bool:
    return path.with_name(path.name + "-wal").exists()


def _open_for_writing(database: Database) -> sqlite3.Connection:
    assert database.path is not None
    connection = _connect(f"{database.path.as_uri()}?mode=rw", sqlite3.Connection)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        # A disk without shared memory (some network mounts): the older journal is as safe, but slower.
        connection.execute("PRAGMA journal_mode = DELETE")
    return connection


def _connect(uri: str, kind: type[C]) -> C:
    connection = sqlite3.connect(
        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS, factory=kind
    )
    try:
        for setting in _SETTINGS:
            connection.execute(setting).close()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _create_sqlite(creator: Callable[[], sqlite3.Connection], *, pool_size: int, max_overflow: int) -> Engine:
    return create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        hide_parameters=True,
    )


def _create_postgresql(
    url: URL,
    options: str,
    *,
    pool_size: int,
    max_overflow: int,
    name: str | None = None,
    autocommit: bool = False,
) -> Engine:
    # For the whole engine: to set it for each use of a connection costs more than it saves.
    isolation: dict[str, Any] = {"isolation_level": "AUTOCOMMIT"} if autocommit else {}
    try:
        engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=max_overflow,
            hide_parameters=True,
            use_native_hstore=False,  # otherwise each new connection looks up that type
            connect_args={"options": options, "application_name": name or "archiver", **PG_NETWORK},
            **isolation,
        )
    except ModuleNotFoundError as exc:
        raise DatabaseError(
            "PostgreSQL needs the driver psycopg", f"install it: {install_command('psycopg[binary]')}"
        ) from exc
    refuse_bytes(engine)
    return engine


def refuse_bytes(engine: Engine) -> None:
    """Make connections to PostgreSQL raise DatabaseError if they would get bytes in place of texts."""

    @event.listens_for(engine, "do_connect")
    def _(dialect: Dialect, _: object, args: list[Any], parameters: dict[str, Any]) -> Any:
        connection: Any = dialect.connect(*args, **parameters)
        if connection.info.parameter_status("client_encoding") != "SQL_ASCII":
            return connection
        connection.close()
        raise DatabaseError(
            f"the database {Database(url=engine.url)} has the encoding SQL_ASCII, which does not say what "
            "its texts are",
            "create one with createdb --encoding=UTF8 --template=template0, and name it in archive.database",
        )


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)
