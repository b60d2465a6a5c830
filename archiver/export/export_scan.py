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
from collections.abc import Callable, Iterator
from typing import NamedTuple

from archiver.durable import is_lost_on_disk, open_directory
from archiver.export.link_methods import LinkMethod
from archiver.export.manifest import ManifestRow
from archiver.export.placement import NameInDirectory, Placement
from archiver.store.objects import MARKER

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
        if stat_entry(MARKER, fd) is not None:
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


def digest_of(file: NameInDirectory, on_chunk: Callable[[int], None] = lambda size: None) -> str | None:
    """Return the SHA-256 of a regular file, "" if the disk has lost its bytes; None for anything else.

    ``on_chunk`` gets the size of each part that was read, and may raise to stop.
    """
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
            on_chunk(len(chunk))
        return hashed.hexdigest()
    except OSError as exc:
        if is_lost_on_disk(exc):
            return ""
        raise
    finally:
        os.close(fd)


def is_named_by(path: str, digest: str) -> bool:
    """Return whether the name of a file, without its extension, is this digest."""
    return path.rpartition("/")[2].partition(".")[0] == digest


class FileState(NamedTuple):
    """Where a file is (None: nowhere), its SHA-256 ("" if unknown), and whether its path is free for it.

    ``is_proven``: the file is what its row says by its inode or its time, and was not read.
    """

    path: str | None
    sha256: str
    is_path_free: bool
    is_proven: bool = False


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
        """Find the file of a row at its path or its old one. It may have other bytes than its row says."""
        is_free = True
        for path in (row.path, row.old_path):
            found = self.stat(path) if path is not None else None
            if path is None or found is None:
                continue
            if stat.S_ISREG(found.st_mode):
                if self.is_proven(row, found):
                    return FileState(path, row.sha256, is_free, is_proven=True)
                sha256 = self._own_sha256(row, path, found)
                if sha256 is not None:
                    return FileState(path, sha256, is_free)
            is_free = is_free and path != row.path
        return FileState(None, "", is_free)

    def is_proven(self, row: ManifestRow, status: os.stat_result) -> bool:
        """Return whether a file need not be read: a hard link is the blob; of a copy, size and time are
        recorded; the blob of a clone was never found damaged.
        """
        if row.size != status.st_size:
            return False
        if row.method in (None, LinkMethod.HARDLINK) and self.is_blob(row, status):
            return True
        if row.mtime_ns != status.st_mtime_ns or row.method == LinkMethod.HARDLINK:
            return False
        return row.method != LinkMethod.REFLINK or not self._placement.was_damaged(row.sha256)

    def is_blob(self, row: ManifestRow, status: os.stat_result) -> bool:
        """Return whether a file with this status is the blob of a row."""
        return self._placement.blob_of(row.sha256, status) is not None

    def _own_sha256(self, row: ManifestRow, path: str, status: os.stat_result) -> str | None:
        """Return the SHA-256 of a file of the export, "" if unknown; None if somebody changed it."""
        is_own = self.is_own(row, path, status)
        if row.mtime_ns is not None and row.size != status.st_size and not is_own:
            return None
        sha256 = self.digest(path)
        if is_own or sha256 == row.sha256:
            return sha256
        if row.mtime_ns is not None:
            return None
        # The program ended after it wrote the row and before it completed it.
        if sha256 == row.old_sha256:
            return sha256
        # The time is set before the file gets its name: if only the bytes differ, a power loss took those
        # that had not reached the disk.
        return "" if status.st_mtime_ns == row.at_ns else None

    def is_own(self, row: ManifestRow, path: str, status: os.stat_result) -> bool:
        """Return whether a file is the export's own, whatever its bytes are: it is as the export left it, or
        is the blob or was it (the same inode; or it is in ``quarantine/``), or has its hash as its name.
        """
        if (row.size, row.mtime_ns) == (status.st_size, status.st_mtime_ns):
            return True
        if row.method == LinkMethod.HARDLINK:
            is_same = row.inode == str(status.st_ino)
            if is_same or self._placement.is_own_link(row.sha256, status):
                return True
        return is_named_by(path, row.sha256)

    def digest(self, path: str, on_chunk: Callable[[int], None] = lambda size: None) -> str | None:
        """Return what ``digest_of`` returns of the file at a path."""
        directory, name = split_path(path)
        return digest_of(NameInDirectory(self.directories.enter(directory, make=False), name), on_chunk)

    def files(self, name: str) -> Iterator[str]:
        """Yield the path of everything below a directory of the export that is not a directory itself."""
        for path, _, files, _ in os.fwalk(name.encode(), dir_fd=self.directories.root, follow_symlinks=False):
            for file in files:
                yield (path + b"/" + file).decode("utf-8", "surrogateescape")
