"""A file to which records are appended, each durable before it counts."""

from __future__ import annotations

import contextlib
import os
import threading

from archiver.durable import storage_errors, sync, sync_directory, write_all
from archiver.errors import StorageError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class GrowingFile:
    """A new file ``name`` in an open directory, which only ever grows. Several threads may use it.

    ``directory`` is closed with the file. ``mode``: its permissions. ``label`` names it in messages.
    ``head``: the first bytes, which are written together with the first record. Creating it raises DiskFull
    or StorageError.
    """

    def __init__(self, directory: int, name: str, mode: int, label: str, head: bytes) -> None:
        self._directory, self._name, self._label = directory, name, label
        self._head = head
        self._lock = threading.Lock()
        self._end = 0  # the end of the last whole record
        self._broken = False
        self._fd: int | None = None
        with storage_errors(f"{label} cannot be created"):
            try:
                self._fd = os.open(name, _NEW, mode, dir_fd=directory)
                os.fchmod(self._fd, mode)
                sync_directory(directory)
            except OSError:
                self.close()
                raise

    @property
    def is_usable(self) -> bool:
        """Whether a record can be appended: it is neither closed nor given up after a disk error."""
        return self._fd is not None and not self._broken

    def append(self, records: bytes) -> int:
        """Append whole records durably and return their offset. Raises DiskFull or StorageError.

        A failed write is truncated, so that the next one starts clean. If truncating fails too, or if the
        sync fails (which must not be repeated), the file is given up; earlier records stay readable.
        """
        with self._lock, storage_errors(f"{self._label} cannot be written"):
            if self._fd is None or self._broken:
                raise StorageError(
                    f"{self._label} cannot be continued after an error", "check the disk and run again"
                )
            head = b"" if self._end else self._head
            offset = self._end + len(head)
            try:
                write_all(self._fd, head + records)
            except OSError:
                self._cut_off_write(self._fd)
                raise
            try:
                sync(self._fd)
            except OSError:
                self._broken = True
                raise
            if not os.fstat(self._fd).st_nlink:
                self._broken = True
                raise StorageError(f"{self._label} was removed by another process")
            self._end = offset + len(records)
            return offset

    def _cut_off_write(self, fd: int) -> None:
        try:
            os.ftruncate(fd, self._end)
            os.lseek(fd, self._end, os.SEEK_SET)
        except OSError:
            self._broken = True

    def remove(self) -> None:
        """Remove the file durably, and close it. Raises StorageError."""
        with self._lock, storage_errors(f"{self._label} cannot be removed"):
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._name, dir_fd=self._directory)
                sync_directory(self._directory)
            finally:
                self._close()

    def close(self) -> None:
        """Close the file. Remove it if it is empty, unless it was given up: then it may hold something."""
        with self._lock:
            if self._fd is not None and self._end == 0 and not self._broken:
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=self._directory)
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        for opened in (fd, self._directory):
            if opened is not None and opened >= 0:
                with contextlib.suppress(OSError):  # every record was synced; nothing is left to lose
                    os.close(opened)
        self._directory = -1
