"""One WARC file while it is written: whole records only, each of them durable before its place is told."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable

from archiver.durable import storage_errors, sync, sync_directory, write_all
from archiver.errors import StorageError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class Segment:
    """The file ``name`` in the open directory ``month``, made by the first ``append``, for several threads.

    ``label`` names it in messages; ``opening`` makes the record that it starts with.
    """

    def __init__(self, month: int, name: str, mode: int, label: str, opening: Callable[[], bytes]) -> None:
        self._month, self._name, self._label = month, name, label
        self._opening = opening
        self._lock = threading.Lock()
        self._end = 0  # of the last whole record
        self._broken = False
        with storage_errors(f"{label} cannot be made"):
            self._fd: int | None = os.open(name, _NEW, mode, dir_fd=month)
            try:
                os.fchmod(self._fd, mode)
                sync_directory(month)
            except OSError:
                self.close()
                raise

    @property
    def usable(self) -> bool:
        """Whether another record can be appended: not closed, and not given up after an error of the disk."""
        return self._fd is not None and not self._broken

    def append(self, records: bytes) -> int:
        """Append whole records and return their offset; durable on return. Raises DiskFull or StorageError.

        A write that fails is cut off again, so that the next one starts clean. Where that fails too, or the sync (which must not
        be tried twice), the segment is given up: what was acknowledged before stays readable.
        """
        with self._lock, storage_errors(f"{self._label} cannot be written"):
            if self._fd is None or self._broken:
                raise StorageError(
                    f"{self._label} was given up after an error", "check the disk and run again"
                )
            opening = b"" if self._end else self._opening()
            offset = self._end + len(opening)
            try:
                write_all(self._fd, opening + records)
            except OSError:
                self._cut(self._fd)
                raise
            try:
                sync(self._fd)
            except OSError:
                self._broken = True
                raise
            self._end = offset + len(records)
            return offset

    def _cut(self, fd: int) -> None:
        try:
            os.ftruncate(fd, self._end)
            os.lseek(fd, self._end, os.SEEK_SET)
        except OSError:
            self._broken = True

    def remove(self) -> None:
        """Unlink the file, durably. Raises StorageError."""
        self.close()
        with storage_errors(f"{self._label} cannot be removed"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._month)
            sync_directory(self._month)

    def close(self) -> None:
        """End it. A file that no byte was written to is removed; one given up is left, for what it may hold."""
        with self._lock:
            fd, self._fd = self._fd, None
            if fd is None:
                return
            with contextlib.suppress(OSError):  # every record was synced; nothing is left to lose
                os.close(fd)
            if self._end == 0 and not self._broken:
                with contextlib.suppress(OSError):
                    os.unlink(self._name, dir_fd=self._month)
