"""The interface of blob stores: ``disk``, ``bucket_store``, and ``memory`` for tests. One suite checks all.

A blob is stored under the SHA-256 of its bytes, completely or not at all. A store never deletes or changes
one. All methods may be called from several threads at once; a writer belongs to one thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from archiver.model.identity import Digest

BLOB_NAME = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})")
"""The name of a blob below ``blobs/``."""


class BlobWriter(Protocol):
    """Writes one blob. Leaving the ``with`` block without ``commit`` leaves nothing behind.

    ``commit``, leaving the block and an error of ``write`` close it. Then only ``size`` and ``digest`` work;
    everything else raises ValueError, as a closed file does.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def digest(self) -> Digest:
        """Return the SHA-256 of the bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises DiskFull or StorageError."""

    def copy(self, source: int) -> Iterator[bytes]:
        """Append a whole file, and yield the bytes of the copy, which is a reflink if possible.

        ``source`` is open for reading, at its beginning, and nothing has been written yet. Read the iterator
        to its end. Raises DiskFull or StorageError, OSError if ``source`` cannot be read.
        """

    def restart(self) -> None:
        """Discard all bytes written so far, because the sender starts again. Raises StorageError."""

    def commit(self) -> tuple[Digest, int]:
        """Make the bytes a blob and return its digest and size. It then survives a power loss.

        If the blob is stored already, it is replaced, which repairs a damaged copy. Raises DiskFull or
        StorageError.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobStore(Protocol):
    """Blobs by digest. An error of the disk is raised as StorageError, a full disk as DiskFull."""

    def prepare(self) -> None:
        """Prepare for writing; the caller holds the archive's lock. Required by ``writer``, not for reading.

        Removes unfinished files of killed runs. Raises StorageError if the store cannot be written, so that a
        run finds out before it pays for anything.
        """

    def writer(self) -> BlobWriter:
        """Return a writer of one blob. Raises DiskFull or StorageError."""

    def has(self, digest: Digest) -> bool:
        """Return whether the blob is there. Its bytes are not read."""

    def size(self, digest: Digest) -> int | None:
        """Return the blob's size in bytes; None if there is none.

        On a disk, only a regular file is a blob. In a bucket, what a quarantine left under the name is none.
        """

    def open(self, digest: Digest) -> BinaryIO:
        """Open the blob for reading; the caller closes it.

        Raises StorageError if there is none. Reading raises OSError or StorageError.
        """

    def open_range(self, digest: Digest, start: int, length: int) -> BinaryIO:
        """Open the blob at ``start``, to read at most ``length`` bytes, at least one; the caller closes it.

        From a bucket only these bytes are asked for. Raises what ``open`` raises.
        """

    def list_blobs(
        self, on_foreign: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Digest, int | None]]:
        """Yield the names of all blobs in ascending order, whatever is stored under them, and their sizes.

        A size is None if the listing does not state it, as on a disk: see ``size``.

        ``on_foreign`` is called with each other name, in printable form and relative to the store. Such files
        are never touched.
        """

    def location(self, digest: Digest) -> str:
        """Return where the blob is, for people: a path or an ``s3://`` name, whether it exists or not.

        It ends in ``blobs/ab/<sha256>``.
        """

    def quarantine(self, digest: Digest) -> str:
        """Move what is stored under this name to ``quarantine/`` and return its new location.

        Raises StorageError.
        """

    def close(self) -> None:
        """Close the store. It must not be used afterwards."""
