"""The rows of an archive, opened: the desk for writers, a pool of connections for readers."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import DBAPIError

from archiver.catalog import copies, schema, tables
from archiver.catalog import engine as engines
from archiver.catalog.engine import Database
from archiver.catalog.error_mapping import cut_off, told
from archiver.catalog.lock import WriterLock
from archiver.catalog.snapshot import Snapshot
from archiver.catalog.writer import Writer
from archiver.errors import DatabaseError, DatabaseForeign, UsageError
from archiver.model.archived import Rows, RowStream, Value

P = ParamSpec("P")
T = TypeVar("T")


class Catalog:
    """An open database. Every method may be called from any thread. Made by ``create`` or ``open``; a context manager."""

    def __init__(self, database: Database, *, write: bool, lock: WriterLock | None = None) -> None:
        """``database`` must be known to stand at head; ``lock`` is held by a writer to PostgreSQL."""
        self._database = database
        self._closing = ExitStack()
        self._desk: Writer | None = None
        with ExitStack() as opened:
            writer = opened.enter_context(_disposed(engines.writer(database))) if write else None
            # Readers leave before the writer: the last connection takes the WAL with it, if it may write.
            self._reader = opened.enter_context(_disposed(engines.reader(database)))
            if writer is not None:
                opened.callback(_checkpoint, writer, str(database))
                from archiver.catalog import documents  # no command that only reads has to wait for it

                self._desk = Writer(writer, str(database), lock, finish=documents.fill)
                opened.callback(self._desk.close)
            self.archive_id = self.read(_archive_id)
            self._closing = opened.pop_all()

    @classmethod
    def create(
        cls, database: str | Path, archive_id: str, now: datetime, *, group_readable: bool = False
    ) -> Catalog:
        """Make a new database, whole or not at all, and open it for writing.

        Raises DatabaseError if there is a file already, DatabaseForeign if a PostgreSQL database has tables, ArchiveLocked.
        """
        place = engines.locate(database)
        with ExitStack() as locked:
            lock = _lock(place, locked)
            schema.create(place, archive_id, now, group_readable=group_readable)
            return cls._with_lock(place, lock, locked)

    @classmethod
    def open(cls, database: str | Path, *, write: bool) -> Catalog:
        """Open an existing database. A writer brings an older one up to date first; a reader writes nothing, ever.

        Raises SchemaOld (a reader), SchemaNew, DatabaseForeign, DatabaseError, and ArchiveLocked if another writer has the PostgreSQL
        database. On SQLite the caller holds the lock of the archive before it opens for writing.
        """
        place = engines.locate(database)
        if not write:
            schema.check(place)
            return cls(place, write=False)
        with ExitStack() as locked:
            lock = _lock(place, locked)
            schema.upgrade(place)
            return cls._with_lock(place, lock, locked)

    @staticmethod
    def upgrade(database: str | Path) -> tuple[str, str]:
        """Bring an older database up to date, a SQLite file copied first; returns the revisions before and after.

        Raises as ``open`` for writing, and like it needs the archive's own lock held.
        """
        place = engines.locate(database)
        with ExitStack() as locked:
            _lock(place, locked)
            before = schema.current(place)
            schema.upgrade(place)
            return before, schema.head()

    @classmethod
    def _with_lock(cls, place: Database, lock: WriterLock | None, locked: ExitStack) -> Catalog:
        catalog = cls(place, write=True, lock=lock)
        outer = locked.pop_all()
        outer.push(catalog._closing.pop_all())
        catalog._closing = outer
        return catalog

    def write(self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Queue ``fact(connection, ...)`` at the desk; return its value once it is durable. Raises as ``Writer.write``."""
        return self.submit(fact, *args, **kwargs).result()

    def submit(
        self, fact: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """As ``write``, without waiting for it to be durable: the Future ends then."""
        if self._desk is None:
            raise DatabaseError(f"the database {self._database} is open for reading only")
        return self._desk.submit(fact, *args, **kwargs)

    def read(self, question: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return ``question(connection, ...)``, asked of what is committed now; again if a connection was lost. Raises DatabaseError."""
        with told(str(self._database)):
            try:
                with self._reader.connect() as connection:
                    return question(connection, *args, **kwargs)
            except DBAPIError as exc:
                if not cut_off(exc):
                    raise
            with self._reader.connect() as connection:
                return question(connection, *args, **kwargs)

    def stream(
        self, question: Callable[Concatenate[Connection, P], Iterator[T]], *args: P.args, **kwargs: P.kwargs
    ) -> Generator[T, None, None]:
        """What ``question(connection, ...)`` yields, all of one moment, on a connection that stays open until its end, or ``close``."""
        with self.moment() as moment:
            yield from moment.stream(question, *args, **kwargs)

    @contextmanager
    def moment(self) -> Iterator[Snapshot]:
        """Whom to ask several questions of one and the same moment, on a connection that stays open meanwhile."""
        with ExitStack() as opened:
            with told(str(self._database)):  # not what the caller does meanwhile
                moment = Snapshot(opened.enter_context(self._reader.connect()), str(self._database), opened)
            yield moment

    def ask(
        self,
        sql: str,
        *,
        rows: int,
        seconds: float,
        parameters: Mapping[str, Value] | None = None,
        own_process: bool = True,
    ) -> Rows:
        """The answer to a user's own query: at most ``rows`` rows, within ``seconds``; see ``ask.ask``. Raises QueryRefused."""
        from archiver.catalog.adhoc_query import ask  # nobody has to wait for it but who asks

        return ask(
            self._database, sql, rows=rows, seconds=seconds, parameters=parameters, own_process=own_process
        )

    def asking(
        self, sql: str, *, seconds: float, parameters: Mapping[str, Value] | None = None
    ) -> AbstractContextManager[RowStream]:
        """The answer to a user's own query as it is read; see ``ask.asking``. Raises QueryRefused, also after some rows."""
        from archiver.catalog.adhoc_query import asking  # as for ``ask``

        return asking(self._database, sql, seconds=seconds, parameters=parameters)

    def backup(self, to: Path) -> None:
        """Copy the database into the new file ``to``, whole and of one moment, also while a run is on.

        Raises UsageError if there is such a file, and for PostgreSQL, which has its own program for that; DatabaseError, also if the
        database is damaged; DiskFull.
        """
        if self._database.path is None:
            raise UsageError("a PostgreSQL database is backed up by its own program", "pg_dump")
        if to.exists():
            raise UsageError(f"there is a file already: {to}", "name another one")
        with told(str(self._database)):
            copies.copy_sqlite(self._database.path, to)

    def close(self) -> None:
        """Commit what waits, move the WAL into the file, give the lock up. Again is nothing."""
        self._closing.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(place: Database, locked: ExitStack) -> WriterLock | None:
    if place.url is None:
        return None
    lock = WriterLock(place)
    locked.callback(lock.release)
    return lock


@contextmanager
def _disposed(engine: Engine) -> Iterator[Engine]:
    try:
        yield engine
    finally:
        engine.dispose()


def _checkpoint(engine: Engine, database: str) -> None:
    """Move the WAL into the file: a copy of the file alone, or a read-only disk, then holds everything."""
    if engine.dialect.name == "sqlite":
        with told(database):
            engines.checkpoint(engine)


def _archive_id(connection: Connection) -> str:
    found = connection.scalar(select(tables.archive.c.id))
    if found is None:
        raise DatabaseForeign("the database belongs to no archive: its table archive is empty")
    return str(found)
