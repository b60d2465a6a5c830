"""The marker of an archive in a bucket: the object ``archive.json``, the same as in the archive's directory.

It says whose bucket this is, and it is the probe of every command that writes: it is read, compared, and put
again with the same bytes. This finds wrong keys, missing rights, a wrong clock, a missing bucket and a store
that cannot be reached, before anything is paid for.
"""

from __future__ import annotations

from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.bucket import Bucket
from archiver.errors import MarkerMismatch, StorageError

_NAME = "archive.json"


def create(bucket: Bucket, own: Marker) -> None:
    """Put the marker of a new archive into the bucket; one that an interrupted creation left may be there.

    Raises MarkerMismatch if the place belongs to another archive, StorageError.
    """
    if not bucket.put_if_absent(_NAME, marker.pack(own)):
        require(bucket, own)


def read(bucket: Bucket) -> Marker | None:
    """Return the marker in a bucket; None if there is none. Raises StorageError if it cannot be used."""
    text = bucket.read(_NAME, marker.LARGEST)
    return None if text is None else marker.parse(text, bucket.location(_NAME))


def require_free(bucket: Bucket, own_id: str | None = None) -> None:
    """Raise StorageError if an archive has its marker here, but not that of the archive ``own_id``.

    Also if there is no such bucket.
    """
    found = read(bucket)
    if found is not None and found.id != own_id:
        raise StorageError(
            f"{bucket.location('')} has an archive already: {_NAME} is there",
            "set archive.storage to another prefix; or, to go on with that archive, put this object into the "
            "directory, then archiver db rebuild",
        )


def require(bucket: Bucket, own: Marker) -> None:
    """Check that the bucket belongs to the archive with this marker.

    Raises MarkerMismatch if it belongs to another one, StorageError if it has no marker or cannot be read.
    """
    found = read(bucket)
    if found is None:
        raise StorageError(
            f"there is no archive at {bucket.location('')}: {_NAME} is missing",
            "correct archive.storage; or restore that object from archive.json in the archive's directory",
        )
    if found.id != own.id:
        raise MarkerMismatch(
            f"{bucket.location('')} belongs to another archive ({found.id}, not {own.id})",
            "correct archive.storage",
        )
    if found.storage != own.storage:
        raise StorageError(
            f"the archive has left {bucket.location('')}: it is in {found.storage or 'a directory'} now",
            "correct archive.storage",
        )


def leave(bucket: Bucket, new: Marker) -> None:
    """Let the marker in a bucket say that the archive is elsewhere: ``new`` names the place."""
    bucket.put(_NAME, marker.pack(new))


def probe(bucket: Bucket, own: Marker) -> None:
    """Check the same as ``require``, and that the bucket can be written. Raises the same errors."""
    require(bucket, own)
    bucket.put(_NAME, marker.pack(own))
