"""SQLite: the file of an archive's rows, and what only SQLite does.

It uses WAL with ``synchronous = FULL`` (with NORMAL, a power loss can undo committed rows) and foreign keys;
``trusted_schema`` is off, since the file may be hostile. The driver's own transactions are off, and this
module sends BEGIN: only then is DDL transactional, and with BEGIN IMMEDIATE a writer waits for its turn
instead of failing halfway. Readers open the file read-only.
"""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import stat
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from msgspec import Struct
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Table,
    Text,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool
from sqlalchemy.types import TypeEngine

from archiver.catalog import own_schema
from archiver.catalog.column_types import require_number, time_text
from archiver.catalog.dialects import POOLED_READERS, Sighting, Trigger, disk_full
from archiver.catalog.own_schema import OF_JOURNAL
from archiver.durable import destination_errors, storage_errors
from archiver.errors import ArchiverError, DatabaseError, DiskFull, UsageError
from archiver.model.identity import utcnow
from archiver.queries.parameters import parameter_names

if TYPE_CHECKING:
    from archiver.catalog.adhoc_query import RawRows
    from archiver.catalog.postgresql import WriterLock
    from archiver.model.journal_entries import RowValue
    from archiver.model.query_results import Value

C = TypeVar("C", bound=sqlite3.Connection)

