"""The marker of an archive in a bucket: the object ``archive.json``, the same as in the archive's directory.

It says whose bucket this is, and it is the probe of every command that writes: it is read, compared, and put
again with the same bytes. This finds wrong keys, missing rights, a wrong clock, a missing bucket and a store
that cannot be reached, before anything is paid for.

An archive whose ``objects`` are in its directory has no second marker: nothing is read, compared or put then.
"""

from __future__ import annotations

from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.errors import MarkerMismatch, StorageError
from archiver.model.journal_entries import JournalEnd
from archiver.store.objects import MARKER, ObjectMissing, Objects


def read(objects: Objects) -> Marker | None:
    """Return the marker in the bucket; None if there is none. Raises StorageError if it is not valid."""
    if not objects.is_remote:
        return None
    try:
        text = objects.read(MARKER, 0, marker.LARGEST + 1)
    except ObjectMissing:
        return None
    return marker.parse(text, objects.location(MARKER))


def create(objects: Objects, own: Marker) -> None:
    """Put the marker of an archive into the bucket; one that an interrupted creation left may be there.

    It is looked for first, and read back: a store that does not know If-None-Match replaces what another
    archive has there. Raises MarkerMismatch if the place belongs to another archive, StorageError.
    """
    if objects.is_remote and read(objects) is None:
        objects.put_new(MARKER, marker.pack(own))
    require(objects, own)


def require_free(objects: Objects, own_id: str | None = None) -> None:
    """Raise StorageError if an archive has its marker here, but not that of the archive ``own_id``.

    Also if there is no such bucket.
    """
    found = read(objects)
    if found is not None and found.id != own_id:
        raise StorageError(
            f"{objects.location('')} has an archive already: {MARKER} is there",
            "set archive.storage to another prefix; or, to go on with that archive, put this object into the "
            "directory, then archiver db rebuild",
        )
    if found is None:
        require_apart(objects)


def require_apart(objects: Objects) -> None:
    """Raise StorageError if there is an archive above or below this prefix, as far as that can be seen."""
    nested = objects.find_nested(MARKER)
    if nested is not None:
        raise StorageError(
            f"{objects.location('')} and another archive would be one in the other: {nested} is there",
            "set archive.storage to another prefix",
        )


def require(objects: Objects, own: Marker) -> Marker:
    """Check that the bucket belongs to the archive with this marker, and return the one in the bucket.

    Raises MarkerMismatch if it belongs to another one, StorageError if it has no marker or cannot be read.
    """
    if not objects.is_remote:
        return own
    found = read(objects)
    if found is None:
        raise StorageError(
            f"there is no archive at {objects.location('')}: {MARKER} is missing",
            "correct archive.storage; or restore that object from archive.json in the archive's directory",
        )
    require_own(objects, found, own)
    if found.removals > own.removals:
        raise MarkerMismatch(
            "archive.json in the directory is from before an account was forgotten",
            f"put {objects.location(MARKER)} in its place, then archiver db rebuild",
        )
    if found.storage != own.storage:
        raise StorageError(
            f"the archive has left {objects.location('')}: it is in {found.storage or 'a directory'} now",
            "correct archive.storage",
        )
    return found


def require_own(objects: Objects, found: Marker, own: Marker, hint: str = "correct archive.storage") -> None:
    """Raise MarkerMismatch if ``found``, which was read there, is the marker of another archive."""
    if found.id != own.id:
        raise MarkerMismatch(
            f"{objects.location('')} belongs to another archive ({found.id}, not {own.id})", hint
        )


def rewrite(objects: Objects, new: Marker) -> None:
    """Replace the marker in a bucket by one of the same archive, as it is after a move.

    A later end of the journal that is there is kept. Raises MarkerMismatch, with nothing written, if the
    place belongs to another archive, StorageError.
    """
    found = read(objects)
    if found is not None:
        require_own(objects, found, new)
        new = new.with_end(found.journal)
    _put(objects, new)


def record_end(objects: Objects, own: Marker, end: JournalEnd) -> None:
    """Record where the journal ends, unless a later end is recorded. Raises the errors of ``require``."""
    found = require(objects, own)
    if found.with_end(end) != found:
        _put(objects, found.with_end(end))


def probe(objects: Objects, own: Marker) -> Marker:
    """Check the same as ``require``, and that the bucket can be written. Raises the same errors.

    Return the marker that is there now: ``own``, with the later end of the journal.
    """
    own = own.with_end(require(objects, own).journal)
    _put(objects, own)
    return own


def _put(objects: Objects, own: Marker) -> None:
    if objects.is_remote:
        objects.put(MARKER, marker.pack(own))
