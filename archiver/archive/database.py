"""The database of an archive: where it is, its schema, and its tables."""

from __future__ import annotations

import os
from pathlib import Path

from archiver.blobs import marker
from archiver.catalog import Catalog, Database, locate, schema
from archiver.config import Config
from archiver.errors import DatabaseForeign, MarkerMismatch
from archiver.model.query_results import Rows
from archiver.work import Work

_SECONDS = 60.0


def find_database(config: Config) -> str | Path:
    """Return the path or URL of the database.

    It is the configured one, or ``archive.db`` if the configuration is for another archive.

    Raises MarkerMismatch if there is no ``archive.db`` and the configured database belongs to another
    archive.
    """
    configured, root = config.archive.database, config.archive.directory
    own = root / "archive.db"
    if configured is None:
        return own
    if config.has_own_database is None and os.path.lexists(own) and marker.exists(root):
        # The configuration does not say which archive its database is for. If both databases belong to
        # this archive, its database was moved.
        own_id = marker.read(root).id
        if _belongs_to(own, own_id) and not _belongs_to(configured, own_id):
            return own
    if config.has_own_database is not False:
        return configured
    if os.path.lexists(own) or not marker.exists(root):
        return own
    if schema.read_status(locate(configured)).archive_id != marker.read(root).id:  # it may have been moved
        raise MarkerMismatch(
            f"the database of the archive {root} is unknown: it has no archive.db, "
            "and the configured database belongs to another archive",
            "name the configuration of that archive: --config FILE",
        )
    return configured


def locate_database(config: Config) -> Database:
    """Return where the database is. Raises the errors of ``find_database``."""
    return locate(find_database(config))


def find_query_database(config: Config) -> str | Path:
    """Return the database for the user's SQL: ``archive.query_database`` if it is set.

    Raises the errors of ``find_database``.
    """
    database = find_database(config)
    if config.archive.query_database and database == config.archive.database:
        return config.archive.query_database
    return database


def read_revisions(config: Config) -> tuple[str, str]:
    """Return the revision of the database's schema, and the one that this version needs."""
    marker.read(config.archive.directory)
    return schema.read_status(locate_database(config)).revision, schema.head()


def upgrade_schema(config: Config) -> tuple[str, str]:
    """Bring the schema up to date; a SQLite file is copied first. Return the revisions before and after.

    Raises MarkerMismatch, with nothing written, if the database belongs to another archive; ArchiveLocked,
    SchemaNew, DatabaseError.
    """
    from archiver.archive.session import open_rows

    marker.read(config.archive.directory)
    before = schema.read_status(locate_database(config)).revision
    with open_rows(config, "db upgrade", Work(), mend_triggers=True):
        return before, schema.head()


def read_schema(catalog: Catalog) -> Rows:
    """Return a row (table, column, meaning) for each column, and one without a column for each table.

    Tables that docs/schema.md does not describe, such as those of the search, are left out.
    """
    from archiver.datasette.metadata import describe_tables

    described = describe_tables()
    rows: list[tuple[str, str | None, str | None]] = []
    for table, column in catalog.list_columns(_SECONDS).rows:
        table, column = str(table), str(column)
        if table not in described:
            continue
        if not rows or rows[-1][0] != table:
            rows.append((table, None, described[table].text or None))
        rows.append((table, column, described[table].columns.get(column) or None))
    return Rows(("table", "column", "meaning"), tuple(rows))


def _belongs_to(database: str | Path, archive_id: str) -> bool:
    """Return whether a database holds the rows of this archive. Raises DatabaseError."""
    try:
        return schema.read_status(locate(database)).archive_id == archive_id
    except DatabaseForeign:
        return False
