"""The rows of an archive alone: where they are, and how they are asked. Nothing here needs the blobs, the kept answers or a network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, Database, locate, schema
from archiver.config import Config
from archiver.errors import DatabaseForeign, MarkerMismatch, NoArchive, StorageError


@contextmanager
def reading(config: Config, *, asked: bool = False) -> Iterator[Catalog]:
    """The rows, open for reading; marker and database were found to agree.

    ``asked``: by a person's own SQL, so as the role that ``archive.query_database`` names, if it names one, and as no other.
    """
    found = marker_of(config)
    source = database(config)
    if asked and config.archive.query_database and source == config.archive.database:
        source = config.archive.query_database
    with Catalog.open(source, write=False) as catalog:
        found.require(catalog.archive_id, config.archive.directory)
        yield catalog


def marker_of(config: Config) -> Marker:
    return marker.read(config.archive.directory)


def belongs(config: Config, home: Path | None) -> bool:
    """Return whether the archive of this command is the one in ``home`` (see ``Config.accounts_archive``),
    however its path is spelled.

    A copy is the same archive: its marker has the same id.
    """
    root = config.archive.directory
    if home is None or os.path.realpath(root) == os.path.realpath(home):
        return True
    with suppress(NoArchive, StorageError):
        return marker.read(root).id == marker.read(home).id
    return False


def database(config: Config) -> str | Path:
    """Return where the rows are: the configured database, or ``archive.db`` of an archive that the
    configuration is not for.

    Raises MarkerMismatch for an archive without ``archive.db`` to which the configured database does not
    belong.
    """
    configured, root = config.archive.database, config.archive.directory
    own = root / "archive.db"
    if configured is None:
        return own
    if config.database_archive is None and os.path.lexists(own) and marker.exists(root):
        # Nothing says which archive the configured one is for. Where both are this one's, it was moved there.
        own_id = marker.read(root).id
        if _holds(own, own_id) and not _holds(configured, own_id):
            return own
    if belongs(config, config.database_archive):
        return configured
    if os.path.lexists(own) or not marker.exists(root):
        return own
    if schema.read_status(locate(configured)).archive_id != marker.read(root).id:  # it may have been moved
        raise MarkerMismatch(
            f"the database of the archive {root} is not known: it has no archive.db, "
            "and the configured database belongs to another archive",
            "name the configuration of that archive: --config FILE",
        )
    return configured


def _holds(database: str | Path, archive_id: str) -> bool:
    """Whether it holds the rows of this archive; not if it is none of ours. Raises DatabaseError."""
    try:
        return schema.read_status(locate(database)).archive_id == archive_id
    except DatabaseForeign:
        return False


def place(config: Config) -> Database:
    return locate(database(config))
