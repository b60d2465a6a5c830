"""How an archive is made, opened for reading or writing, and closed: marker, lock, database and store agree, or nothing is open."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.answers.answer_store import AnswerStore
from archiver.archive import rows
from archiver.blobs import marker
from archiver.blobs.disk import DiskStore
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, schema
from archiver.catalog.query import holdings
from archiver.config import Config
from archiver.durable import open_root, storage_errors
from archiver.errors import DatabaseForeign, StorageError
from archiver.model.identity import utcnow
from archiver.runner import run_lock
from archiver.runner.workers import StopFlag

if TYPE_CHECKING:
    from archiver.media.egress import DownloadRules

_OURS = frozenset(
    {
        "archive.db",
        "archive.db.new",
        ".archive.json.part",
        "blobs",
        "tmp",
        "lock",
        "log",
        "answers",
        "quarantine",
    }
)
_BESIDE = ("archive.db-", "archive.db.new-")
"""What a creation that was cut short may have left, and what SQLite puts beside it: without the marker it is finished, not refused."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An archive open for reading or writing; ``marker`` and database were found to agree."""

    root: Path
    catalog: Catalog
    store: DiskStore
    answers: AnswerStore


def create(config: Config, *, demo: bool = False) -> bool:
    """Make the empty archive that the configuration names. Returns False where one stands already, True if it was made.

    Raises StorageError where the directory holds something else. The marker comes last: without it there is no archive.
    """
    root = config.archive.directory
    with storage_errors(f"{root} cannot be looked at"), suppress(FileNotFoundError):
        if root.exists() and not root.is_dir():
            raise StorageError(f"{root} is a file, not a directory", "name another place")
        if (root / "archive.json").exists():
            return False
        strangers = sorted(
            p.name for p in root.iterdir() if p.name not in _OURS and not p.name.startswith(_BESIDE)
        )
        if strangers:
            raise StorageError(
                f"{root} is not empty: it holds {strangers[0]!r}",
                "name an empty directory, or one that does not exist",
            )
    _left_over(config)  # a database that cannot be used is refused before anything is made
    group_readable = config.archive.group_readable
    with storage_errors(f"{root} cannot be made"):
        os.close(open_root(root, 0o750 if group_readable else 0o700))
    with run_lock.hold_run_lock(root / "lock", "init", utcnow()):
        if (root / "archive.json").exists():
            return False  # somebody else has just made it
        DiskStore.create(root, group_readable=group_readable).close()
        with _new_catalog(config) as catalog:
            marker.write(root, Marker(catalog.archive_id, demo=demo), group_readable=group_readable)
    return True


def restore_marker(config: Config) -> bool:
    """Write the marker of an archive again that lacks nothing else: rows in its own ``archive.db``, and
    blobs. Return whether it did.

    Such a directory is no empty mount point, and its rows are its own. Raises ArchiveLocked, StorageError,
    DatabaseError.
    """
    root = config.archive.directory
    if marker.exists(root) or not marker.has_blobs(root) or not os.path.lexists(root / "archive.db"):
        return False
    if rows.database(config) != root / "archive.db":
        return False
    with run_lock.hold_run_lock(root / "lock", "init", utcnow()):
        found = schema.read_status(rows.place(config))
        if found.used and not marker.exists(root):
            marker.write(root, Marker(found.archive_id), group_readable=config.archive.group_readable)
        return found.used


@contextmanager
def reading(config: Config) -> Iterator[Opened]:
    with reading_at(
        config.archive.directory, rows.database(config), group_readable=config.archive.group_readable
    ) as opened:
        yield opened


@contextmanager
def reading_at(root: Path, database: str | Path, *, group_readable: bool = False) -> Iterator[Opened]:
    """The archive at ``root`` with its rows in ``database``, without any configuration. Nothing is written."""
    found = marker.read(root)
    with Catalog.open(database, write=False) as catalog:
        found.require(catalog.archive_id, root)
        with DiskStore(root, group_readable=group_readable) as store:
            yield Opened(root, catalog, store, AnswerStore(root / "answers", group_readable=group_readable))


