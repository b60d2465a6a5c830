"""The schema: check whether a database is ours, current and complete, create one, upgrade an older one.

Nothing is written to a database before it is known to be ours and not newer than the program. Only the
revisions in ``migrations/`` create tables; each upgrade is one transaction. alembic, which takes a third of a
second, and the declared tables are imported only by what writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import Connection, Engine, inspect

import archiver
from archiver.catalog.dialects import Database, dialect_of, disposing, map_errors
from archiver.errors import (
    ArchiveTooOld,
    DatabaseError,
    DatabaseForeign,
    JournalDiffers,
    SchemaNew,
    SchemaOld,
)
from archiver.model.journal_entries import Entry, JournalHead
from archiver.text_format import make_safe

FORMAT = 1
"""The format of the whole archive, stored in the table ``archive``."""

_ONE_MIGRATION = Lock()
"""What alembic calls its context is of the process, not of the thread."""

_STATUS = (
    "SELECT (SELECT version_num FROM alembic_version), id, EXISTS (SELECT 1 FROM runs) FROM archive LIMIT 1"
)
_STORAGE = "SELECT storage, (SELECT count(*) FROM removals) FROM archive LIMIT 1"


class SchemaStatus(Struct, frozen=True):
    """What a database of archiver says about itself, at any revision since the first.

    ``has_runs``: a run has been recorded in it. ``storage``: where blobs, answers and journal are, as in
    ``archive.storage``; None if they are in the directory of the archive. ``removals``: how often
    ``archiver forget`` has removed an account from it.
    """

    revision: str
    archive_id: str
    has_runs: bool
    storage: str | None
    removals: int


class DatabaseState(SchemaStatus, frozen=True):
    """Whose database it is, at which revision, and where its journal ends.

    ``has_triggers``, ``has_counters``: whether all triggers of the journal, and of the counters, are there;
    True for an older schema, since the upgrade creates them. ``head``: None if it has no journal yet.
    ``pending``: the entries in the outbox, which a killed process may have written to the journal after
    ``head``.
    """

    has_triggers: bool
    has_counters: bool
    head: JournalHead | None
    pending: tuple[Entry, ...]

    def require_triggers(self) -> None:
        """Raise JournalDiffers if triggers are missing: the journal would miss changes."""
        if error := self.describe_missing_triggers():
            raise error

    def describe_missing_triggers(self) -> JournalDiffers | None:
        """Return the error that ``require_triggers`` raises; None if all triggers are there."""
        if self.has_triggers:
            return None
        return JournalDiffers(
            "the database lacks triggers of the journal, or they were changed: it would miss changes",
            "archiver db upgrade creates them again, and starts a new journal with all rows",
        )


def migrations() -> Path:
    """Return the folder of the revisions: inside the package in a wheel, beside it in a checkout."""
    package = Path(archiver.__file__).parent
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revisions() -> tuple[str, ...]:
    """Return all revisions that this version knows, oldest first: the numbers in their file names."""
    names = (path.name for path in (migrations() / "versions").glob("[0-9]*_*.py"))
    return tuple(sorted(name.partition("_")[0] for name in names))


def head() -> str:
    """Return the revision that this version works with."""
    return revisions()[-1]


def is_too_old(revision: str) -> bool:
    """Return whether a revision is from before the first one that this version knows."""
    return revision < revisions()[0]


@contextmanager
def connect(database: Database, reader: Engine | None = None) -> Iterator[Connection]:
    """Open a connection that only reads, to a database of any revision, or one that is not ours.

    ``reader``: the engine to open it with, if there is one. Raises DatabaseError, also from the block.
    """
    with ExitStack() as stack, map_errors(database):
        database.require_present()
        if reader is None:
            reader = database.create_reader()
            stack.callback(reader.dispose)
        yield stack.enter_context(reader.connect())


def read_status(database: Database) -> SchemaStatus:
    """Return which archive the database belongs to, and its revision. Writes nothing.

    Raises DatabaseForeign if it is not a database of archiver, ArchiveTooOld, DatabaseError if it is missing,
    empty, damaged or cannot be reached.
    """
    with connect(database) as connection:
        return status_of(connection, database)


def status_of(connection: Connection, database: Database) -> SchemaStatus:
    """Return the same as ``read_status``, read over a connection to the database."""
    dialect = dialect_of(connection)
    _refuse_foreign(dialect.find_view_of_table(connection), database)  # before anything is read
    row = dialect.read_status(connection, _STATUS)
    if row is None or row[0] is None:
        raise DatabaseForeign(
            f"the database {database} does not belong to archiver",
            "archiver init makes a new one; archiver db rebuild makes it from the journal of an archive",
        )
    revision, archive_id, has_runs = row
    if is_too_old(revision):
        what_it_does = "replaces it" if database.path is not None else "fills an empty one"
        raise ArchiveTooOld(
            f"the database {database} has a schema that is too old for this version (revision {revision})",
            or_else=f"; if it is only an old copy: archiver db rebuild {what_it_does}",
        )
    if revision in revisions():
        _refuse_foreign(dialect.find_foreign(connection, is_newest=revision == head()), database)
    storage, removals = connection.exec_driver_sql(_STORAGE).one()
    return SchemaStatus(str(revision), str(archive_id), bool(has_runs), storage, removals)


def read_state(database: Database) -> DatabaseState:
    """Return the state of a database at any revision that this version knows. Writes nothing.

    Raises SchemaNew if a newer version made it, ArchiveTooOld, DatabaseForeign if it is not a database of
    archiver, DatabaseError if it is missing, empty, damaged or cannot be reached.
    """
    with connect(database) as connection:
        return state_of(connection, database)


def state_of(connection: Connection, database: Database) -> DatabaseState:
    """Return the same as ``read_state``, read over a connection to the database."""
    from archiver.catalog import counters, outbox  # slow to import, and few readers need them

    status = status_of(connection, database)
    refuse_newer(status.revision, database)
    is_current = status.revision == head()
    end = outbox.read_head(connection)
    return DatabaseState(
        **asdict(status),
        has_triggers=not is_current or dialect_of(connection).has_journal_triggers(connection),
        has_counters=not is_current or counters.are_complete(connection),
        head=end,
        pending=() if end is None else outbox.read_pending(connection, end),
    )


def _refuse_foreign(foreign: str | None, database: Database) -> None:
    if foreign is not None:
        raise DatabaseForeign(
            f"the schema of the database {database} is not as archiver made it: {make_safe(foreign)}",
            "restore a copy that you trust; or move it away, then archiver db rebuild",
        )


def require_current(revision: str, database: Database) -> None:
    """Raise SchemaOld or SchemaNew unless the revision of the database is ``head``."""
    if revision != head():
        refuse_newer(revision, database)
        raise SchemaOld(
            f"the database {database} has an older schema (revision {revision})", "run archiver db upgrade"
        )


def refuse_newer(revision: str, database: Database) -> None:
    """Raise SchemaNew if this version does not know the revision of the database."""
    if revision not in revisions():
        raise SchemaNew(
            f"the database {database} has a newer schema (revision {revision})",
            "install a newer archiver: this version must not use it",
        )


def upgrade(database: Database, revision: str) -> Path | None:
    """Upgrade an older database, whose revision is ``revision``, to ``head`` in one transaction.

    Return the path of the copy that was made of a SQLite file first; None if there was no copy. Raises
    DatabaseError for a damaged database, DiskFull. After an error the database is unchanged.
    """
    with map_errors(database):
        database.check_after_crash()
        if revision == head():
            return None
        copy = database.copy_before_upgrade(revision)
        with disposing(database.create_writer(foreign_keys=False)) as engine, engine.begin() as connection:
            _migrate(connection)
            from archiver.catalog.search import update_documents

            update_documents(connection)
    return copy


def recreate_triggers(database: Database, *, of_journal: bool) -> None:
    """Count everything again, and create the triggers of the counters again.

    ``of_journal``: those of the journal too, and forget where it ends: changes may be missing in it, so a new
    one must begin. The caller holds the lock. Raises DatabaseError.
    """
    from archiver.catalog import counters, tables

    with map_errors(database), disposing(database.create_writer()) as engine, engine.begin() as connection:
        counters.drop(connection)  # a stranger may have made them: no row is written before
        if of_journal:
            dialect_of(connection).create_journal_triggers(connection)
            connection.execute(tables.journal_head.delete())
        counters.create(connection)


def drop_journal_triggers(connection: Connection) -> None:
    """Let no change be recorded for a journal any more."""
    dialect_of(connection).drop_journal_triggers(connection)


def create(
    database: Database,
    archive_id: str,
    now: datetime,
    *,
    storage: str | None = None,
    group_readable: bool = False,
) -> None:
    """Create a new database at ``head`` atomically, with its row in ``archive``.

    ``storage``: see ``SchemaStatus``. Raises DatabaseError if the file exists, DatabaseForeign if the
    PostgreSQL database has tables.
    """
    with map_errors(database):
        new = database.begin_creation(group_readable=group_readable)
        with disposing(new.create_writer()) as engine:
            _create_tables(engine, new, archive_id, now, storage)
            new.checkpoint(engine)
        database.end_creation()


def require_empty(database: Database) -> None:
    """Raise DatabaseForeign if the PostgreSQL database has tables. Writes nothing."""
    with connect(database) as connection:
        require_no_tables(connection, database)


def require_no_tables(connection: Connection, database: Database) -> None:
    """Raise DatabaseForeign if the database of this connection has tables."""
    if inspect(connection).get_table_names():
        raise DatabaseForeign(
            f"the database {database} already has tables", "set archive.database to an empty one"
        )


def _create_tables(
    engine: Engine, database: Database, archive_id: str, now: datetime, storage: str | None
) -> None:
    with engine.begin() as connection:
        require_no_tables(connection, database)
        _migrate(connection)
        _record_archive(connection, archive_id, now, storage)


def _record_archive(connection: Connection, archive_id: str, now: datetime, storage: str | None) -> None:
    from archiver.catalog import tables

    row = {"id": archive_id, "format": FORMAT, "created_at": now}
    if storage is not None:
        row["storage"] = storage
    connection.execute(tables.archive.insert(), row)


def migrate_to(connection: Connection, revision: str) -> None:
    """Run the migrations up to a revision, in the connection's transaction. Raises DatabaseError."""
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    with _ONE_MIGRATION:
        command.upgrade(config, revision)
    if dialect_of(connection).has_broken_reference(connection):
        raise DatabaseError("the upgrade was rolled back: it would leave rows that refer to missing rows")


def _migrate(connection: Connection) -> None:
    from archiver.catalog import counters, tables

    dialect = dialect_of(connection)
    dialect.drop_journal_triggers(connection)  # what a migration changes is not journaled: a snapshot follows
    migrate_to(connection, head())
    counters.create(connection)
    dialect.create_journal_triggers(connection)
    connection.execute(tables.journal_head.update().values(snapshot_bytes=0))
