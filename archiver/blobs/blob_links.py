"""Blobs handed on as files: a second name, a clone or a copy elsewhere. Reads only, but for one time stamp; see ``Handing.date``."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from archiver.durable import open_directory, open_regular, open_root, storage_errors
from archiver.model.identity import Digest


class BlobLinks:
    """The blobs below ``root``, an archive's directory, for whoever takes many of them. Ended by ``with`` or ``close``.

    Methods raise OSError as it comes: whoever places files tries another way then.
    """

    def __init__(self, root: Path) -> None:
        with storage_errors(f"the blobs of the archive at {root} cannot be opened"):
            root_fd = open_root(root)
            try:
                self._fd = open_directory("blobs", within=root_fd)
            finally:
                os.close(root_fd)
        self._fans: set[str] = set()

    def look(self, digest: Digest) -> os.stat_result | None:
        """What the disk says of the blob; None if it is not there, or is not a regular file."""
        try:
            found = os.stat(self._name(digest), dir_fd=self._fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return found if stat.S_ISREG(found.st_mode) else None

    def open(self, digest: Digest) -> int:
        """A descriptor for reading; the caller closes it."""
        return open_regular(self._name(digest), within=self._fd)

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        """Give the blob the second name ``name`` in the open directory ``into``: FileExistsError if that is taken."""
        os.link(self._name(digest), name, src_dir_fd=self._fd, dst_dir_fd=into, follow_symlinks=False)

    def date(self, digest: Digest, mtime_ns: int) -> None:
        """Set when the blob, by all its names, says that it was changed. Nothing in an archive is decided by that."""
        os.utime(self._name(digest), ns=(mtime_ns, mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def _name(self, digest: Digest) -> str:
        """Relative to ``blobs/``. A link in the place of one of its directories is found by the first blob of that."""
        fan = digest[:2]
        if fan not in self._fans:
            os.close(open_directory(fan, within=self._fd))
            self._fans.add(fan)
        return f"{fan}/{digest}"

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
