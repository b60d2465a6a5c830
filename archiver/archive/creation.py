"""Creates an archive, or its missing marker."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database, locate_database
from archiver.blobs import bucket_marker, marker
from archiver.blobs.marker import Marker
from archiver.blobs.store import make_blob_store
from archiver.catalog import Catalog, record, schema
from archiver.config import Config
from archiver.durable import open_root, storage_errors
from archiver.errors import DatabaseForeign, StorageError
from archiver.model.identity import utcnow
from archiver.runner import run_lock

OWN_NAMES = frozenset(
    {"archive.json", ".archive.json.part", "blobs", "answers", "journal", "quarantine", "tmp", "log", "lock"}
)
"""What an archive has in its directory, beside its database."""
_LEFT_BEHIND = OWN_NAMES | {"archive.db", "archive.db.new"}
"""What an interrupted creation may leave behind. Without the marker it is completed, not refused."""
_OWN_PREFIXES = ("archive.db-", "archive.db.new-")
"""Prefixes of the files that SQLite puts beside a database, or beside one that is being created."""


def create_archive(config: Config, *, demo: bool = False) -> bool:
    """Make the empty archive that the configuration names. Return False if there is one already.

    Raises StorageError if the directory holds something else; DatabaseError, ArchiveLocked, DiskFull. The
    marker is written last: without it there is no archive.
    """
    root = config.archive.directory
    if is_archive(root):
        return False
    storage = ArchiveStorage(config)
    unfinished = _unfinished_database(config)  # one that cannot be used is refused before anything is made
    bucket_marker.require_free(storage.objects(), None if unfinished is None else unfinished.archive_id)
    group_readable = config.archive.group_readable
    with storage_errors(f"{root} cannot be made"):
        os.close(open_root(root, 0o750 if group_readable else 0o700))
    with run_lock.hold_run_lock(root / "lock", "init"):
        if (root / "archive.json").exists():
            return False  # another process has just created the archive
        make_blob_store(storage.objects())
        with _open_new_catalog(config) as catalog:
            own = Marker(catalog.archive_id, is_demo=demo, storage=config.archive.storage)
            bucket_marker.create(storage.objects(), own)
            if catalog.storage != own.storage:  # an interrupted creation was to be somewhere else
                catalog.write(record.record_storage, own.storage)
            marker.write(root, own, group_readable=group_readable)
    return True


def require_configured_storage(config: Config) -> None:
    """Raise StorageError if the archive that is there is stored elsewhere than the configuration says."""
    own = marker.read(config.archive.directory)
    if own.storage != config.archive.storage:
        ArchiveStorage(config).require(own.storage, own)


def create_for_run(config: Config) -> bool:
    """Make the archive for its first run if it does not exist. Return whether it was made.

    Raises KeyMissing and DiskFull before anything is made, then as ``create_archive``.
    """
    from archiver.archive.nightly_run import require_key, require_space

    require_key(config)
    if not marker.exists(config.archive.directory):
        require_space(config)
    return create_archive(config)


def restore_marker(config: Config) -> bool:
    """Write the marker of an archive again if nothing else is missing. Return whether it was written.

    The archive must have rows, and it must be certain that they belong here. In a directory, they are in its
    own ``archive.db``, and there are blobs: it is not an empty mount point. With ``archive.storage``, the
    bucket's marker has their id. Raises ArchiveLocked, MarkerMismatch, StorageError, DatabaseError.
    """
    root, group_readable = config.archive.directory, config.archive.group_readable
    storage = ArchiveStorage(config)
    if marker.exists(root) or (not storage.is_remote and not _has_own_rows(config)):
        return False
    found = _read_status(config)
    if found is None or not found.has_runs:
        return False
    with storage_errors(f"{root} cannot be made"):
        os.close(open_root(root, 0o750 if group_readable else 0o700))
    with run_lock.hold_run_lock(root / "lock", "init"):
        if not marker.exists(root):
            own = Marker(found.archive_id, storage=found.storage, removals=found.removals)
            storage.require(found.storage, own)
            own = storage.probe(own)
            marker.write(root, own, group_readable=group_readable)
    return True


def _has_own_rows(config: Config) -> bool:
    """Return whether the directory has blobs and a database of its own."""
    database = config.archive.directory / "archive.db"
    has_both = marker.has_blobs(config.archive.directory) and os.path.lexists(database)
    return has_both and find_database(config) == database


def is_archive(root: Path) -> bool:
    """Return whether a directory is an archive; False if one can be made there.

    Raises StorageError if it holds something else.
    """
    with storage_errors(f"{root} cannot be read"), suppress(FileNotFoundError):
        if root.exists() and not root.is_dir():
            raise StorageError(f"{root} is a file, not a directory", "choose another path")
        if (root / "archive.json").exists():
            return True
        others = sorted(
            path.name
            for path in root.iterdir()
            if path.name not in _LEFT_BEHIND and not path.name.startswith(_OWN_PREFIXES)
        )
        if others:
            raise StorageError(
                f"{root} is not empty: it holds {others[0]!r}",
                "name an empty directory, or one that does not exist",
            )
    return False


def _open_new_catalog(config: Config) -> Catalog:
    """Open a new database, or the one that an interrupted creation left."""
    database = find_database(config)
    if _unfinished_database(config) is None:
        group_readable = config.archive.group_readable
        return Catalog.create(
            database,
            uuid.uuid4().hex,
            utcnow(),
            storage=config.archive.storage,
            group_readable=group_readable,
        )
    return Catalog.open(database, write=True)


def _unfinished_database(config: Config) -> schema.SchemaStatus | None:
    """Return the status of a database that an interrupted creation left; None if there is none.

    Raises StorageError if it has runs, because it then belongs to an archive that has lost its marker, and
    DatabaseForeign if it holds something else.
    """
    status = _read_status(config)
    if status is not None and status.has_runs:
        raise StorageError(
            f"the database {locate_database(config)} is in use, by the archive {status.archive_id}; "
            f"its marker archive.json is missing in {config.archive.directory}",
            "restore archive.json from a copy, or name another directory and another database"
            if config.archive.storage is None
            else "archiver init writes it again, if the bucket has the marker of this archive",
        )
    return status


def _read_status(config: Config) -> schema.SchemaStatus | None:
    """Return the status of the database; None if there is none. Raises DatabaseForeign."""
    place = locate_database(config)
    if place.is_missing():
        return None
    try:
        return schema.read_status(place)
    except DatabaseForeign:
        if place.path is not None:
            raise
        schema.require_empty(place)
        return None
