"""Names in the directories of an export: opened, looked at, given and changed, always relative to an open directory, never through a link."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress

from archiver.durable import open_directory
from archiver.export.names import ARCHIVE
from archiver.model.identity import Digest

_CHUNK = 1 << 20
_OPEN_AT_ONCE = 40
_NO_LINKS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
)

DEEPEST = 16
"""Directories that a path may have: so many and their twins are open at once."""


class Directories:
    """The directories of an export, open: at most so many at once, those that were used last. Made where they are missing."""

    def __init__(self, root: int) -> None:
        """``root`` stays the caller's."""
        self._root = root
        self._open: OrderedDict[tuple[bytes, ...], int] = OrderedDict()

    def enter(self, path: tuple[bytes, ...], *, make: bool = True) -> int:
        """A descriptor, valid until the next call. NotADirectoryError for a link, a file or an archive, FileNotFoundError without ``make``."""
        if not path:
            return self._root
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        within = self.enter(path[:-1], make=make)
        try:
            fd = open_directory(path[-1], within=within)
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(path[-1], dir_fd=within)
            fd = open_directory(path[-1], within=within)
        if look(ARCHIVE, fd) is not None:
            os.close(fd)
            raise NotADirectoryError(errno.ENOTDIR, "an archive")
        self._open[path] = fd
        while len(self._open) > _OPEN_AT_ONCE:
            os.close(self._open.popitem(last=False)[1])
        return fd

    def leave_empty(self, path: tuple[bytes, ...]) -> None:
        """Remove these directories from the innermost on, as far as nothing is in them."""
        while path:
            try:
                os.rmdir(path[-1], dir_fd=self.enter(path[:-1], make=False))
            except OSError:
                return
            self._forget(path)
            path = path[:-1]

    def _forget(self, path: tuple[bytes, ...]) -> None:
        for known in [k for k in self._open if k[: len(path)] == path]:
            os.close(self._open.pop(known))

    def close(self) -> None:
        """Close them."""
        self._forget(())


def regular_files(root: int, name: str) -> Iterator[str]:
    """The paths of all that is no directory, below the directory ``name`` of an open one; nothing if that is not there."""
    for path, _, files, _ in os.fwalk(name.encode(), dir_fd=root, follow_symlinks=False):
        for file in files:
            yield (path + b"/" + file).decode("utf-8", "surrogateescape")


def rename(name: str | bytes, within: int, to: bytes, into: int) -> None:
    """Rename, but never over anything: FileExistsError. Where the file system has no hard links, by a look and a rename."""
    try:
        os.link(name, to, src_dir_fd=within, dst_dir_fd=into, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        with suppress(FileNotFoundError):
            os.stat(to, dir_fd=into, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from exc
        os.rename(name, to, src_dir_fd=within, dst_dir_fd=into)
    else:
        os.unlink(name, dir_fd=within)


def look(name: str | bytes, within: int) -> os.stat_result | None:
    """What stands under the name, a link not followed; None if nothing does."""
    try:
        return os.stat(name, dir_fd=within, follow_symlinks=False)
    except FileNotFoundError:
        return None


def digest_of(name: bytes, within: int) -> Digest | None:
    """The SHA-256 of a regular file, None for anything else."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        hashed = hashlib.sha256()
        while chunk := os.read(fd, _CHUNK):
            hashed.update(chunk)
        return Digest(hashed.hexdigest())
    finally:
        os.close(fd)
