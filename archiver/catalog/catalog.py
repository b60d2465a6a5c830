"""An open database of an archive: one writer, a pool of connections for readers, and read snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from archiver.catalog import schema
from archiver.catalog.dialects import (
    WORKER,
    Database,
    Sighting,
    dialect_of,
    disposing,
    is_connection_lost,
    locate,
    map_errors,
    map_read_errors,
)
from archiver.catalog.schema import DatabaseState, SchemaStatus
from archiver.catalog.writer import Writer
from archiver.closeable import Closeable
from archiver.errors import ArchiverError, DatabaseError, DatabaseForeign
from archiver.model.identity import utcnow
from archiver.model.query_results import NO_LIMIT, Rows, RowStream, Value

if TYPE_CHECKING:
    from archiver.catalog.postgresql import WriterLock

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")

_CHECKED_AT = "archiver_checked_at"
"""In the ``info`` of a connection: the look at the database at which it was checked to be this archive's."""


class Catalog(Closeable):
    """An open database, made by ``create`` or ``open``. Every method may be called from any thread.

    One that only reads follows its place: if another database is put there, the next read opens and checks
    that one. A context manager.
    """

    def __init__(
        self,
        database: Database,
        status: SchemaStatus,
        reader: Engine,
        stack: ExitStack,
        *,
        writer: Engine | None = None,
        lock: WriterLock | None = None,
        clock: Callable[[], datetime] = utcnow,
        worker_id: str | None = None,
        seen: Sighting | None = None,
        check: Callable[[Connection], SchemaStatus] | None = None,
    ) -> None:
        """Take the engines of a ``database`` whose schema is at ``schema.head()``.

        ``stack`` disposes of the engines. ``lock``: the lock of a writer to PostgreSQL. ``clock``: the time
        of the journal's entries. ``worker_id``: see ``join``. ``seen``: what was there when it was opened for
        reading; ``check`` raises an error if a new connection shows something else than this archive.
        """
        self.archive_id, self.storage, self.removals = status.archive_id, status.storage, status.removals
        self._clock = clock
        self.before_commit: Callable[[], None] = lambda: None
        """Called just before the commit of a transaction that has changes for the journal."""
        self._database = database
        self._reader = reader
        self._seen, self._check = seen, check
        self._following = Lock()
        self._look_again_at = time.monotonic() + database.seconds_between_looks
        self._times_replaced = self._looks = 0
        self._stack = stack
        self.worker_id = worker_id
        self._coordinator: Engine | None = None
        self._coordinator_at_once: Engine | None = None
        if worker_id is not None:
            name = _name_of(worker_id)
            self._coordinator, self._coordinator_at_once = (
                stack.enter_context(disposing(database.create_coordinator(name, at_once=at_once)))
                for at_once in (False, True)
            )
        self._writer: Writer | None = None
        if writer is not None:
            stack.callback(_checkpoint, writer, database)
            self._writer = Writer(
                writer, database, lock, derive_rows=self._derive_rows, require_lease=self._require_lease
            )
            stack.callback(self._writer.close)

    @classmethod
    def create(
        cls,
        database: str | Path,
        archive_id: str,
        now: datetime,
        *,
        storage: str | None = None,
        group_readable: bool = False,
    ) -> Catalog:
        """Create a new database atomically, and open it for writing.

        ``storage``: see ``SchemaStatus``. Raises DatabaseError if the file exists, DatabaseForeign if a
        PostgreSQL database has tables, and ArchiveLocked if another writer has the PostgreSQL database open.
        """
        place = locate(database)
        with ExitStack() as stack:
            lock = _take_lock(place, stack)
            schema.create(place, archive_id, now, storage=storage, group_readable=group_readable)
            writer, reader = _create_engines(place, stack)
            status = SchemaStatus(schema.head(), archive_id, has_runs=False, storage=storage, removals=0)
            return cls(place, status, reader, stack.pop_all(), writer=writer, lock=lock)

    @classmethod
    def open(
        cls,
        database: str | Path,
        *,
        write: bool,
        clock: Callable[[], datetime] = utcnow,
        is_lasting: bool = False,
        require: Callable[[SchemaStatus], None] = lambda status: None,
    ) -> Catalog:
        """Open an existing database. For writing, an older one is upgraded first; a reader never writes.

        To open a SQLite database for writing, the caller must hold the lock of the archive. ``clock``: the
        time of the journal's entries. ``is_lasting``: as for ``Database.create_reader``. ``require``, for
        reading only, raises an error for the database of another archive, also for one that later takes the
        place of this one. Raises SchemaOld (only for reading), JournalDiffers (only for writing) if triggers
        of the journal are missing, SchemaNew, DatabaseForeign, DatabaseError, DiskFull, and ArchiveLocked if
        another writer has the PostgreSQL database open.
        """
        if write:
            with cls.prepare(database, clock=clock) as opening:
                return opening.finish()
        place = locate(database)
        with ExitStack() as stack:
            reader = stack.enter_context(disposing(place.create_reader(is_lasting=is_lasting)))

            def check(connection: Connection) -> SchemaStatus:
                return _check(connection, place, require)

            before = place.look_unconnected()
            with schema.connect(place, reader) as connection:
                status, seen = check(connection), place.look(connection)
                connection.info[_CHECKED_AT] = 0
            if before is not None and (before.database, before.written) != (seen.database, seen.written):
                seen = before  # so that the next read notices it
            return cls(place, status, reader, stack.pop_all(), seen=seen, check=check)

    @classmethod
    def join(cls, database: str | Path, worker_id: str, *, clock: Callable[[], datetime] = utcnow) -> Catalog:
        """Open a PostgreSQL database for writing beside other workers of a run.

        ``worker_id``: the id of a worker that ``leases.join`` is to add. Until then, and once its lease is
        lost, every fact raises LeaseLost, except those of ``write_without_lease``. Raises UsageError for
        SQLite, SchemaOld, SchemaNew, DatabaseForeign, JournalDiffers if triggers of the journal are missing,
        DatabaseError, and ArchiveLocked while another command writes alone.
        """
        place = locate(database)
        with ExitStack() as stack:
            name = _name_of(worker_id)
            lock = _take_lock(place, stack, shared_by=name)
            writer = stack.enter_context(disposing(place.create_writer(worker=name)))
            reader = stack.enter_context(disposing(place.create_reader(of_writer=True)))
            with schema.connect(place, reader) as connection:
                state = schema.state_of(connection, place)
                schema.require_current(state.revision, place)
                state.require_triggers()
            return cls(
                place,
                state,
                reader,
                stack.pop_all(),
                writer=writer,
                lock=lock,
                clock=clock,
                worker_id=worker_id,
            )

    @staticmethod
    def prepare(database: str | Path, *, clock: Callable[[], datetime] = utcnow) -> Opening:
        """Begin to open a database for writing: nothing is written before ``finish``.

        The caller must hold the lock of the archive. Raises SchemaNew, DatabaseForeign, DatabaseError, and
        ArchiveLocked if another writer has the PostgreSQL database open.
        """
        return Opening(locate(database), clock)

    def _derive_rows(self, connection: Connection) -> None:
        """Add what follows from the facts of a transaction: rows for the search, and entries of the journal.

        The writer calls this before each commit.
        """
        from archiver.catalog import outbox  # slow to import, and only writers need them
        from archiver.catalog.search import update_documents

        update_documents(connection)
        if outbox.seal(connection, self._clock()):
            self.before_commit()

    @property
    def has_workers(self) -> bool:
        """Return whether the database can have workers: SQLite has one writer."""
        return self._database.has_workers

    def _require_lease(self, connection: Connection) -> None:
        if self.worker_id is not None:
            from archiver.catalog import leases  # slow to import, and few need it

            leases.require(connection, self.worker_id)

    def coordinate(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call ``fact(connection, ...)`` in a transaction of its own, without waiting for other facts.

        Only for what workers tell each other, which is not in the journal. Raises DatabaseError and what the
        fact raises.
        """
        if self._coordinator is None:
            raise self._no_workers()
        with map_errors(self._database), self._coordinator.begin() as connection:
            return fact(connection, *args, **kwargs)

    def coordinate_at_once(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what ``coordinate`` does, with each statement of the fact in a transaction of its own.

        For a fact of one statement that is the same, in one round trip to the server instead of three. If the
        connection was lost, the fact is repeated once, even if it was committed: a visit that is taken so and
        not known is free when the worker ends its work.
        """
        if self._coordinator_at_once is None:
            raise self._no_workers()
        return self._call(self._coordinator_at_once.connect, fact, *args, **kwargs)

    def _no_workers(self) -> DatabaseError:
        return DatabaseError(f"the database {self._database} is not open for workers")

    def write_without_lease(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what ``write`` does, for a fact that is written without a lease too: what a call cost."""
        return self._open_writer().write_without_lease(fact, *args, **kwargs)

    def write_last(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do what ``write`` does, for a fact that changes rows which all workers change: it comes last."""
        return self._open_writer().write_last(fact, *args, **kwargs)

    def write(self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``fact(connection, ...)`` in the writer's thread; return its value once its rows are durable.

        The fact is called again if its transaction was rolled back. It may be committed together with others,
        and with the rows of the search and the journal that follow from it. Raises what the fact raises;
        LeaseLost if this worker has lost its lease; DatabaseError if the database is open for reading only,
        DatabaseError or DiskFull if it fails, and then it is unknown whether the fact is stored.
        """
        return self.submit(fact, *args, **kwargs).result()

    def submit(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Queue a fact without waiting. The Future is done once its rows are durable."""
        return self._open_writer().submit(fact, *args, **kwargs)

    def submit_each(self, fact: Callable[[Connection, Sequence[A]], Sequence[T]], item: A) -> Future[T]:
        """Queue an item of a fact that records many. See ``Writer.submit_each``."""
        return self._open_writer().submit_each(fact, item)

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise DatabaseError(f"the database {self._database} is open for reading only")
        return self._writer

    def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``query(connection, ...)``, run on what is committed now.

        The query is repeated once if the connection was lost. Raises DatabaseError, ArchiveDamaged.
        """
        return self._call(self._connect, query, *args, **kwargs)

    @contextmanager
    def _connect(self) -> Generator[Connection, None, None]:
        """Connect a reader to the database that is there now.

        Raises the errors of ``open`` if that is none of this archive, or none at all.
        """
        if self._seen is not None and time.monotonic() >= self._look_again_at:
            self.follow()
            self._database.require_present()  # SQLite would wait for a pipe without end
        pool = self._reader.pool
        try:
            with _given_back(self._reader.connect()) as connection:
                look = self._looks
                if self._check is not None and connection.info.get(_CHECKED_AT) != look:
                    self._require_same(self._check(connection))
                    connection.rollback()
                    connection.info[_CHECKED_AT] = look
                try:
                    yield connection
                except (DBAPIError, DatabaseError):
                    self._database.require_unchanged(connection)
                    raise
                self._database.require_unchanged(connection)
        finally:
            if pool is not self._reader.pool:
                pool.dispose()  # else the connection that was returned to it would stay open

    def _require_same(self, status: SchemaStatus) -> None:
        if status.archive_id != self.archive_id:
            raise DatabaseForeign(
                f"the database {self._database} belongs to another archive than when it was opened",
                "end this program and start it again, to read that one",
            )

    def follow(self) -> int:
        """Look whether another database has taken the place of this one, and open that at the next read.

        Returns how often that has happened: what is computed from the database is kept with this number, and
        dropped when it changes. Every read looks by itself, on PostgreSQL every two seconds. Raises
        DatabaseError.
        """
        if self._seen is None:  # this process writes to it
            return 0
        self._look_again_at = time.monotonic() + self._database.seconds_between_looks
        with self._following:
            now = self._database.look_unconnected()
            if now is None:
                now = self._call(self._reader.connect, self._database.look)
                self._looks += 1  # it does not see rows that were replaced: each connection does
            if now != self._seen:
                self._times_replaced += now.is_other_than(self._seen)
                self._seen, pool = now, self._reader.pool
                self._reader.dispose()
                pool.dispose()  # again: what was returned to it before it had a successor
            return self._times_replaced

    def _call(
        self,
        connect: Callable[[], AbstractContextManager[Connection]],
        query: Callable[Concatenate[Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Return ``query(connection, ...)``, called once more if the connection was lost."""
        with map_read_errors(self._database):
            try:
                with connect() as connection:
                    return query(connection, *args, **kwargs)
            except DBAPIError as exc:
                if not is_connection_lost(exc):
                    raise
            with connect() as connection:
                return query(connection, *args, **kwargs)

    def read_state(self) -> DatabaseState:
        """Return what ``schema.read_state`` returns, all from one point in time."""
        with self.snapshot() as snapshot:
            return snapshot.read(schema.state_of, self._database)

    def stream(
        self, query: Callable[Concatenate[Connection, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """Yield what ``query(connection, ...)`` yields, all from one point in time.

        Close the generator if you do not read it to the end.
        """
        with self.snapshot() as snapshot:
            yield from snapshot.stream(query, *args, **kwargs)

    def read_pages(self, query: Callable[[Connection, T | None], Sequence[T]]) -> Iterator[T]:
        """Yield what ``query`` returns, page after page, each read in a transaction of its own.

        ``query`` gets the last value so far, None at first, and returns some of those that follow it. So no
        transaction lasts while the caller does something else with each value, as reading its bytes. What is
        written meanwhile may be among them, or not.
        """
        last: T | None = None
        while page := self.read(query, last):
            yield from page
            last = page[-1]

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Open a read snapshot, on a connection of its own: all its queries see the same point in time."""
        with ExitStack() as stack:
            with map_errors(self._database):  # but not errors in the caller's with block
                connection = stack.enter_context(self._connect())
                snapshot = Snapshot(connection, self._database, stack)
            yield snapshot

    def run_query(
        self,
        sql: str,
        *,
        rows: int,
        seconds: float,
        parameters: Mapping[str, Value] | None = None,
        own_process: bool = True,
    ) -> Rows:
        """Return at most ``rows`` rows of a user's own query, within ``seconds``; see ``adhoc_query``.

        Raises QueryRefused.
        """
        from archiver.catalog import adhoc_query  # slow to import, and few commands need it

        self._require_own()
        return adhoc_query.run_query(
            self._database, sql, rows=rows, seconds=seconds, parameters=parameters, own_process=own_process
        )

    def list_columns(self, seconds: float) -> Rows:
        """Return a row (table, column) for each column of each table and view. Raises QueryRefused."""
        return self.run_query(self._database.list_columns, rows=NO_LIMIT, seconds=seconds, own_process=False)

    def stream_query(
        self, sql: str, *, seconds: float, parameters: Mapping[str, Value] | None = None
    ) -> AbstractContextManager[RowStream]:
        """Open the rows of a user's own query as a stream; see ``adhoc_query``.

        Raises QueryRefused, possibly after some rows have been read.
        """
        from archiver.catalog import adhoc_query

        self._require_own()
        return adhoc_query.stream_query(self._database, sql, seconds=seconds, parameters=parameters)

    def _require_own(self) -> None:
        """Raise the errors of ``open`` if the database that is there now cannot be read as this archive."""
        self.read(lambda connection: None)

    def backup(self, to: Path, *, dry_run: bool = False) -> int:
        """Copy the database into the new file ``to``, all from one point in time, even during a run.

        Returns the size in bytes. ``dry_run``: leave no file. Raises UsageError if the file exists, or for
        PostgreSQL, which has its own program for backups; DatabaseError, for example if the database is
        damaged; StorageError, DiskFull.
        """
        with map_errors(self._database):
            return self._database.back_up(to, check=self._require_own, dry_run=dry_run)

    def scrub(self) -> None:
        """Rewrite the database, so that its files hold no bytes of rows that were removed. May be repeated.

        SQLite: the file is written again and the WAL emptied. PostgreSQL: the tables are written again; its
        own log is beyond our reach. Raises DatabaseError, also if another program reads a SQLite file all
        the time; DiskFull.
        """
        with map_errors(self._database):
            self._database.scrub()

    def close(self) -> None:
        """Commit all queued facts, move the WAL into the file, release the lock. May be called again."""
        self._stack.close()


class Snapshot:
    """A read snapshot, made by ``Catalog.snapshot``. Its point in time is that of the first query.

    Only one thread may use it.
    """

    def __init__(self, connection: Connection, database: Database, stack: ExitStack) -> None:
        """Take a ``connection`` of the caller that has no transaction yet.

        ``stack`` closes the streams that are still open.
        """
        self._connection, self._database, self._stack = connection, database, stack
        dialect_of(connection).begin_snapshot(connection)

    def read(self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``query(connection, ...)``. Raises DatabaseError, ArchiveDamaged."""
        with map_read_errors(self._database):
            return query(self._connection, *args, **kwargs)

    def stream(
        self, query: Callable[Concatenate[Connection, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """Yield what ``query(connection, ...)`` yields; other queries may run before it ends.

        Raises DatabaseError, ArchiveDamaged.
        """

        def rows() -> Generator[T, None, None]:
            with map_read_errors(self._database):
                yield from query(self._connection, *args, **kwargs)

        stream = rows()
        self._stack.callback(stream.close)
        return stream


class Opening(Closeable):
    """A database that is about to be opened for writing: its ``state`` has been read, nothing was written.

    A context manager; made by ``Catalog.prepare``.
    """

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock
        with ExitStack() as stack:
            self._lock = _take_lock(database, stack)
            self._writer, self._reader = _create_engines(database, stack)
            with schema.connect(database, self._reader) as connection:
                self.state = schema.state_of(connection, database)
            self._stack = stack.pop_all()

    def finish(self, *, mend_triggers: bool = False) -> Catalog:
        """Bring an older schema up to date, and return the open database.

        ``mend_triggers``: create missing triggers of the journal; the caller must then begin a new journal.
        Without it, missing triggers raise JournalDiffers. Counters that are incomplete are counted again.
        Raises DatabaseError, DiskFull.
        """
        if not mend_triggers:
            self.state.require_triggers()
        if not (self.state.has_triggers and self.state.has_counters):
            schema.recreate_triggers(self._database, of_journal=not self.state.has_triggers)
        schema.upgrade(self._database, self.state.revision)
        return Catalog(
            self._database,
            self.state,
            self._reader,
            self._stack.pop_all(),
            writer=self._writer,
            lock=self._lock,
            clock=self._clock,
        )

    def close(self) -> None:
        """Close the database, unless ``finish`` has returned it."""
        self._stack.close()


@contextmanager
def _given_back(connection: Connection) -> Iterator[Connection]:
    """Close a reader's connection at the end; that the server has ended it by then harms nothing."""
    try:
        yield connection
    finally:
        try:
            connection.close()
        except DBAPIError as exc:
            if not is_connection_lost(exc):
                raise
            connection.close()  # again: it is given up now, not put back among the others


def _check(connection: Connection, place: Database, require: Callable[[SchemaStatus], None]) -> SchemaStatus:
    """Return the status of a database that may be read. Raises the errors of ``Catalog.open``."""
    place.require_present()
    status = schema.status_of(connection, place)
    schema.require_current(status.revision, place)
    try:
        require(status)
    except ArchiverError:
        connection.rollback()
        status = schema.status_of(connection, place)
        require(status)  # again: it may have changed after it was read, and before what it is compared with
    return status


def _create_engines(place: Database, stack: ExitStack) -> tuple[Engine, Engine]:
    """Return the engines of the writer and of the readers; they connect when they are first used.

    Readers close before the writer: the last connection to close moves the WAL into the file, if it may
    write.
    """
    writer = stack.enter_context(disposing(place.create_writer()))
    return writer, stack.enter_context(disposing(place.create_reader(of_writer=True)))


def _name_of(worker_id: str) -> str:
    return f"{WORKER}{worker_id}"


def _take_lock(place: Database, stack: ExitStack, *, shared_by: str | None = None) -> WriterLock | None:
    lock = place.take_lock(shared_by=shared_by)
    if lock is not None:
        stack.callback(lock.release)
    return lock


def _checkpoint(engine: Engine, database: Database) -> None:
    with map_errors(database):
        database.checkpoint(engine)