APPLICATION_ID = 0x41524348
"""\"ARCH\" in the header of our files; the first revision sets it."""
HEADER_BYTES = 100
"""The size of the header of a SQLite file."""
BUSY_SECONDS = 10
SUFFIXES = ("", "-wal", "-shm", "-journal")
"""A SQLite file, and those that SQLite puts beside it and would apply to any file of that name."""
RESTORE_HINT = "move it away and run archiver db rebuild, or restore a copy; the blobs are untouched"
_NEW_SUFFIX = ".new"
"""The suffix of a database that is being created."""
_REBUILD_SUFFIX = ".rebuild"
"""The suffix of a file that is being rebuilt, beside its final name."""
_PART_SUFFIX = ".part"
"""The suffix of an unfinished copy. Its name also begins with a dot."""
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
_LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_ERRORS = {
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
_ALSO_FULL = {sqlite3.SQLITE_IOERR_SHMSIZE}  # the index of the WAL cannot grow
_REFUSED = {
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}
# The number of a transaction: the position that ``Dialect.seal_changes`` will give it at its end.
_TXN = "(SELECT coalesce(max(seq), 0) + 1 FROM sqlite_sequence WHERE name = 'journal_commits')"
# Plain SQL, not SQLAlchemy's expressions: every transaction executes it.
_SEAL = (
    "INSERT INTO journal_commits (txn, at, run_id) SELECT n.txn, ?,"
    " (SELECT CASE WHEN finished_at IS NULL THEN id END FROM runs ORDER BY id DESC LIMIT 1) FROM"
    " (SELECT coalesce(max(seq), 0) + 1 AS txn FROM sqlite_sequence WHERE name = 'journal_commits') AS n"
    " WHERE EXISTS (SELECT 1 FROM journal_outbox o WHERE o.txn = n.txn)"
)


class ReadConnection(sqlite3.Connection):
    """A connection to a SQLite file that only reads."""

    opened_alone: tuple[Database, Sighting] | None = None
    """The file, and what was there, if it was opened without a WAL; see ``Database.open_for_reading``."""

    def require_unchanged(self) -> None:
        """Raise DatabaseError if the file was written to since it was opened without a WAL.

        What was read from it since may be from two points in time.
        """
        if self.opened_alone is not None:
            database, before = self.opened_alone
            now = database.look_unconnected()
            if now.database == before.database and now.written != before.written:
                raise DatabaseError(
                    f"the database {database} was written to while it was read", "read it again"
                )


class Database(Struct, frozen=True):
    """A SQLite file. One process writes to it: that which holds the lock of the archive."""

    path: Path
    has_workers: ClassVar[bool] = False
    seconds_between_looks: ClassVar[float] = 0.0
    """To look at the file costs three calls of the system."""
    list_columns: ClassVar[str] = """
        SELECT m.name, p.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p
        WHERE m.type IN ('table', 'view') ORDER BY m.name, p.cid
    """
    """A query of the tables and views, with their columns, in order."""

    def __str__(self) -> str:
        return str(self.path)

    def is_missing(self) -> bool:
        """Return whether nothing is at the path."""
        return not os.path.lexists(self.path)

    def require_present(self) -> None:
        """Raise DatabaseError unless there is a file that is not empty."""
        self._require_regular_files()
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            raise DatabaseError(
                f"there is no database at {self}",
                "mount the disk that holds it; if it is lost: archiver db rebuild makes it from the journal",
            ) from None
        if size == 0:  # SQLite would take it for a new database
            raise DatabaseError(f"the database {self} is empty (0 bytes)", RESTORE_HINT)

    def _require_regular_files(self) -> None:
        """Raise DatabaseError if the file, or a file beside it, is a link, a pipe or the like.

        SQLite would follow the link and write to its target. The directories of the path may be links.
        """
        for suffix, file in zip(SUFFIXES, files_of(self.path), strict=True):
            try:
                mode = file.lstat().st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISREG(mode):
                continue
            what, hint = "not a regular file", "restore a copy"
            if stat.S_ISLNK(mode):
                what, hint = "a symbolic link", "move the database there, or set archive.database to its path"
            if suffix:
                hint = "remove it: SQLite does not create such a file"
            raise DatabaseError(f"the database file {file} is {what}", hint)

    def look_unconnected(self) -> Sighting:
        """Return what is at the path now."""
        places = (self.path, f"{self.path}-wal", f"{self.path}-shm")
        file, *beside = (_status_of(place) for place in places)
        written = file and (file.st_size, file.st_mtime_ns)
        return Sighting(_identity(file), tuple(map(_identity, beside)), written)

    def look(self, connection: Connection) -> Sighting:
        """Return what is at the path now. ``connection``: one that was just made, or used."""
        return self.look_unconnected()

    def take_lock(self, *, shared_by: str | None = None) -> WriterLock | None:
        """Return None: the lock of the archive is enough. Raises UsageError for a worker (``shared_by``)."""
        if shared_by is not None:
            raise _no_workers()
        return None

    def create_writer(self, *, foreign_keys: bool = True, worker: str | None = None) -> Engine:
        """Create an engine with one connection that may write. The file must exist."""
        engine = _create_engine(self._open_for_writing, pool_size=1, max_overflow=0)
        if not foreign_keys:  # a migration rebuilds tables, and checks the keys itself before it commits
            event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys = OFF").close())
        event.listen(engine, "begin", lambda connection: _begin(connection, "BEGIN IMMEDIATE"))
        return engine

    def create_coordinator(self, worker: str, *, at_once: bool = False) -> Engine:
        """Raise UsageError: only PostgreSQL has workers."""
        raise _no_workers()

    def create_reader(self, *, of_writer: bool = False, is_lasting: bool = False) -> Engine:
        """Create an engine whose connections only read. Several threads may use it at once.

        ``is_lasting``: it is used for hours, and by many threads, so that the cache of each connection is
        small.

        ``of_writer``: this process writes too. Then the file is never opened without its WAL (see
        ``open_for_reading``), because the connection would not see what is written.
        """
        engine = _create_engine(
            lambda: (
                _open_read_only(self.path, cache=_SMALL_CACHE_KIB)
                if of_writer
                else self.open_for_reading(cache=_SMALL_CACHE_KIB if is_lasting else _READER_CACHE_KIB)
            ),
            pool_size=POOLED_READERS,
            max_overflow=-1,
        )
        event.listen(engine, "begin", lambda connection: _begin(connection, "BEGIN"))
        return engine

    def open_for_reading(self, *, cache: int = _READER_CACHE_KIB) -> ReadConnection:
        """Open a bare read-only connection, with our settings. Raises sqlite3.Error.

        SQLite cannot open a WAL database if the index of the WAL is missing and cannot be created. If there
        is no WAL, the file is complete and is opened alone (``immutable``). Others may yet be able to write
        to it: call ``ReadConnection.require_unchanged`` after reading, and open it again when they have.
        """
        before = self.look_unconnected()
        try:
            return _open_read_only(self.path, cache=cache)
        except sqlite3.OperationalError as exc:
            is_missing = exc.sqlite_errorcode & 0xFF in _WAL_INDEX_MISSING
            if not is_missing or not self.path.exists() or _has_wal(self.path):
                raise
        file_alone = _open_read_only(self.path, immutable=True, cache=cache)
        file_alone.opened_alone = self, before
        if not _has_wal(self.path):
            return file_alone
        file_alone.close()  # a run has just begun, and its WAL can be read
        return _open_read_only(self.path, cache=cache)

    def _open_for_writing(self) -> sqlite3.Connection:
        connection = _connect(f"{self.path.as_uri()}?mode=rw", sqlite3.Connection)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            # A disk without shared memory (some network mounts): the older journal is as safe, but slower.
            connection.execute("PRAGMA journal_mode = DELETE")
        return connection

    def parameter_names(self, sql: str) -> tuple[str, ...]:
        """Return the names of the parameters of a query, in order, as SQLite reads it."""
        return parameter_names(sql, postgresql=False)

    def query_rows(
        self, sql: str, parameters: Mapping[str, Value], *, seconds: float, own_process: bool
    ) -> RawRows:
        """Yield the names of the columns of a user's own query, then its rows; see ``adhoc_query``."""
        from archiver.catalog.adhoc_query import query_sqlite

        return query_sqlite(self, sql, parameters, seconds=seconds, own_process=own_process)

    def require_unchanged(self, connection: Connection) -> None:
        """Do what ``ReadConnection.require_unchanged`` does, for a connection of a reader's engine."""
        driver = connection.connection.driver_connection
        assert isinstance(driver, ReadConnection)
        driver.require_unchanged()

    def checkpoint(self, engine: Engine) -> None:
        """Move the WAL into the file, without waiting for readers. ``engine``: that of the writer.

        Then the file alone is complete, in a copy or on a read-only disk. Raises sqlite3.Error if this fails.
        Closing the last connection also moves the WAL, but hides errors.
        """
        with engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA busy_timeout = 0").close()
            driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def scrub(self) -> None:
        """Write all tables again, so that nothing is left of removed rows. Raises sqlite3.Error.

        VACUUM leaves no free pages; secure_delete fills with zeros what it does not use.
        """
        with closing(self._open_for_writing()) as raw:
            raw.execute("PRAGMA secure_delete = ON").close()
            raw.execute("VACUUM").close()
            (is_busy, *_) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if is_busy:
            raise DatabaseError(
                f"the database {self} still holds bytes of removed rows: another program is reading it",
                "end that program, and run this again",
            )

    def begin_creation(self, *, group_readable: bool) -> Database:
        """Make an empty file beside this one, which must not exist, and return it.

        What a killed creation left is removed. ``group_readable``: as for ``create_file``. Raises
        DatabaseError if the file exists, OSError.
        """
        self._require_regular_files()
        if self.path.exists():
            raise DatabaseError(f"a database already exists: {self}")
        new = self._beside(_NEW_SUFFIX)
        for leftover in files_of(new):
            leftover.unlink(missing_ok=True)
        create_file(new, group_readable=group_readable)
        return Database(new)

    def end_creation(self) -> None:
        """Give the new file its name."""
        new = self._beside(_NEW_SUFFIX)
        _sync(new)
        new.replace(self.path)
        _sync(self.path)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def begin_replacement(self, *, copy: bool, group_readable: bool) -> Database:
        """Make a file beside this one, to take its place: an empty one, or a ``copy`` of it.

        What a killed rebuild left is removed. Raises sqlite3.Error, OSError, and the errors of ``copy_to``.
        """
        new = self._beside(_REBUILD_SUFFIX)
        copies = new.parent.glob(f".{new.name}.*{_PART_SUFFIX}*")
        for leftover in (*files_of(new), *copies):
            leftover.unlink(missing_ok=True)
        if copy:
            self.copy_to(new)
        else:
            create_file(new, group_readable=group_readable)
        return Database(new)

    def end_replacement(self) -> Path | None:
        """Give the new file its name; return the new path of the file that had it, None if there was none."""
        new = self._beside(_REBUILD_SUFFIX)
        _sync(new)
        # Also a WAL or journal without its database: SQLite would apply it to the new file.
        aside = self.path.with_name(f"{self.path.name}.{utcnow():%Y%m%dT%H%M%S.%fZ}")
        for file, name in zip(files_of(self.path), files_of(aside), strict=True):
            with suppress(FileNotFoundError):
                file.rename(name)
        _sync(new)
        new.replace(self.path)
        _sync(self.path)
        return aside if aside.exists() else None

    def back_up(self, target: Path, *, check: Callable[[], None], dry_run: bool) -> int:
        """Copy the database into a new file, and return its size in bytes; ``dry_run``: leave no file.

        ``check`` is called first. Raises UsageError if the file exists, and the errors of ``copy_to``; those
        about damage, and about a disk that is not large enough, only if it is not a dry run.
        """
        if os.path.lexists(target):
            raise UsageError(f"the file already exists: {target}", "name another file")
        check()
        if not dry_run:
            self.copy_to(target)
            return target.stat().st_size
        with destination_errors(target), tempfile.TemporaryFile(dir=target.parent):
            pass
        with closing(self.open_for_reading()) as reading:
            pages, size = (
                reading.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
            )
        return int(pages) * int(size)

    def copy_to(self, target: Path) -> None:
        """Copy the database into a new file, even while it is being written to.

        Every page is read before the copy is used: the new file appears only once it is checked and durable.
        Raises sqlite3.Error about this file, StorageError about the target, DatabaseError if the database is
        damaged.
        """
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{_PART_SUFFIX}")
        failure = f"the copy {target} cannot be written"
        with destination_errors(target):
            create_file(part)
        try:
            with closing(self.open_for_reading()) as reading, closing(sqlite3.connect(part)) as copy:
                try:
                    reading.backup(copy)
                except sqlite3.OperationalError as exc:
                    if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:  # only the copy is written to
                        raise DiskFull(
                            f"{failure}: no space is left", "free some space, or choose another path"
                        ) from exc
                    raise
                reading.require_unchanged()
                self._require_sound(copy, "quick_check(1)")
            with storage_errors(failure):
                _sync(part)
                _publish(part, target)
                _sync(target)
        finally:
            part.unlink(missing_ok=True)

    def copy_before_upgrade(self, revision: str) -> Path:
        """Copy the file, whose schema has this revision, and return the path of the copy.

        Raises the errors of ``copy_to``.
        """
        for leftover in self.path.parent.glob(f".{self.path.name}.{revision}-*{_PART_SUFFIX}*"):
            leftover.unlink()  # left by an upgrade that was killed while copying
        copy = self.path.with_name(f"{self.path.name}.{revision}-{utcnow():%Y%m%dT%H%M%S.%fZ}")
        self.copy_to(copy)
        return copy

    def check_after_crash(self) -> None:
        """Read all of a file that was not closed properly, before anything writes to it.

        SQLite replays any WAL that has the right name, even one that another program or a hasty restore put
        there. Raises DatabaseError, sqlite3.Error.
        """
        wal = self.path.with_name(self.path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            with closing(self.open_for_reading()) as reading:
                self._require_sound(reading, "quick_check(1)", "foreign_key_check")

    def _require_sound(self, connection: sqlite3.Connection, *checks: str) -> None:
        for check in checks:
            problem = connection.execute(f"PRAGMA {check}").fetchone()
            if problem not in (None, ("ok",)):
                detail = problem[0] if len(problem) == 1 else f"rows of {problem[0]} refer to missing rows"
                raise DatabaseError(f"the database {self} is damaged: {detail}", self._restore_hint())

    def _restore_hint(self) -> str:
        """Return what to do about damage. A copy beside the WAL of another file looks damaged too."""
        wal = Path(f"{self.path}-wal")
        with suppress(OSError):
            if wal.stat().st_size:
                return (
                    f"if it is a copy that was put here beside {wal.name} of another time: move {wal.name}"
                    f" and {self.path.name}-shm away, and put the copy here again; otherwise {RESTORE_HINT}"
                )
        return RESTORE_HINT

    def map_error(self, cause: BaseException) -> ArchiverError | None:
        """Return the error to raise in place of one of the driver; None for another exception."""
        if not isinstance(cause, sqlite3.Error):
            return None
        extended = getattr(cause, "sqlite_errorcode", 0)
        code = extended & 0xFF  # the rest of an extended code is detail
        if code == sqlite3.SQLITE_FULL or extended in _ALSO_FULL:
            return disk_full(self)
        text, hint = _ERRORS.get(code, (f"reports an error: {cause}", ""))
        return DatabaseError(f"the database {self} {text}", self._restore_hint() if code in _DAMAGE else hint)

    def is_busy(self, error: DatabaseError) -> bool:
        """Return whether the database could not be read only because another program has locked it."""
        cause = error.__cause__
        code = getattr(getattr(cause, "orig", cause), "sqlite_errorcode", None)
        return code is not None and code & 0xFF in _LOCKED

    def is_deadlock(self, error: BaseException) -> bool:
        """Return False: a writer waits before its transaction, not within it."""
        return False


class Dialect:
    """What SQLite does in another way than PostgreSQL, given a connection."""

    mark = "?"
    """Where a value goes in the driver's own SQL."""
    most_uncommitted = 50_000
    """Changes in one transaction of a rebuild: a kill leaves only the unfinished file."""
    has_own_search_index = True
    """The words that are searched are in a table of their own."""
    spellings: ClassVar[dict[str, str]] = {
        "day": "substr({}, 1, 10)",
        "month": "substr({}, 1, 7)",
        "writer": "0",
    }
    """SQL for the functions of ``counters``."""
    journals_columns_in_order = True
    """The triggers of the journal write the values of a row in the order of the table's columns."""
    time_type: ClassVar[TypeEngine[Any]] = Text()
    insert = staticmethod(insert)
    """An INSERT of SQLAlchemy's that can leave existing rows as they are."""
    bind_time = staticmethod(time_text)
    check_number = staticmethod(require_number)
    """What a number is given to when it is read: SQLite stores anything."""
    find_view_of_table = staticmethod(own_schema.find_view_of_table)
    find_foreign = staticmethod(own_schema.find_foreign)

    @staticmethod
    def read_time(text: str | None) -> datetime | None:
        """Return a stored time. Raises ValueError."""
        if text is None:
            return None
        time = datetime.fromisoformat(text)
        return time if time.tzinfo is UTC else time.astimezone(UTC)

    def begin_snapshot(self, connection: Connection) -> None:
        """Do nothing: every transaction that reads sees one point in time."""

    def lift_time_limits(self, connection: Connection) -> None:
        """Do nothing: there are none."""

    def erase_removed_rows(self, connection: Connection) -> None:
        """Overwrite what this transaction removes."""
        connection.exec_driver_sql("PRAGMA secure_delete = ON")

    def read_status(self, connection: Connection, query: str) -> Sequence[Any] | None:
        """Return the row of a query that every database of archiver answers; None for another database."""
        # Never read the header with open(): closing another descriptor of the file would drop the locks that
        # SQLite holds on it.
        if connection.exec_driver_sql("PRAGMA application_id").scalar() != APPLICATION_ID:
            return None
        return connection.exec_driver_sql(query).first()

    def find_damage(self, connection: Connection) -> tuple[str, ...]:
        """Return what is wrong with the file: damaged pages, and rows that refer to missing rows."""
        # Else SQLite 3.46 takes an index that another connection has made again for a malformed one.
        connection.exec_driver_sql("SELECT rowid FROM search_index LIMIT 1").all()
        pages = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check")]
        keys = [
            f"a row of {row[0]} refers to a missing row"
            for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
        ]
        return tuple([line for line in pages if line != "ok"] + keys)

    def has_broken_reference(self, connection: Connection) -> bool:
        """Return whether a row refers to a missing row: a connection may write without a check."""
        return connection.exec_driver_sql("PRAGMA foreign_key_check").first() is not None

    def is_refused(self, error: DBAPIError) -> bool:
        """Return whether a healthy database refuses a value or statement, and would refuse it again.

        False if it is locked, full or damaged.
        """
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _REFUSED

    def sort_by_bytes(self, column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return what to sort a text by: SQLite compares texts byte by byte."""
        return column

    def given_ids(self, connection: Connection, tables: Collection[str]) -> Iterator[tuple[str, int | None]]:
        """Yield the last id that each of these tables has ever assigned."""
        for name, last in connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence"):
            if name in tables:
                yield name, last

    def set_last_id(self, connection: Connection, table: Table, last: int) -> None:
        """Make a table that never assigns an id again assign ids above ``last``."""
        if table.dialect_options["sqlite"]["autoincrement"]:
            values = {"t": table.name, "last": last}
            connection.execute(text("DELETE FROM sqlite_sequence WHERE name = :t"), values)
            connection.execute(text("INSERT INTO sqlite_sequence (name, seq) VALUES (:t, :last)"), values)

    def create_triggers(self, connection: Connection, triggers: Iterable[Trigger]) -> None:
        """Create triggers that do not exist."""
        for trigger in triggers:
            connection.exec_driver_sql(_create_trigger(trigger))

    def drop_triggers(self, connection: Connection, prefix: str) -> None:
        """Remove the triggers whose names begin with ``prefix``."""
        for name in _triggers(connection, prefix):
            connection.exec_driver_sql(f"DROP TRIGGER {name}")

    def has_triggers(self, connection: Connection, prefix: str, triggers: Iterable[Trigger]) -> bool:
        """Return whether these, and no others, are the triggers whose names begin with ``prefix``."""
        return _triggers(connection, prefix) == {each.name: _create_trigger(each) for each in triggers}

    def journal_converter(self, kind: TypeEngine[Any]) -> Callable[[Any], RowValue] | None:
        """Return what makes a column's value from the JSON of the triggers; None if they are the same."""
        return bool if isinstance(kind, Boolean) else None

    def seal_changes(self, connection: Connection, at: datetime) -> bool:
        """Give the changes of this transaction their position in the journal; return whether it has any.

        What other programs have committed gets its position with them, or before: it may depend on that.
        """
        return bool(connection.exec_driver_sql(_SEAL, (time_text(at),)).rowcount)

    def seal_changes_of_others(self, connection: Connection, at: datetime) -> None:
        """Give only what other programs have committed its position."""
        self.seal_changes(connection, at)  # this transaction has the same number as theirs

    def create_journal_triggers(self, connection: Connection) -> None:
        """Create the triggers of the journal, in place of those of an older version."""
        self.drop_journal_triggers(connection)
        self.create_triggers(connection, _journal_triggers())

    def drop_journal_triggers(self, connection: Connection) -> None:
        """Remove the triggers of the journal."""
        self.drop_triggers(connection, OF_JOURNAL)

    def has_journal_triggers(self, connection: Connection) -> bool:
        """Return whether the triggers of the journal are the expected ones."""
        return self.has_triggers(connection, OF_JOURNAL, _journal_triggers())


def _create_trigger(trigger: Trigger) -> str:
    return f"CREATE TRIGGER {trigger.name} {trigger.when} BEGIN {trigger.body}; END"


def _triggers(connection: Connection, prefix: str) -> dict[str, str]:
    """Return the SQL of each trigger whose name begins with ``prefix``."""
    rows = connection.execute(
        text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND name LIKE :names"),
        {"names": f"{prefix}%"},
    )
    return {str(name): str(sql) for name, sql in rows}


@cache
def _journal_triggers() -> tuple[Trigger, ...]:
    from archiver.catalog.tables import JOURNALED

    return tuple(trigger for table in JOURNALED for trigger in _journal_triggers_of(table))


def _journal_triggers_of(table: Table) -> Iterator[Trigger]:
    """Yield the triggers of a table.

    An update of the key is recorded as a removal and a new row, one that changes nothing not at all.
    """
    has_new_key = " OR ".join(f'OLD."{c.name}" IS NOT NEW."{c.name}"' for c in table.primary_key)
    changed = "||".join(
        f'CASE WHEN {has_new_key} OR OLD."{c.name}" IS NOT NEW."{c.name}" THEN \',{_member(c)} ELSE \'\' END'
        for c in table.columns
    )
    added = _record(table, "NEW", _object("||".join(f"',{_member(c)}" for c in table.columns)))
    removed = _record(table, "OLD", "NULL")
    altered = f"{_record(table, 'NEW', _object('changed'))} FROM (SELECT {changed} AS changed)"
    yield Trigger(f"{OF_JOURNAL}added_{table.name}", f"AFTER INSERT ON {table.name}", added)
    yield Trigger(f"{OF_JOURNAL}removed_{table.name}", f"AFTER DELETE ON {table.name}", removed)
    yield Trigger(
        f"{OF_JOURNAL}altered_{table.name}",
        f"AFTER UPDATE ON {table.name}",
        f"{removed} WHERE {has_new_key}; {altered} WHERE changed <> ''",
    )


def _record(table: Table, row: str, values: str) -> str:
    key = ", ".join(f'{row}."{column.name}"' for column in table.primary_key)
    return (
        "INSERT INTO journal_outbox (txn, table_name, row_key, row_values)"
        f" SELECT {_TXN}, '{table.name}', json_array({key}), {values}"
    )


def _object(members: str) -> str:
    return f"'{{'||substr({members}, 2)||'}}'"


def _member(column: Column[Any]) -> str:
    """Return SQL for ``"name":value`` of the new row. It continues a string literal that is open already.

    json_quote would round floats to 15 digits, which loses a third of all durations.
    """
    value = f'NEW."{column.name}"'
    quoted = f"json_quote({value})"
    if isinstance(column.type, Float):
        quoted = f"CASE WHEN {value} IS NULL THEN 'null' ELSE printf('%!.17g', {value}) END"
    return f'"{column.name}":\'||{quoted}'


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


def begins_as_ours(header: bytes) -> bool:
    """Return whether a file that begins with these ``HEADER_BYTES`` is a database of archiver."""
    return header.startswith(b"SQLite format 3\0") and header[68:72] == APPLICATION_ID.to_bytes(4, "big")


def files_of(path: Path) -> list[Path]:
    """Return the paths of a SQLite file and of those beside it, in the order of ``SUFFIXES``."""
    return [path.with_name(path.name + suffix) for suffix in SUFFIXES]


def _no_workers() -> UsageError:
    return UsageError("workers need a PostgreSQL database", "set archive.database")


def _status_of(path: Path | str) -> os.stat_result | None:
    """Return the status of a file; None for anything else, as a pipe, which would block whoever opens it."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _identity(status: os.stat_result | None) -> tuple[int, int] | None:
    return None if status is None else (status.st_dev, status.st_ino)


def _has_wal(path: Path) -> bool:
    return path.with_name(path.name + "-wal").exists()


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


def _create_engine(creator: Callable[[], sqlite3.Connection], *, pool_size: int, max_overflow: int) -> Engine:
    return create_engine(
        "sqlite://",
        creator=creator,
        poolclass=QueuePool,
        pool_size=pool_size,
        max_overflow=max_overflow,
        hide_parameters=True,
    )


def _begin(connection: Connection, statement: str) -> None:
    connection.exec_driver_sql(statement)


def _sync(path: Path) -> None:
    """Flush a closed file and its directory to the disk. Raises OSError."""
    for place, flags in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(place, flags)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _publish(part: Path, target: Path) -> None:
    """Give a finished file its name. Raises FileExistsError if the name is taken."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        part.replace(target)
