"""The seam to bytes: what every blob store promises. ``disk`` keeps them, ``memory`` is its twin; one suite tests both.

A blob has one name, the SHA-256 of its bytes, and is there whole or not at all. Nothing here deletes or changes one.
All methods may be called from several threads at once; a writer belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from archiver.model.identity import Digest


class BlobWriter(Protocol):
    """Bytes on their way to become a blob. Leaving the ``with`` block without ``commit`` leaves nothing behind.

    After ``commit``, after leaving, and after an error of ``write``, it is closed: only ``size`` and ``digest`` can be asked,
    all else raises ValueError, as a closed file does.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""

    def digest(self) -> Digest:
        """The SHA-256 of the bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises DiskFull or StorageError."""

    def restart(self) -> None:
        """Forget every byte written so far: the sender starts again. Raises StorageError."""

    def commit(self) -> tuple[Digest, int]:
        """Make the bytes a blob and return its name and size: when this returns, the blob survives a power loss.

        Equal bytes that are held already are replaced by these, which heals a rotten copy. Raises DiskFull or StorageError.
        """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BlobStore(Protocol):
    """Blobs under their digests. Whatever the disk refuses is raised as StorageError, a full disk as DiskFull."""

    def prepare(self) -> None:
        """Make ready for writing, under the archive's lock: raises StorageError before anything is paid for, if it cannot be.

        Sweeps what killed runs left half written. ``writer`` needs this; reading does not.
        """

    def writer(self) -> BlobWriter:
        """A writer of one blob. Raises DiskFull or StorageError."""

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there as a regular file; its bytes are not looked at."""

    def size(self, digest: Digest) -> int | None:
        """The blob's size in bytes; None if it is not there, or is not a regular file."""

    def open(self, digest: Digest) -> BinaryIO:
        """The blob for reading; the caller closes it. Raises StorageError if it is not there or not a regular file."""

    def digests(self, foreign: Callable[[str], None] | None = None) -> Iterator[Digest]:
        """The names of all blobs in ascending order, whatever lies under them.

        ``foreign`` is told each name (relative to the store, printable) that no blob can have; such files are never touched.
        """

    def path(self, digest: Digest) -> Path:
        """Where the blob lies or would lie: its last three parts are ``blobs/ab/<sha256>``."""

    def quarantine(self, digest: Digest) -> Path:
        """Move what lies under this name aside, never deleting it, and return where it lies now. Raises StorageError."""

    def close(self) -> None:
        """Let go of the store; it is not used after this."""
