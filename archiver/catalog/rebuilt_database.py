"""A database that is being rebuilt from the journal: it becomes usable only when it is complete.

A copy of the rows is built in the same way; a dry run writes into a temporary one what the command itself
would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, func, select

from archiver.catalog import counters, journaled_rows, outbox, schema, tables
from archiver.catalog.catalog import Catalog, Snapshot
from archiver.catalog.dialects import Database, dialect_of, disposing, locate, map_errors
from archiver.catalog.journaled_rows import ChangeApplier
from archiver.errors import ArchiveTooOld, JournalDamaged, JournalDiffers, SchemaNew
from archiver.model.journal_entries import JournalHead, RowChange
from archiver.model.values import replace
from archiver.temporary import temporary_directory

ROWS_AT_ONCE = 1000


class RebuiltDatabase:
    """Takes the changes of the journal, in their order. Made by ``building``."""

    def __init__(self, connection: Connection, revision: str | None) -> None:
        """``revision``: that of the schema at the beginning; None if there are no tables."""
        self._connection = connection
        self._revision = revision
        self._dialect = dialect_of(connection)
        self._applier = ChangeApplier(connection)
        self._uncommitted = 0
        self.set_aside: Path | None = None
        """The new path of the SQLite file that was there before; None if there was none."""

    def clear(self) -> None:
        """Remove all rows, before a snapshot is applied. Raises DatabaseError, DiskFull."""
        self._applier.clear()

    def apply(self, revision: str, changes: Sequence[RowChange], *, undo: bool = False) -> None:
        """Apply the changes of a transaction that was recorded at this revision of the schema.

        ``undo``: if one of them does not fit, undo all. Raises ArchiveTooOld, SchemaNew, JournalDamaged,
        DatabaseError, DiskFull.
        """
        if revision != self._revision:
            self._migrate(revision)
        with self._connection.begin_nested() if undo else nullcontext():
            self._applier.apply(changes)
        self._uncommitted += len(changes)
        if self._uncommitted >= self._dialect.most_uncommitted:
            self._connection.commit()
            self._uncommitted = 0

    def finish(self, head: JournalHead, sequences: Mapping[str, int], *, removals: int = 0) -> None:
        """Bring the schema up to date, write what is computed from the rows, and create the triggers.

        ``head``: where the journal ends. ``sequences``: the greatest id that each table has ever assigned.
        ``removals``: how many the marker counts. Raises JournalDiffers if the rows have fewer, JournalDamaged
        if rows refer to missing rows, or unless there is one row of ``archive``; DatabaseError, DiskFull.
        """
        from archiver.catalog.search import update_documents

        if self._dialect.has_broken_reference(self._connection):
            raise JournalDamaged("the journal has rows that refer to missing rows")
        if self._connection.scalar(select(func.count()).select_from(tables.archive)) != 1:
            raise JournalDamaged("the journal must name its archive exactly once, and does not")
        if self._revision != schema.head():
            self._migrate(schema.head())
            head = replace(head, snapshot_bytes=0)  # a snapshot is due: what this changed is in no entry
        found = self._connection.scalar(select(func.count()).select_from(tables.removals)) or 0
        if found < removals:  # else every command would refuse the database
            raise JournalDiffers(
                "the journal is from before an account was forgotten, and still has it",
                "restore journal/ or the database from a later copy; if there is none: set removals to "
                f"{found} in archive.json, then archiver db rebuild; then forget the account again",
            )
        update_documents(self._connection)
        journaled_rows.set_sequences(self._connection, sequences)
        outbox.begin(self._connection, head)
        counters.create(self._connection)
        self._dialect.create_journal_triggers(self._connection)
        self._connection.commit()

    def _migrate(self, revision: str) -> None:
        known = schema.revisions()
        if schema.is_too_old(revision):
            raise ArchiveTooOld(
                "a rebuild must begin with lines of the journal that are too old for this version "
                f"(revision {revision})",
                command="db rebuild",
            )
        if revision not in known:
            raise SchemaNew(
                f"the journal was written with a newer schema (revision {revision})",
                "install a newer archiver",
            )
        if self._revision is not None and known.index(revision) < known.index(self._revision):
            raise JournalDamaged(
                f"a file of the journal has an older schema (revision {revision}) than the file before it "
                f"(revision {self._revision})"
            )
        schema.migrate_to(self._connection, revision)
        self._dialect.drop_journal_triggers(self._connection)
        self._revision = revision
        self._applier = ChangeApplier(self._connection)


@contextmanager
def building(database: Database, *, copy: bool, group_readable: bool) -> Iterator[RebuiltDatabase]:
    """Build the database beside its final place, and put it there when the block ends without an exception.

    ``copy``: begin with the present database, an older copy. On SQLite the new file has another name until it
    is complete, and the present one is then renamed; on PostgreSQL everything is one transaction. So a kill
    at any point leaves what was there. Raises DatabaseForeign if the PostgreSQL database has tables and
    ``copy`` is not set, DatabaseError, DiskFull.
    """
    with map_errors(database):
        new = database.begin_replacement(copy=copy, group_readable=group_readable)
        with disposing(new.create_writer(foreign_keys=False)) as engine:
            with engine.connect() as connection:
                dialect_of(connection).lift_time_limits(connection)
                if not copy:
                    schema.require_no_tables(connection, database)
                built = _begin(connection, copy)
                yield built
                connection.commit()
            new.checkpoint(engine)
        built.set_aside = database.end_replacement()


def copy_rows(source: Snapshot, path: Path, check: Callable[[], None]) -> None:
    """Write the journaled rows of a database into a new SQLite file.

    ``check`` is called often, and may raise to stop. Raises DatabaseError, DiskFull.
    """
    with building(locate(path), copy=False, group_readable=False) as copied:
        for table, rows in source.stream(journaled_rows.all_rows, ROWS_AT_ONCE):
            check()
            changes = [RowChange(table, key, values) for key, values in rows]
            copied.apply(schema.head(), changes)
        head = source.read(outbox.read_head) or JournalHead(0, "", "", 0)
        copied.finish(head, source.read(journaled_rows.sequences))


def _begin(connection: Connection, copy: bool) -> RebuiltDatabase:
    if not copy:
        return RebuiltDatabase(connection, None)
    counters.drop(connection)
    dialect_of(connection).drop_journal_triggers(connection)
    revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return RebuiltDatabase(connection, str(revision))


@contextmanager
def open_copy(catalog: Catalog, root: Path, check: Callable[[], None]) -> Iterator[Catalog]:
    """Open a copy for writing, and remove it after the block. It has no journal.

    ``root``: the directory of the archive. ``check`` is called often while the rows are copied, and may raise
    to stop. Raises DatabaseError, DiskFull, StorageError.
    """
    with temporary_directory(root) as place:
        path = place / "copy.db"
        with catalog.snapshot() as snapshot:
            copy_rows(snapshot, path, check)
        with Catalog.open(path, write=True) as copy:
            copy.write(schema.drop_journal_triggers)
            yield copy
