"""Files that are made before they have a name in the export: in its scratch directory, whole, or gone again.

A clone shares its blocks with the blob (FICLONE, ioctl_ficlone(2): btrfs, XFS, bcachefs and others).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from archiver.blobs.blob_links import BlobLinks
from archiver.durable import is_rotten, storage_error, sync, write_all
from archiver.model.identity import Digest

FICLONE = 0x40049409
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_CHUNK = 1 << 20


class Damaged(Exception):
    """The bytes of a blob are not those of its name, or are not there: why, for a person."""


class Drafts:
    """The files of ``scratch``, an open directory on the export's disk. Methods that make one return its name there."""

    def __init__(self, blobs: BlobLinks, scratch: int) -> None:
        self._blobs, self._scratch = blobs, scratch

    def name(self) -> str:
        """One that no draft has."""
        return f"{secrets.token_hex(12)}.part"

    def discard(self, draft: str) -> None:
        """Remove it."""
        with suppress(OSError):
            os.unlink(draft, dir_fd=self._scratch)

    def clone(self, digest: Digest) -> str:
        """A clone of the blob. Raises OSError where there is no such thing."""
        if sys.platform != "linux":
            raise OSError(errno.ENOSYS, "only Linux' FICLONE is known")
        source = self._blobs.open(digest)
        try:
            with self._new() as (draft, fd):
                fcntl.ioctl(fd, FICLONE, source)
        finally:
            os.close(source)
        return draft

    def copy(self, digest: Digest) -> str:
        """A copy of the blob, durable. Raises Damaged."""
        with self._new() as (draft, fd):
            self.read(digest, fd)
            sync(fd)
        return draft

    def write(self, content: bytes) -> str:
        """A file of these bytes."""
        with self._new() as (draft, fd):
            write_all(fd, content)
        return draft

    @contextmanager
    def _new(self) -> Iterator[tuple[str, int]]:
        """A name and a descriptor to write to; after an error it is gone."""
        draft = self.name()
        fd = os.open(draft, _NEW, 0o666, dir_fd=self._scratch)
        try:
            yield draft, fd
        except BaseException:
            self.discard(draft)
            raise
        finally:
            os.close(fd)

    def read(self, digest: Digest, to: int | None = None) -> None:
        """Read the blob to its end, into the descriptor ``to`` if there is one. Raises Damaged unless the bytes are those of its name."""
        source = self._blobs.open(digest)
        try:
            hashed = hashlib.sha256()
            while chunk := _chunk(source):
                hashed.update(chunk)
                if to is not None:
                    write_all(to, chunk)
        finally:
            os.close(source)
        if hashed.hexdigest() != digest:
            raise Damaged("its blob is damaged (archiver verify --read-data --repair)")


def _chunk(source: int) -> bytes:
    try:
        return os.read(source, _CHUNK)
    except OSError as exc:
        error = storage_error(exc, "a blob cannot be read")
        error.__cause__ = exc
        if is_rotten(error):
            raise Damaged(
                f"its blob cannot be read: {exc.strerror} (archiver verify --read-data --repair)"
            ) from exc
        raise