@contextmanager
def writing(config: Config, command: str, stop: StopFlag, wait: bool) -> Iterator[Opened]:
    found, root = rows.marker_of(config), config.archive.directory
    with ExitStack() as stack:
        stack.enter_context(
            run_lock.hold_run_lock(root / "lock", command, utcnow(), wait=stop.wait if wait else None)
        )
        # First: opening brings an older one up to date.
        found.require(schema.read_status(rows.place(config)).archive_id, root)
        catalog = stack.enter_context(Catalog.open(rows.database(config), write=True))
        store = stack.enter_context(DiskStore(root, group_readable=config.archive.group_readable))
        store.prepare()
        yield Opened(root, catalog, store, _answers(config))


def download_rules(config: Config) -> DownloadRules:
    """Return which downloads the settings allow. Raises ConfigError for a host pattern that names nothing."""
    from archiver.media.egress import DownloadRules

    return DownloadRules.of(config.download.allowed_hosts, config.download.max_file_size)


def require_blobs(opened: Opened) -> None:
    """Raises StorageError if not one of the blobs that the rows vouch for is there: a disk that is not mounted, not damage.

    Otherwise every account would be fetched again, and paid for. Nearly always the first one looked for is there. Where it is not, a
    sample will not do: of a large archive the first hundreds all lie in ``blobs/00``, and that alone may be what was lost.
    """
    missing = 0
    with closing(opened.catalog.stream(holdings.blobs)) as blobs:
        for blob in blobs:
            if blob.lost_at is not None:
                continue
            if opened.store.has(blob.sha256):
                return
            missing += 1
    if missing:
        raise StorageError(
            f"the database knows blobs, and none of {missing} looked for is in {opened.root / 'blobs'}",
            "mount its disk; if they are truly gone: archiver verify --repair --accept-loss",
        )


def upgrade(config: Config) -> tuple[str, str]:
    """Bring the schema to this version's, copying a SQLite file first. Returns the revisions before and after.

    Raises MarkerMismatch, with nothing written, where the database is another archive's; else as ``writing`` where it opens.
    """
    found, root = rows.marker_of(config), config.archive.directory
    with run_lock.hold_run_lock(root / "lock", "db upgrade", utcnow()):
        found.require(schema.read_status(rows.place(config)).archive_id, root)
        return Catalog.upgrade(rows.database(config))


def _answers(config: Config) -> AnswerStore:
    return AnswerStore(config.archive.directory / "answers", group_readable=config.archive.group_readable)


def _new_catalog(config: Config) -> Catalog:
    """A new database, or the one that a creation which was cut short before its marker has left. Raises as
    ``_left_over``."""
    database = rows.database(config)
    if _left_over(config) is None:
        group_readable = config.archive.group_readable
        return Catalog.create(database, uuid.uuid4().hex, utcnow(), group_readable=group_readable)
    return Catalog.open(database, write=True)


def _left_over(config: Config) -> schema.SchemaStatus | None:
    """Return what a creation that was cut short left where the new database is to be, None if nothing is
    there.

    Raises StorageError where runs were made in it: then it is an archive that has lost its marker.
    DatabaseForeign for one that holds something else.
    """
    where, root = rows.place(config), config.archive.directory
    if where.path is not None and not os.path.lexists(where.path):
        return None
    try:
        left = schema.read_status(where)
    except DatabaseForeign:
        if where.path is not None:
            raise
        schema.require_empty(where)
        return None
    if left.used:
        raise StorageError(
            f"the database {where} is in use, by the archive {left.archive_id}; "
            f"its marker archive.json is missing in {root}",
            "restore archive.json from a copy, or name another directory and another database",
        )
    return left
