"""The archive, for the command line and Python programs. The names in docs/python.md are public."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from archiver.archive import arguments
from archiver.archive.archive_contents import ArchiveContents
from archiver.archive.archive_reports import ArchiveReports
from archiver.archive.archive_writing import ArchiveWriting
from archiver.archive.database import locate_database
from archiver.archive.serving import ArchiveServing
from archiver.config import ArchiveSection, Config, load
from archiver.config.sections import OwnArchive
from archiver.errors import UsageError
from archiver.model.values import replace
from archiver.secret import Secret


def open_archive(
    path: str | os.PathLike[str],
    *,
    database: str | os.PathLike[str] | None = None,
    config: str | os.PathLike[str] | None = None,
    key: str | None = None,
) -> Archive:
    """Open the archive in the directory ``path`` for reading, also during a run. Reading never writes.

    ``database``: the file or PostgreSQL URL of its rows, if it is not ``<path>/archive.db``. ``config``: the
    TOML file with the settings of a run (without it the defaults); ``key``: the API key, if that file names
    no ``token_file``. Environment variables are ignored. Raises UsageError, ConfigError, NoArchive,
    MarkerMismatch if the database belongs to another archive, SchemaOld or SchemaNew if another version made
    it, DatabaseError, StorageError.
    """
    root = arguments.require_directory(path)
    place = str(arguments.require_path("database", database)) if database is not None else None
    if config is None:
        settings = Config(archive=ArchiveSection(directory=root))
    else:
        settings = load(arguments.require_path("config", config), {}, {"archive.directory": str(root)})
    if place is not None:
        place = str(database) if isinstance(database, str) else place
        section = replace(settings.archive, database=place, query_database=None)
        settings = replace(settings, archive=section, archive_of_database=OwnArchive(root))
    if key is not None:
        settings = replace(settings, token=Secret(arguments.require_text("key", key, "text")))
    with ExitStack() as stack:
        archive = stack.enter_context(Archive(settings))
        archive._open()
        stack.pop_all()
        return archive


class Archive(ArchiveContents, ArchiveReports, ArchiveWriting, ArchiveServing):
    """An archive. The first read opens it; ``close``, or the end of a ``with`` block, closes it.

    ``run``, ``repair``, ``reread`` and ``adopt`` hold the archive's lock while they write. Any thread may
    call any method; an iterator belongs to one thread at a time. It shows the archive as of its first value.
    It holds a connection until it ends, is closed, or is no longer referred to; ``close`` ends the others.
    After that every method and every iterator raises ValueError, like a closed file. An invalid argument
    raises when the method is called, not when the first value is read.
    """

    def sqlite_file(self) -> Path:
        """Return the SQLite file, for programs that read SQLite. Raises UsageError if it is in PostgreSQL."""
        path = locate_database(self._config).path
        if path is None:
            raise UsageError(
                "the archive is in PostgreSQL", "Datasette reads only SQLite: use psql or archiver query"
            )
        self._open()
        return path

    def backup_database(self, to: str | os.PathLike[str], *, dry_run: bool = False) -> int:
        """Write a consistent copy of the SQLite database, also during a run. Return its size in bytes.

        ``dry_run``: write nothing. Raises UsageError for PostgreSQL, and if the file exists; DatabaseError,
        StorageError, DiskFull.
        """
        return self._catalog.backup(arguments.require_path("to", to), dry_run=dry_run)
