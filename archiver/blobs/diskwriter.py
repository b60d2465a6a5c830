"""The write order of one file, by which a blob is there whole or not at all, whatever kills the program or the power."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.durable import open_directory, storage_errors, sync, sync_directory, write_all
from archiver.errors import StorageError
from archiver.model.identity import Digest

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class DiskWriter:
    """A ``BlobWriter`` into ``tmp`` and then ``blobs``, two open directories of one file system below ``root``."""

    def __init__(self, tmp: int, blobs: int, root: Path) -> None:
        self._tmp, self._blobs, self._root = tmp, blobs, root
        self._place = root / "tmp"
        self._name = f"{secrets.token_hex(16)}.part"
        self._hash = hashlib.sha256()
        self._size = 0
        self._fd: int | None = None
        with storage_errors(f"a file cannot be made in {self._place}"):
            self._fd = os.open(self._name, _NEW, 0o600, dir_fd=tmp)

    def _open(self) -> int:
        if self._fd is None:
            raise ValueError("the blob writer is closed")
        return self._fd

    @property
    def size(self) -> int:
        return self._size

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def write(self, chunk: bytes) -> None:
        fd = self._open()
        try:
            with storage_errors(
                f"a file of {self._size + len(chunk)} bytes cannot be written in {self._place}"
            ):
                write_all(fd, chunk)
        except StorageError:
            self._discard()  # a part of the chunk may be in the file: it is not what was hashed any more
            raise
        self._hash.update(chunk)
        self._size += len(chunk)

    def restart(self) -> None:
        with storage_errors(f"a file in {self._place} cannot be cut"):
            os.ftruncate(self._open(), 0)
            os.lseek(self._open(), 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._size = 0

    def commit(self) -> tuple[Digest, int]:
        fd, digest = self._open(), self.digest()
        try:
            with storage_errors(f"{self._root}/blobs/{digest[:2]}/{digest} cannot be stored"):
                os.fchmod(fd, 0o444)  # before the sync, which makes the mode durable too
                sync(fd)
                self._fd = None  # a failed close(2) has closed it all the same
                os.close(fd)
                self._put_in_place(digest)
        except BaseException:
            self._discard()
            raise
        return digest, self._size

    def _put_in_place(self, digest: Digest) -> None:
        """Rename, make the name durable, and look again. Always a rename: equal bytes heal a rotten copy, and FAT has no links."""
        fan = open_directory(digest[:2], within=self._blobs)
        try:
            os.replace(self._name, digest, src_dir_fd=self._tmp, dst_dir_fd=fan)
            sync_directory(fan)
            found = os.stat(digest, dir_fd=fan, follow_symlinks=False)
        finally:
            os.close(fan)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self._size:
            raise StorageError(f"{self._root}/blobs/{digest[:2]}/{digest} changed while it was stored")

    def _discard(self) -> None:
        """Leave nothing behind; what cannot be removed now is swept at the next start."""
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            if fd is not None:
                os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._tmp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            self._discard()
