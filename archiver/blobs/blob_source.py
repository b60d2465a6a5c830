"""The interface of blobs for an export: ``BlobLinks`` on a disk, and ``BucketSource`` in a bucket."""

from __future__ import annotations

import os
from typing import BinaryIO, Protocol

from archiver.model.identity import Digest


class BlobSource(Protocol):
    """The blobs of an archive, for an export.

    Methods raise OSError unchanged; an export then places the file in another way. They raise StorageError if
    the store fails.
    """

    def stat(self, digest: Digest) -> os.stat_result | None:
        """Return the blob's file status; None if there is no blob under its name."""

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; the caller closes it."""

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        """Hard-link the blob as ``name`` in the open directory ``into``. Raises FileExistsError."""

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        """Set the modification time of the blob and thus of its links. The archive does not use it."""

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        """Return the statuses of what was this blob until ``verify --repair`` moved it to ``quarantine/``."""
