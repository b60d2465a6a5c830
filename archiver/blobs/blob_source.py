"""The blobs for an export: on a disk hard links, or files to copy from; in a bucket only the latter.

Nothing in the archive is changed, except for one time stamp; see ``BlobSource.set_mtime``.
"""

from __future__ import annotations

import errno
import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from stat import S_IFREG, S_ISREG
from types import TracebackType
from typing import BinaryIO, Protocol, Self

from archiver.blobs.store import BlobStore
from archiver.durable import list_names, open_directory, open_levels, open_regular, open_root, storage_errors
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


class BlobLinks:
    """The ``BlobSource`` below ``root``, an archive's directory. Closed by ``with`` or ``close``."""

    def __init__(self, root: Path) -> None:
        with storage_errors(f"the blobs of the archive at {root} cannot be opened"):
            root_fd = open_root(root)
            try:
                self._fd = open_directory("blobs", within=root_fd)
            finally:
                os.close(root_fd)
        self._root = root
        self._quarantined: defaultdict[str, list[os.stat_result]] | None = None
        self._checked: set[str] = set()

    def stat(self, digest: Digest) -> os.stat_result | None:
        try:
            status = os.stat(self._name(digest), dir_fd=self._fd, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status if S_ISREG(status.st_mode) else None

    def open(self, digest: Digest) -> BinaryIO:
        return os.fdopen(open_regular(self._name(digest), within=self._fd), "rb", buffering=0)

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        os.link(self._name(digest), name, src_dir_fd=self._fd, dst_dir_fd=into, follow_symlinks=False)

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        os.utime(self._name(digest), ns=(mtime_ns, mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        if self._quarantined is None:
            self._quarantined = defaultdict(list)
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                open_levels(self._root, ["quarantine"]) as opened,
            ):
                for name in list_names(".", within=opened[-1]):
                    status = os.stat(name, dir_fd=opened[-1], follow_symlinks=False)
                    self._quarantined[name.partition("-")[0]].append(status)
        return self._quarantined.get(digest, [])

    def _name(self, digest: Digest) -> str:
        """Return the path below ``blobs/``. A directory is checked once: it must not be a symbolic link."""
        directory = digest[:2]
        if directory not in self._checked:
            os.close(open_directory(directory, within=self._fd))
            self._checked.add(directory)
        return f"{directory}/{digest}"

    def close(self) -> None:
        """Close the directory."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BucketSource:
    """The ``BlobSource`` in a bucket, whose blobs can only be copied."""

    def __init__(self, store: BlobStore) -> None:
        self._store = store

    def stat(self, digest: Digest) -> os.stat_result | None:
        size = self._store.size(digest)
        if size is None:
            return None
        return os.stat_result((S_IFREG | 0o444, 0, 0, 1, 0, 0, size, 0, 0, 0))

    def open(self, digest: Digest) -> BinaryIO:
        return self._store.open(digest)

    def link(self, digest: Digest, name: str | bytes, *, into: int) -> None:
        raise OSError(errno.EXDEV, "it is in a bucket")

    def set_mtime(self, digest: Digest, mtime_ns: int) -> None:
        raise PermissionError(errno.EPERM, "it is in a bucket")

    def quarantine_copies(self, digest: Digest) -> list[os.stat_result]:
        return []  # no file of an export is, or shares blocks with, an object
