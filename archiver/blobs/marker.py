"""``archive.json``, the marker: it says that a directory is an archive, and which one.

The mount point of an unmounted disk has no marker.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
from msgspec import Struct, field

from archiver.durable import storage_errors
from archiver.errors import ArchiveTooOld, JournalDiffers, MarkerMismatch, NoArchive, StorageError
from archiver.model.journal_entries import JournalEnd
from archiver.model.values import replace
from archiver.store import disk
from archiver.store.objects import MARKER

FORMAT = 2
"""An archive of a later format must not be changed, one of an earlier format has no journal."""

EXPORT_DIRECTORY = ".archiver-export"
"""A directory that contains one of this name is an export of an archive."""

DIRECTORY = "directory"
"""The name of the archive's own directory as a storage, where None would say that there is none."""

LARGEST = 65_536
"""Bytes; the marker has about two hundred."""


class Marker(Struct, frozen=True):
    """The contents of ``archive.json``. The archive's database has the same ``id``.

    ``format``: the version of the file layout. ``is_demo``: whether the archive is a demonstration.
    ``storage``: where blobs, answers and journal are, as in ``archive.storage``; None: in the directory.
    ``moving_to``: a move to this storage (or DIRECTORY) has copied everything and is about to end: the
    database names either place. Only a move goes on from there. None: no move is about to end.
    ``removals``: how often ``archiver forget`` has removed an account; a database that knows of fewer is a
    copy from before. ``journal``: where the journal ended after the last command that wrote; if it is longer,
    its files count. None until a command has written to the journal.
    """

    id: str
    format: int = FORMAT
    is_demo: bool = field(name="demo", default=False)
    storage: str | None = None
    moving_to: str | None = None
    removals: int = 0
    journal: JournalEnd | None = None

    def with_end(self, end: JournalEnd | None) -> Marker:
        """Return this marker with a later end of the journal; itself, if ``end`` is None or not later."""
        if end is None or (self.journal is not None and self.journal.seq >= end.seq):
            return self
        return replace(self, journal=end)

    def require(self, database_id: str, root: Path, removals: int) -> None:
        """Raise MarkerMismatch if the database belongs to another archive than the directory ``root``.

        ``removals``: of the database. Raises JournalDiffers if it is a copy from before a removal.
        """
        if self.id != database_id:
            raise MarkerMismatch(
                f"the directory {root} and the database belong to different archives "
                f"({self.id} and {database_id})",
                "mount the right disk, or name the right database",
            )
        if removals < self.removals:
            raise database_before_removal()

    def require_no_move(self) -> None:
        """Raise StorageError if a move of the archive has not ended: only the move may go on."""
        if self.moving_to is not None:
            raise StorageError(
                f"the archive is being moved to {self.moving_to}, and the move has not ended",
                f"if no other command is at work: archiver storage move {self.moving_to}",
            )


def database_before_removal() -> JournalDiffers:
    """Return the error about a database that lacks a removal of the marker, or of the journal."""
    return JournalDiffers(
        "the database is a copy from before an account was forgotten, and still holds it",
        "archiver db rebuild makes one without it; then delete the copy; on PostgreSQL set archive.database "
        "to an empty database first",
    )


def exists(root: Path) -> bool:
    """Return whether there is a marker at ``root``, readable or not."""
    return os.path.lexists(root / MARKER)


def holds_copies(directory: Path) -> bool:
    """Return whether a directory is an archive or an export: its files are copies that this program made."""
    return exists(directory) or os.path.lexists(directory / EXPORT_DIRECTORY)


def has_blobs(root: Path) -> bool:
    """Return whether any file at ``root`` may be a blob. Raises StorageError."""
    with storage_errors(f"{root / 'blobs'} cannot be listed"):
        return any((root / "blobs").glob("*/*"))


def read(root: Path) -> Marker:
    """Return the marker of the archive at ``root``.

    Raises NoArchive if there is none, ArchiveTooOld, StorageError if it cannot be read or used.
    """
    path = root / MARKER
    try:
        text = disk.Objects(root).read(MARKER, 0, LARGEST + 1)
    except StorageError as exc:
        if isinstance(exc.__cause__, FileNotFoundError | NotADirectoryError):
            raise _no_archive(root) from exc
        raise
    return parse(text, path)


def parse(text: bytes, place: object) -> Marker:
    """Return the marker with these contents. Raises ArchiveTooOld, or StorageError; ``place`` names it."""
    if len(text) > LARGEST:
        raise _unusable(place)
    try:
        fields = msgspec.json.decode(text)
        marker = msgspec.convert(fields, Marker)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as exc:
        raise _unusable(place) from exc
    if not marker.id or "format" not in fields:
        raise _unusable(place)
    if marker.format < FORMAT:
        raise ArchiveTooOld(f"{place} has a format that is too old for this version ({marker.format})")
    if marker.format > FORMAT:
        raise StorageError(
            f"{place} has format {marker.format}, this version supports format {FORMAT}",
            "install a newer archiver",
        )
    return marker


def write(root: Path, marker: Marker, *, group_readable: bool = False) -> None:
    """Write the marker durably: the last step of creating an archive. The caller holds the archive's lock.

    Raises DiskFull or StorageError. An existing marker raises StorageError, because the id of an archive
    never changes.
    """
    if not disk.Objects(root, group_readable=group_readable).put_new(MARKER, pack(marker)):
        raise StorageError(
            f"{root / MARKER} already exists", "this directory is already an archive: choose another one"
        )


def rewrite(root: Path, marker: Marker, *, group_readable: bool = False) -> None:
    """Replace the marker durably; its id must be the same.

    A later end of the journal that is there is kept. The caller holds the lock. Raises DiskFull, StorageError
    or NoArchive.
    """
    new = marker.with_end(read(root).journal)
    disk.Objects(root, group_readable=group_readable).put(MARKER, pack(new))


def pack(marker: Marker) -> bytes:
    """Return the contents of ``archive.json``."""
    fields: dict[str, object] = {"id": marker.id, "format": marker.format}
    if marker.is_demo:
        fields["demo"] = True
    if marker.storage is not None:
        fields["storage"] = marker.storage
    if marker.moving_to is not None:
        fields["moving_to"] = marker.moving_to
    if marker.removals:
        fields["removals"] = marker.removals
    if marker.journal is not None:
        fields["journal"] = msgspec.to_builtins(marker.journal)
    return json.dumps(fields).encode() + b"\n"


def _no_archive(root: Path) -> NoArchive:
    has_rows = os.path.lexists(root / "archive.db")
    if has_rows or has_blobs(root):
        return NoArchive(
            f"the marker {root / MARKER} is missing, but other parts of an archive are there",
            f"restore it from a backup{', or run archiver init to write it again' if has_rows else ''}",
        )
    return NoArchive(
        f"there is no archive at {root}",
        "mount its disk, name another directory (--archive DIR), or create one: archiver init",
    )


def _unusable(place: object) -> StorageError:
    return StorageError(
        f"{place} is not a valid marker", "restore it from a backup; the database has the same id"
    )
