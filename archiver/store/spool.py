"""The spool: files in ``tmp/`` that hold the bytes of an object while they are written and hashed.

A worker of a shared run has a part of its own there, since others may use the same directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from archiver.durable import clone, list_names, open_levels, storage_errors, sync, write_all
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.temporary import remove_if_abandoned

COPY_CHUNK = 1 << 20
"""Bytes that ``Draft.copy`` yields at once."""

_PART = "worker-"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Draft:
    """The bytes of a new object: a file of mode 0600 in the open directory ``tmp``, and its SHA-256.

    Leaving the ``with`` block leaves nothing behind, unless ``Objects.put_draft`` has stored the draft. That,
    leaving the block and an error of ``write`` close it. Then only ``size`` and ``digest`` work; everything
    else raises ValueError, as a closed file does. A draft belongs to one thread.
    """

    def __init__(self, tmp: int, directory: str) -> None:
        """``directory``: the path of ``tmp``, for messages. Raises DiskFull or StorageError."""
        self.directory = directory
        self.name = f"{secrets.token_hex(16)}.part"
        self._tmp = tmp
        self._hash = hashlib.sha256()
        self._size = 0
        self._fd: int | None = None
        with storage_errors(f"a file cannot be created in {directory}"):
            self._fd = os.open(self.name, _NEW, 0o600, dir_fd=tmp)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError("the draft is closed")
        return self._fd

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def digest(self) -> Digest:
        """Return the SHA-256 of the bytes written so far."""
        return Digest(self._hash.hexdigest())

    def write(self, chunk: bytes) -> None:
        """Append bytes. Raises DiskFull or StorageError."""
        fd, size = self._open_fd(), self._size + len(chunk)
        try:
            with storage_errors(f"a file of {size} bytes cannot be written in {self.directory}"):
                write_all(fd, chunk)
        except StorageError:
            self._discard()  # the file may hold a part of the chunk, which is not in the hash
            raise
        self._hash.update(chunk)
        self._size = size

    def copy(self, source: int) -> Iterator[bytes]:
        """Append a whole file, and yield the bytes of the copy, which is a reflink if possible.

        ``source`` is open for reading, at its beginning, and nothing has been written yet. Read the iterator
        to its end. Raises DiskFull or StorageError, OSError if ``source`` cannot be read.
        """
        fd = self._open_fd()
        try:
            clone(source, fd)
        except OSError:  # no reflinks here: copy the bytes
            while chunk := os.read(source, COPY_CHUNK):
                self.write(chunk)
                yield chunk
            return
        with storage_errors(f"a file in {self.directory} cannot be read"):
            os.lseek(fd, 0, os.SEEK_SET)
        while chunk := self._read_back(fd):
            self._hash.update(chunk)
            self._size += len(chunk)
            yield chunk

    def _read_back(self, fd: int) -> bytes:
        with storage_errors(f"a file in {self.directory} cannot be read"):
            return os.read(fd, COPY_CHUNK)

    def restart(self) -> None:
        """Discard all bytes written so far, because the sender starts again. Raises StorageError."""
        with storage_errors(f"a file in {self.directory} cannot be truncated"):
            os.ftruncate(self._open_fd(), 0)
            os.lseek(self._open_fd(), 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._size = 0

    def open(self) -> BinaryIO:
        """Open the bytes for reading, from their beginning; the caller closes the file."""
        file = os.fdopen(os.dup(self._open_fd()), "rb")
        file.seek(0)
        return file

    def seal(self, mode: int) -> None:
        """Make the bytes durable, with this mode, and close the file, which may then be renamed.

        Raises OSError.
        """
        fd = self._open_fd()
        os.fchmod(fd, mode)  # before the sync, which makes the mode durable too
        sync(fd)
        self._fd = None  # close(2) closes the descriptor even if it fails
        os.close(fd)

    def _discard(self) -> None:
        """Remove the file. If that fails, the next run removes it."""
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            if fd is not None:
                os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._tmp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None or error is not None:  # a sealed file may not have its final name yet
            self._discard()


def part_of(worker_id: str) -> str:
    """Return the name of a worker's part of ``tmp/``."""
    return f"{_PART}{worker_id}"


def list_parts(root: Path) -> list[str]:
    """Return the parts of ``tmp/`` below ``root``. Raises StorageError."""
    with (
        storage_errors(f"{root / 'tmp'} cannot be listed"),
        contextlib.suppress(FileNotFoundError),
        open_levels(root, ["tmp"]) as opened,
    ):
        return [name for name in list_names(".", within=opened[-1]) if name.startswith(_PART)]
    return []


def remove_part(root: Path, part: str) -> None:
    """Remove a part whose worker is gone, or is about to go. What cannot be removed stays for the next."""
    with contextlib.suppress(OSError), open_levels(root, ["tmp"]) as opened:
        shutil.rmtree(part, ignore_errors=True, dir_fd=opened[-1])


def worker_of(part: str) -> str:
    """Return the id of the worker that made a part."""
    return part.removeprefix(_PART)


def remove_unfinished(tmp: int) -> None:
    """Remove what killed processes left in ``tmp/``.

    The caller holds the archive's lock, so no process is writing files there; directories may be in use.
    """
    for name in list_names(".", within=tmp):
        if stat.S_ISDIR(os.stat(name, dir_fd=tmp, follow_symlinks=False).st_mode):
            remove_if_abandoned(name, tmp)
        else:
            os.unlink(name, dir_fd=tmp)
