"""The objects of an archive in its directory, as files of the same names.

Nothing below the directory is reached through a symbolic link. A file gets its name once it is durable; until
then it is in ``tmp/``.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from archiver.durable import (
    enter_levels,
    open_directory,
    open_levels,
    open_regular,
    remove_files,
    storage_error,
    storage_errors,
    sync,
    sync_directory,
    write_whole,
)
from archiver.store.growing_file import GrowingFile
from archiver.store.objects import Begin, Content, Folder, FolderEntry, ObjectMissing, pieces_of

_NOT_REGULAR = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.EISDIR})
"""The errors of opening a link, a directory or a FIFO in place of a file."""
_DELETED_AT_ONCE = 1000


class Objects:
    """The objects below ``root``, the directory of an archive.

    ``group_readable`` makes directories 0750 and files 0640, instead of 0700 and 0600. ``spool``: the
    directories, each within the one before, that make a spool below which the objects are; () if it is none.
    """

    gather_seconds = 1.0

    def __init__(self, root: Path, *, group_readable: bool = False, spool: Sequence[str] = ()) -> None:
        self._root, self._spool = root, tuple(spool)
        self._drafts = self._spool or ("tmp",)
        self._place = "/".join((str(root), *spool))
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def put(self, name: str, content: Content) -> None:
        *levels, file = name.split("/")
        with (
            storage_errors(f"{self.location(name)} cannot be written"),
            self._enter(*self._drafts) as tmp,
            self._enter(*self._spool, *levels) as within,
        ):
            write_whole(file, pieces_of(content), self._modes[1], tmp=tmp, within=within)

    def read(self, name: str, start: int, length: int) -> bytes:
        fd = self._open(name)
        try:
            with storage_errors(f"{self.location(name)} cannot be read"):
                return os.pread(fd, length, start)
        finally:
            os.close(fd)

    def open_file(self, name: str) -> BinaryIO:
        return os.fdopen(self._open(name), "rb")

    def size(self, name: str) -> int | None:
        with storage_errors(f"the size of {self.location(name)} cannot be read"):
            try:
                with self._directory(name) as (directory, file):
                    status = os.stat(file, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def list(self, folder: Folder, after: str = "") -> Iterator[FolderEntry]:
        with (
            storage_errors(f"{self.location(folder.name)} cannot be listed"),
            suppress(FileNotFoundError),
            open_levels(self._root, (*self._spool, folder.name)) as opened,
        ):
            yield from _list_directory(opened[-1], folder, after)

    def set_aside(self, folder: Folder, new_name: str) -> None:
        *levels, file = new_name.split("/")
        with (
            storage_errors(f"{folder.name}/ cannot be moved to {'/'.join(levels)}/"),
            self._directory(folder.name) as (directory, name),
            self._enter(*self._spool, *levels) as within,
        ):
            with suppress(FileNotFoundError):
                os.rename(name, file, src_dir_fd=directory, dst_dir_fd=within)
            sync_directory(within)
            sync_directory(directory)

    def cut(self, name: str, length: int) -> bool:
        fd = self._open(name, os.O_WRONLY)
        try:
            with storage_errors(f"{self.location(name)} cannot be cut"):
                os.ftruncate(fd, length)
                sync(fd)
        finally:
            os.close(fd)
        return True

    def sync(self, name: str) -> None:
        fd = self._open(name)
        try:
            with (
                storage_errors(f"{self.location(name)} cannot be synced"),
                self._directory(name) as (directory, _),
            ):
                sync(fd)
                sync_directory(directory)
        finally:
            os.close(fd)

    def delete(self, names: Sequence[str], check: Callable[[], None]) -> None:
        for start in range(0, len(names), _DELETED_AT_ONCE):
            check()
            some = names[start : start + _DELETED_AT_ONCE]
            remove_files(self._root, ("/".join((*self._spool, name)) for name in some))

    def location(self, name: str) -> str:
        return f"{self._place}/{name}"  # a Path would cost more than opening the file

    def appender(self, begin: Begin, waiting: Collection[str] = ()) -> Appender:
        return Appender(self, begin)

    def empty_spool(self) -> None:
        """Do nothing: on a disk nothing waits."""

    def grow(self, name: str, head: bytes) -> GrowingFile:
        """Create a file that begins with ``head`` once something is appended to it."""
        *levels, file = name.split("/")
        with storage_errors(f"{self.location('/'.join(levels))} cannot be created"):
            directory = enter_levels(self._root, self._modes[0], *self._spool, *levels)
        return GrowingFile(directory, file, self._modes[1], self.location(name), lambda: head)

    def _open(self, name: str, flags: int = os.O_RDONLY) -> int:
        problem = f"{self.location(name)} cannot be read"
        try:
            with self._directory(name) as (directory, file):
                try:
                    return open_regular(file, within=directory, flags=flags)
                except OSError as exc:
                    if exc.errno not in _NOT_REGULAR:
                        raise
                    raise ObjectMissing(f"{problem}: it is not a regular file") from exc
        except FileNotFoundError as exc:
            raise ObjectMissing(f"{problem}: {exc.strerror}") from exc
        except OSError as exc:
            raise storage_error(exc, problem) from exc

    @contextmanager
    def _directory(self, name: str) -> Iterator[tuple[int, str]]:
        """Open the directory of an object, and yield it with the name there. Raises OSError."""
        *levels, file = name.split("/")
        with open_levels(self._root, (*self._spool, *levels)) as opened:
            yield opened[-1], file

    @contextmanager
    def _enter(self, *levels: str) -> Iterator[int]:
        """Open a directory, which is made if it is missing. Raises OSError."""
        fd = enter_levels(self._root, self._modes[0], *levels)
        try:
            yield fd
        finally:
            os.close(fd)


class Appender:
    """Appends to one file for each series, until it cannot be continued after an error of the disk."""

    def __init__(self, objects: Objects, begin: Begin) -> None:
        self._objects, self._begin = objects, begin
        self._lock = threading.Lock()
        self._current: dict[str, tuple[str, GrowingFile]] = {}
        self._files: dict[str, tuple[str, GrowingFile]] = {}
        """All files that were begun and not removed, by name, each with its series."""
        self._is_closed = False

    def prepare(self, series: str) -> None:
        """Create the file now. ``close`` removes it if it stays empty."""
        self._file(series)

    def append(self, records: bytes, series: str = "") -> tuple[str, int]:
        name, file = self._file(series)
        return name, file.append(records)

    def check(self) -> None:
        """Do nothing: records that cannot be stored have no place."""

    def names(self, series: str) -> tuple[str, ...]:
        return tuple(name for name, (of, _) in tuple(self._files.items()) if of == series)

    def remove(self, series: str) -> None:
        with self._lock:
            self._require_open()
            for name in self.names(series):
                self._files.pop(name)[1].remove()
            self._current.pop(series, None)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            for _, file in self._files.values():
                file.close()

    def _file(self, series: str) -> tuple[str, GrowingFile]:
        with self._lock:
            self._require_open()
            current = self._current.get(series)
            if current is None or not current[1].is_usable:
                name, head = self._begin(series)
                current = self._current[series] = name, self._objects.grow(name, head)
                self._files[name] = series, current[1]
            return current

    def _require_open(self) -> None:
        if self._is_closed:
            raise ValueError("the appender is closed")


def _list_directory(within: int, folder: Folder, after: str, prefix: str = "") -> Iterator[FolderEntry]:
    """Yield the names in a directory of a folder that was just opened, and in those below it.

    ``prefix``: the name of the directory in the folder, with a slash at its end. A directory is sorted as if
    its name had one too: so the whole names are in ascending order. Raises OSError.
    """
    level = prefix.count("/")
    with os.scandir(within) as entries:
        found = [(each.name, each.is_file(follow_symlinks=False)) for each in entries]
    if level < len(folder.directories):
        may_enter = folder.directories[level].fullmatch
        found = [
            (f"{name}/" if may_enter(name) and not is_file else name, is_file) for name, is_file in found
        ]
    for name, is_file in sorted(found):
        path = prefix + name
        if name.endswith("/"):
            if path < after and not after.startswith(path):
                continue
            try:
                below = open_directory(name[:-1], within=within)
            except NotADirectoryError:
                path = path[:-1]
            else:
                try:
                    yield from _list_directory(below, folder, after, path)
                finally:
                    os.close(below)
                continue
        if path > after:
            yield FolderEntry(path, None, is_file)
