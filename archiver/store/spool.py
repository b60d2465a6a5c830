"""The spool: files in ``tmp/`` that hold the bytes of a blob while it is written and hashed.

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
from typing import Self

from archiver.durable import clone, enter_directory, list_names, open_levels, storage_errors, write_all
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.temporary import remove_if_abandoned

COPY_CHUNK = 1 << 20
"""Bytes that ``SpoolWriter.copy`` yields at once."""

_PART = "worker-"
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class SpoolWriter:
    """A ``BlobWriter`` without ``commit``: a new file of mode 0600 in the open directory ``tmp``.

    ``directory``: the path of ``tmp``, for messages.
    """

    def __init__(self, tmp: int, directory: Path) -> None:
        self._tmp, self._directory = tmp, directory
        self._name = f"{secrets.token_hex(16)}.part"
        self._hash = hashlib.sha256()
        self._size = 0
        self._fd: int | None = None
        with storage_errors(f"a file cannot be created in {self._directory}"):
            self._fd = os.open(self._name, _NEW, 0o600, dir_fd=tmp)

    def _open_fd(self) -> int:
        if self._fd is None:
            raise ValueError("the blob writer is closed")
        return self._fd

    @property
    def size(self) -> int:
        return self._size

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def write(self, chunk: bytes) -> None:
        fd, size = self._open_fd(), self._size + len(chunk)
        try:
            with storage_errors(f"a file of {size} bytes cannot be written in {self._directory}"):
                write_all(fd, chunk)
        except StorageError:
            self._discard()  # the file may hold a part of the chunk, which is not in the hash
            raise
        self._hash.update(chunk)
        self._size = size

    def copy(self, source: int) -> Iterator[bytes]:
        fd = self._open_fd()
        try:
            clone(source, fd)
        except OSError:  # no reflinks here: copy the bytes
            while chunk := os.read(source, COPY_CHUNK):
                self.write(chunk)
                yield chunk
            return
        with storage_errors(f"a file in {self._directory} cannot be read"):
            os.lseek(fd, 0, os.SEEK_SET)
        while chunk := self._read_back(fd):
            self._hash.update(chunk)
            self._size += len(chunk)
            yield chunk

    def _read_back(self, fd: int) -> bytes:
        with storage_errors(f"a file in {self._directory} cannot be read"):
            return os.read(fd, COPY_CHUNK)

    def restart(self) -> None:
        with storage_errors(f"a file in {self._directory} cannot be truncated"):
            os.ftruncate(self._open_fd(), 0)
            os.lseek(self._open_fd(), 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._size = 0

    def _discard(self) -> None:
        """Remove the file. If that fails, the next run removes it."""
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


def part_of(worker_id: str) -> str:
    """Return the name of a worker's part of ``tmp/``."""
    return f"{_PART}{worker_id}"


def enter_spool(root: int, part: str | None, mode: int) -> int:
    """Open ``tmp/`` in the open directory ``root``, or a part of it, which is made. Raises OSError."""
    tmp = enter_directory("tmp", mode, within=root)
    if part is None:
        return tmp
    try:
        return enter_directory(part, mode, within=tmp)
    finally:
        os.close(tmp)


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
