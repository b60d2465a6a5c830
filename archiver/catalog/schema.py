"""The schema: whether a database is ours and of our time, how one is made, and how an older one is brought up to date.

Nothing is written to a database before it is known to be ours and not newer. The revisions in ``migrations/`` are the only way in
which tables come to be; each upgrade is one transaction. alembic is imported only to upgrade: it takes a third of a second.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

import archiver
from archiver.catalog import copies, tables
from archiver.catalog import engine as engines
from archiver.catalog.engine import Database
from archiver.catalog.error_mapping import told
from archiver.errors import DatabaseError, DatabaseForeign, SchemaNew, SchemaOld
from archiver.model.identity import utcnow

APPLICATION_ID = 0x41524348
"""«ARCH» in the head of our SQLite files; revision 0001 sets it."""

FORMAT = 1
"""The format of the whole archive, as the row of ``archive`` states it."""

_LOOK = (
    "SELECT (SELECT version_num FROM alembic_version), id, EXISTS (SELECT 1 FROM runs) FROM archive LIMIT 1"
)


def migrations() -> Path:
    """Where the revisions lie: in the wheel inside the package, in a checkout beside it."""
    package = Path(archiver.__file__).parent
    inside = package / "_migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def revisions() -> tuple[str, ...]:
    """All revisions that this version knows, oldest first: the numbers that their files begin with."""
    names = (path.name for path in (migrations() / "versions").glob("[0-9]*_*.py"))
    return tuple(sorted(name.partition("_")[0] for name in names))


def head() -> str:
    """The revision that this version works with."""
    return revisions()[-1]


@dataclass(frozen=True, slots=True)
class Standing:
    """What a database of ours says of itself at any revision; ``used``: a run was begun in it."""

    revision: str
    archive_id: str
    used: bool


def look(database: Database) -> Standing:
    """Whose the database is and where it stands.

    Raises DatabaseForeign if it is not one of ours, DatabaseError if it is missing, empty, damaged or out of reach. Nothing is written.
    """
    with told(str(database)):
        row = _postgresql_row(database) if database.path is None else _sqlite_row(database, database.path)
    if row is None or row[0] is None:
        raise DatabaseForeign(f"the database {database} is not one of archiver's", "archiver init makes one")
    revision, archive_id, used = row
    return Standing(str(revision), str(archive_id), bool(used))


def current(database: Database) -> str:
    """The revision that the database stands at. Raises as ``look``."""
    return look(database).revision


def check(database: Database) -> None:
    """Raise SchemaOld or SchemaNew unless the database stands at ``head``; else as ``current``."""
    found = current(database)
    if found != head():
        _refuse_newer(found, database)
        raise SchemaOld(
            f"the database {database} is of an older version (revision {found})", "archiver db upgrade"
        )


def upgrade(database: Database) -> Path | None:
    """Bring an older database to ``head`` in one transaction; returns the copy made of a SQLite file before, None if there was none.

    Raises as ``current``, SchemaNew for one that is newer, DatabaseError for a damaged one, DiskFull; the database then is what it was.
    """
    found = current(database)
    if found != head():
        _refuse_newer(found, database)
    if database.path is not None:
        with told(str(database)):
            copies.check_what_a_crash_left(database.path)
    if found == head():
        return None
    copy = None
    with told(str(database)):
        if database.path is not None:
            for leftover in database.path.parent.glob(f".{database.path.name}.{found}-*{copies.PART}*"):
                leftover.unlink()  # of an upgrade that was killed while it copied
            copy = database.path.with_name(f"{database.path.name}.{found}-{utcnow():%Y%m%dT%H%M%S.%fZ}")
            copies.copy_sqlite(database.path, copy)
        engine = engines.writer(database, foreign_keys=False)
        try:
            with engine.begin() as connection:
                _migrate(connection)
                from archiver.catalog import documents  # no command that only reads has to wait for it

                documents.fill(connection)
        finally:
            engine.dispose()
    return copy


def create(database: Database, archive_id: str, now: datetime, *, group_readable: bool = False) -> None:
    """Make a new database at ``head`` with its row in ``archive``: there whole, or not at all.

    Raises DatabaseError if there is a file already, DatabaseForeign if the PostgreSQL database has tables.
    """
    with told(str(database)):
        if database.path is not None:
            _create_file(database.path, archive_id, now, group_readable)
            return
        engine = engines.writer(database)
        try:
            _create_in(engine, database, archive_id, now)
        finally:
            engine.dispose()


def require_empty(database: Database) -> None:
    """Raise DatabaseForeign if the PostgreSQL database has tables. Nothing is written."""
    with told(str(database)):
        engine = engines.reader(database)
        try:
            with engine.connect() as connection:
                _require_no_tables(connection, database)
        finally:
            engine.dispose()


def _require_no_tables(connection: Connection, database: Database) -> None:
    if inspect(connection).get_table_names():
        raise DatabaseForeign(
            f"the database {database} has tables already", "name an empty one in archive.database"
        )


def _create_file(path: Path, archive_id: str, now: datetime, group_readable: bool) -> None:
    _require_regular_files(path)
    if path.exists():
        raise DatabaseError(f"there is a database already: {path}")
    new = path.with_name(path.name + engines.NEW)  # of a creation that was killed, if it is there
    for leftover in (new, new.with_name(new.name + "-wal"), new.with_name(new.name + "-shm")):
        with suppress(FileNotFoundError):
            leftover.unlink()
    engines.new_file(new, group_readable=group_readable)
    engine = engines.writer(Database(path=new))
    try:
        _create_in(engine, Database(path=new), archive_id, now)
        engines.checkpoint(engine)  # what stays in the WAL is left behind by the new name
    finally:
        engine.dispose()
    engines.sync(new)
    new.replace(path)
    engines.sync(path)


def _create_in(engine: Engine, database: Database, archive_id: str, now: datetime) -> None:
    with engine.begin() as connection:
        _require_no_tables(connection, database)
        _migrate(connection)
        connection.execute(
            tables.archive.insert().values(id=archive_id, format=FORMAT, created_at=now),
        )


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(migrations()).replace("%", "%%"))
    command.upgrade(config, "head")
    if connection.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
        raise DatabaseError("the upgrade would leave rows that refer to nothing; it was undone")


def _refuse_newer(found: str, database: Database) -> None:
    if found not in revisions():
        raise SchemaNew(
            f"the database {database} is of a newer version (revision {found})",
            "install the newer archiver; this one must not touch it",
        )


def _require_regular_files(path: Path) -> None:
    """Raise DatabaseError if a link, pipe or the like is in place of a SQLite file, or of a file beside it.

    SQLite would follow the link, and write to its target. Directories of the path may be links.
    """
    for ending in ("", "-wal", "-shm", "-journal"):
        file = path.with_name(path.name + ending)
        try:
            mode = file.lstat().st_mode
        except FileNotFoundError:
            continue
        if stat.S_ISREG(mode):
            continue
        what, hint = "not a regular file", "restore a copy"
        if stat.S_ISLNK(mode):
            what, hint = "a symbolic link", "put the database there, or name its path in archive.database"
        if ending:
            hint = "remove it: SQLite makes no such file"
        raise DatabaseError(f"the database file {file} is {what}", hint)


def _sqlite_row(database: Database, path: Path) -> Sequence[object] | None:
    _require_regular_files(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise DatabaseError(
            f"there is no database at {path}", "restore it, or mount the disk that holds it"
        ) from None
    if size == 0:  # SQLite would take it for a new database
        raise DatabaseError(f"the database {path} is empty (0 bytes)", "restore a copy")
    # Never by open(): closing another descriptor of the file would drop the locks that SQLite holds on it.
    with closing(engines.open_for_reading(database)) as raw:
        (application_id,) = raw.execute("PRAGMA application_id").fetchone()
        if application_id != APPLICATION_ID:
            return None
        row: tuple[object, ...] | None = raw.execute(_LOOK).fetchone()
        return row


def _postgresql_row(database: Database) -> Sequence[object] | None:
    engine = engines.reader(database)
    try:
        with engine.connect() as connection:
            return connection.execute(text(_LOOK)).first()
    except DBAPIError as exc:
        if getattr(exc.orig, "sqlstate", None) != "42P01":  # no such table
            raise
        return None
    finally:
        engine.dispose()
