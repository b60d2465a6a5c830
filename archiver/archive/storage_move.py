"""Moves blobs, answers and journal of an archive to another storage: from its directory to a bucket, or back.

Everything is copied and checked first. Then the database records the new place, in a journal that goes on
there, and both markers name it. Nothing is removed from the old place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import count

from msgspec import Struct

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database
from archiver.archive.journaling import Journaling, require_current
from archiver.archive.session import open_rows
from archiver.blobs import bucket_marker, marker
from archiver.blobs.marker import Marker
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, locate, record
from archiver.catalog.database_state import read_state
from archiver.catalog.query import holdings, totals
from archiver.config import Config
from archiver.errors import StorageError, UsageError
from archiver.model.archived import StoredBlob
from archiver.model.identity import utcnow
from archiver.model.values import replace
from archiver.runner import run_lock
from archiver.runner.workers import StopFlag
from archiver.verify.verify_blobs import merge_listing

_PIECE = 1 << 20


class StorageMove(Struct, frozen=True):
    """What a move did. ``copied``: blobs that were not there yet. ``old``, ``new``: places, for people."""

    blobs: int
    copied: int
    old: str
    new: str


def move_storage(
    config: Config, destination: str | None, *, stop: StopFlag, progress: Callable[[int, int], None]
) -> StorageMove:
    """Move the archive to ``destination``: ``s3://bucket/prefix``, or None for its directory.

    A move that was interrupted goes on where it stopped. ``progress`` gets the number of blobs so far, and in
    all. The caller's configuration must name the new storage afterwards. Raises UsageError if the archive is
    there already, MarkerMismatch if the new place has another archive, StorageError if a blob is damaged,
    DiskFull, ArchiveLocked, and the errors of ``open_for_writing``.
    """
    if destination == config.archive.storage:
        raise UsageError(f"the archive is in {destination or 'its directory'} already")
    root = config.archive.directory
    own = marker.read(root)
    new_config = replace(config, archive=replace(config.archive, storage=destination))
    old, new = ArchiveStorage(config), ArchiveStorage(new_config)
    new_own = replace(own, storage=destination)
    if read_state(locate(find_database(config))).storage == destination:  # only the markers are left to do
        with run_lock.hold_run_lock(root / "lock", "storage move", utcnow()):
            _move_markers(config, old, new_own)
        return StorageMove(0, 0, old.place, new.place)
    with open_rows(config, "storage move", stop, wait=False):
        pass  # what a killed process has left is written to the old journal
    with run_lock.hold_run_lock(root / "lock", "storage move", utcnow()):
        database = find_database(config)
        state = read_state(locate(database))
        old.require(state.storage, own)
        require_current(old.journal(), state, follow_database=False, now=utcnow())
        new.create()
        new.create_marker(new_own)
        with Catalog.open(database, write=False) as catalog:
            copied = _copy_blobs(old.blobs(catalog), new.blobs(catalog), catalog, stop, progress)
            blobs = catalog.read(totals.status).blobs
        _copy_answers(old, new, stop)
        _copy_journal(old, new, stop)
        compared = require_current(new.journal(), state, follow_database=False, now=utcnow())
        with (
            Catalog.open(database, write=True) as catalog,
            Journaling(new.journal(), catalog, stop=stop, clock=utcnow) as journal,
        ):
            journal.begin(compared)
            catalog.write(record.storage, destination)
        _move_markers(config, old, new_own)
    return StorageMove(blobs, copied, old.place, new.place)


def _move_markers(config: Config, old: ArchiveStorage, new_own: Marker) -> None:
    marker.rewrite(config.archive.directory, new_own, group_readable=config.archive.group_readable)
    if old.bucket is not None:
        bucket_marker.leave(old.bucket, new_own)


def _copy_blobs(
    old: BlobStore,
    new: BlobStore,
    catalog: Catalog,
    stop: StopFlag,
    progress: Callable[[int, int], None],
) -> int:
    """Copy the blobs that the new store does not have, and return how many."""
    done = copied = 0
    with closing(old), closing(new), closing(catalog.stream(holdings.blobs)) as blobs:
        new.prepare()
        total = catalog.read(totals.status).blobs
        for blob, is_listed, size in merge_listing(blobs, new.list_blobs()):
            if blob is None:
                continue
            stop.check()
            if is_listed and size is None:
                size = new.size(blob.sha256)
            if blob.lost_at is None and size != blob.size:
                _copy_blob(old, new, blob)
                copied += 1
            done += 1
            progress(done, total)
    return copied


def _copy_blob(old: BlobStore, new: BlobStore, blob: StoredBlob) -> None:
    with old.open(blob.sha256) as source, new.writer() as writer:
        while piece := source.read(_PIECE):
            writer.write(piece)
        if writer.digest() != blob.sha256:
            raise StorageError(
                f"{old.location(blob.sha256)} is damaged, so it is not moved",
                "archiver verify --read-data --repair",
            )
        writer.commit()


def _copy_answers(old: ArchiveStorage, new: ArchiveStorage, stop: StopFlag) -> None:
    source, target = old.answers(), new.answers()
    for segment in source.segments():
        stop.check()
        if target.size(segment) != source.size(segment):
            with source.open(segment) as fd:
                target.copy_in(segment, _pieces_of(fd))


def _copy_journal(old: ArchiveStorage, new: ArchiveStorage, stop: StopFlag) -> None:
    source, target = old.journal().storage, new.journal().storage
    for name in source.names(""):
        stop.check()
        if target.size(name) != source.size(name):
            with source.open(name) as file:
                target.write_whole(name, iter(partial(file.read, _PIECE), b""))


def _pieces_of(fd: int) -> Iterator[bytes]:
    """Yield a file in pieces. Its position may be anywhere."""
    for at in count(step=_PIECE):
        if not (piece := os.pread(fd, _PIECE, at)):
            return
        yield piece
