"""The disk of an export: its open directories, where its files are, and which are unchanged.

All names are relative to an open directory, and no symbolic link is followed. Names are UTF-8 bytes, so that
they are the same in every locale: Python would encode a str in the encoding of the locale, which may lack
some characters.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from archiver.durable import open_directory
from archiver.export.file_names import ARCHIVE_MARKER
from archiver.export.manifest import ManifestRow
from archiver.export.placement import NameInDirectory, Placement
from archiver.model.identity import Digest

MAX_DEPTH = 16
"""The maximum depth of a path: the directories of two paths are open at once."""
_MAX_OPEN = 40
_CHUNK_SIZE = 1 << 20


def split_path(path: str) -> tuple[tuple[bytes, ...], bytes]:
    """Return the directory of a path and the name in it."""
    *directory, name = path.encode("utf-8", "surrogateescape").split(b"/")
    return tuple(directory), name


class OpenDirectories:
    """Open directories below ``root``, a descriptor that the caller closes. The last ones used stay open."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._open: OrderedDict[tuple[bytes, ...], int] = OrderedDict()

    def enter(self, path: tuple[bytes, ...], *, make: bool = True) -> int:
        """Return a descriptor of a directory, valid until the next call; a missing directory is created.

        Raises NotADirectoryError for a link, a file or an archive; FileNotFoundError for a missing directory
        without ``make``.
        """
        if not path:
            return self.root
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        parent = self.enter(path[:-1], make=make)
        try:
            fd = open_directory(path[-1], within=parent)
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(path[-1], dir_fd=parent)
            fd = open_directory(path[-1], within=parent)
        if stat_entry(ARCHIVE_MARKER, fd) is not None:
            os.close(fd)
            raise NotADirectoryError(errno.ENOTDIR, "an archive")
        self._open[path] = fd
        while len(self._open) > _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def remove_empty(self, path: tuple[bytes, ...]) -> None:
        """Remove a directory and those above it, up to the first that is not empty."""
        while path:
            try:
                os.rmdir(path[-1], dir_fd=self.enter(path[:-1], make=False))
            except OSError:
                return
            self._close_below(path)
            path = path[:-1]

    def _close_below(self, path: tuple[bytes, ...]) -> None:
        for known in [known for known in self._open if known[: len(path)] == path]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Close these directories, but not the root."""
        self._close_below(())


def stat_entry(name: str | bytes, directory: int) -> os.stat_result | None:
    """Return the status of a name, without following a link; None if nothing has that name."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def digest_of(file: NameInDirectory) -> Digest | None:
    """Return the SHA-256 of a regular file; None for anything else."""
    try:
        fd = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=file.directory)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        hashed = hashlib.sha256()
        while chunk := os.read(fd, _CHUNK_SIZE):
            hashed.update(chunk)
        return Digest(hashed.hexdigest())
    finally:
        os.close(fd)


class FileState(NamedTuple):
    """Where a file is (None: nowhere), its SHA-256 ("" if unknown), and whether its path is free for it."""

    path: str | None
    sha256: str
    is_path_free: bool


class ExportScan:
    """Looks at the files of an export. Changes nothing."""

    def __init__(self, directories: OpenDirectories, placement: Placement) -> None:
        self.directories = directories
        self._placement = placement

    def stat(self, path: str) -> os.stat_result | None:
        """Return the status of what is at a path; None if there is nothing, or no directory on the way."""
        directory, name = split_path(path)
        try:
            return stat_entry(name, self.directories.enter(directory, make=False))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def locate(self, row: ManifestRow) -> FileState:
        """Find the file of a row at its path or its old one."""
        found = self.stat(row.path)
        is_free = found is None
        if found is not None:
            sha256 = self._known_sha256(row, row.path, found)
            if sha256 is not None:
                return FileState(row.path, sha256, True)
        if row.old_path is not None and (found := self.stat(row.old_path)) is not None:
            sha256 = self._known_sha256(row, row.old_path, found)
            if sha256 is not None:
                return FileState(row.old_path, sha256, is_free)
        return FileState(None, "", is_free)

    def _known_sha256(self, row: ManifestRow, path: str, status: os.stat_result) -> str | None:
        """Return the SHA-256 of a file as the export left it, "" if unknown; None if somebody changed it."""
        if not stat.S_ISREG(status.st_mode):
            return None
        if row.mtime_ns is not None and (row.size, row.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return row.sha256
        if row.method in (None, "hardlink") and self._placement.blob_of(row.sha256, status) is not None:
            return row.sha256
        if row.mtime_ns is not None:
            return None
        # The program ended after it wrote the row and before it completed it.
        sha256 = self.digest(path)
        if sha256 in (row.sha256, row.old_sha256):
            return sha256
        # The time is set before the file gets its name: if only the bytes differ, a power loss took those
        # that had not reached the disk.
        return "" if status.st_mtime_ns == row.at_ns else None

    def digest(self, path: str) -> Digest | None:
        """Return the SHA-256 of the regular file at a path."""
        directory, name = split_path(path)
        return digest_of(NameInDirectory(self.directories.enter(directory, make=False), name))

    def files(self, name: str) -> Iterator[str]:
        """Yield the path of everything below a directory of the export that is not a directory itself."""
        for path, _, files, _ in os.fwalk(name.encode(), dir_fd=self.directories.root, follow_symlinks=False):
            for file in files:
                yield (path + b"/" + file).decode("utf-8", "surrogateescape")
