"""The objects of an archive in its directory, as files of the same names.

Nothing below the directory is reached through a symbolic link. A file gets its name once it is durable; until
then it is in ``tmp/``.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from archiver.durable import (
    enter_directory,
    enter_levels,
    open_directory,
    open_levels,
    open_regular,
    open_root,
    remove_files,
    storage_error,
    storage_errors,
    sync,
    sync_directory,
    write_whole,
)
from archiver.errors import StorageError
from archiver.store.growing_file import GrowingFile
from archiver.store.objects import (
    Begin,
    Content,
    Folder,
    FolderEntry,
    ObjectMissing,
    Upload,
    begins_with,
    pieces_of,
    size_of,
)
from archiver.store.spool import Draft, remove_unfinished

_NOT_REGULAR = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR, errno.EINVAL, errno.ENXIO, errno.EISDIR})
"""The errors of opening a link, a directory or a FIFO in place of a file."""
_FINAL = 0o444
"""The mode of a file that nobody may change: its directory decides who can read it."""
_DELETED_AT_ONCE = 1000
_HAS_EFFECTIVE_IDS = os.access in os.supports_effective_ids


class Objects:
    """The objects below ``root``, the directory of an archive.

    ``group_readable`` makes directories 0750 and files 0640, instead of 0700 and 0600. ``spool``: the
    directories, each within the one before, that make a spool below which the objects are; () if it is none.
    ``part``: the part of ``tmp/`` for drafts; None: all of it.
    """

    gather_seconds = 1.0
    is_remote = False

    def __init__(
        self,
        root: Path,
        *,
        group_readable: bool = False,
        part: str | None = None,
        spool: Sequence[str] = (),
    ) -> None:
        self._root, self._spool = root, tuple(spool)
        self._drafts = self._spool or (("tmp",) if part is None else ("tmp", part))
        self._place = "/".join((str(root), *spool))
        self._held: _HeldFolder | None = None
        self._tmp: int | None = None
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def make(self, folder: Folder, directories: Sequence[str]) -> None:
        with storage_errors(f"the store at {self._root} cannot be created"):
            os.close(open_root(self._root, self._modes[0]))
            with self._enter("tmp"), self._enter(folder.name) as within:
                self._check_directories(folder.name, within, directories)

    def hold(self, folder: Folder) -> None:
        with storage_errors(f"the {folder.name} of the archive at {self._root} cannot be opened"):
            try:
                self._held = _HeldFolder(self._root, folder.name)
            except FileNotFoundError as exc:
                raise StorageError(
                    f"the archive at {self._root} has no directory {folder.name}/",
                    "mount its disk, or restore a copy; if the blobs are truly gone: make an empty directory "
                    f"{folder.name}/ there, then archiver verify --repair --accept-loss",
                ) from exc

    def prepare(self, directories: Sequence[str] = ()) -> None:
        what = f"the spool {self._place}" if self._spool else f"the store at {self._root}"
        with storage_errors(f"{what} cannot be written"):
            if self._tmp is None:
                with self._enter(*self._drafts) as tmp:
                    self._tmp = os.dup(tmp)
            if self._held is not None:
                within = self._held.stay()
                if os.fstat(self._tmp).st_dev != os.fstat(within).st_dev:
                    raise StorageError(
                        f"tmp/ and {self._held.name}/ of {self._root} are on different disks: files cannot be"
                        " renamed",
                        "make both plain directories on the same disk",
                    )
                self._check_directories(self._held.name, within, directories)
            remove_unfinished(self._tmp)
            with self.draft() as probe:  # a read-only disk is noticed before a unit is spent
                probe.write(b"\n")

    def _check_directories(self, folder: str, within: int, names: Sequence[str]) -> None:
        """Check that directories can be written and are not links; make missing ones.

        Some copying programs leave out empty directories.
        """
        is_changed = False
        for name in names:
            try:
                status = os.stat(name, dir_fd=within, follow_symlinks=False)
            except FileNotFoundError:
                os.mkdir(name, self._modes[0], dir_fd=within)
                os.chmod(name, self._modes[0], dir_fd=within)
                is_changed = True
                continue
            if not stat.S_ISDIR(status.st_mode):
                raise StorageError(
                    f"{self._root}/{folder}/{name} is not a directory", "move it away and run again"
                )
            if not os.access(name, os.W_OK | os.X_OK, dir_fd=within, effective_ids=_HAS_EFFECTIVE_IDS):
                raise StorageError(
                    f"{self._root}/{folder}/{name} cannot be written", "run as the user who owns the archive"
                )
        if is_changed:
            sync_directory(within)

    def draft(self) -> Draft:
        if self._tmp is None:
            raise ValueError("the store is not prepared for writing")
        return Draft(self._tmp, "/".join((str(self._root), *self._drafts)))

    def put_draft(self, name: str, draft: Draft, choose: Callable[[], Upload]) -> None:
        """Make a file appear completely or not at all: set its mode, sync, close, rename, sync, check."""
        with draft, storage_errors(f"{self.location(name)} cannot be stored"):
            draft.seal(_FINAL)
            self._put_in_place(name, draft)

    def _put_in_place(self, name: str, draft: Draft) -> None:
        """Rename the file, make its name durable, and check the result.

        The file is renamed even if the object exists: this repairs a damaged copy, and works on FAT, which
        has no hard links.
        """
        with self._directory(name) as (directory, file):
            os.replace(draft.name, file, src_dir_fd=self._tmp, dst_dir_fd=directory)
            sync_directory(directory)
            status = os.stat(file, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode) or status.st_size != draft.size:
            raise StorageError(f"{self.location(name)} changed while it was stored")

    def put(self, name: str, content: Content, *, is_final: bool = False) -> None:
        *levels, file = name.split("/")
        if not levels:
            self._put_beside(file, content)
            return
        with (
            storage_errors(f"{self.location(name)} cannot be written"),
            self._enter(*self._drafts) as tmp,
            self._enter(*self._spool, *levels) as within,
        ):
            mode = _FINAL if is_final else self._modes[1]
            write_whole(file, pieces_of(content), mode, tmp=tmp, within=within)

    def _put_beside(self, name: str, content: Content) -> None:
        """Store a file of the directory itself. Its draft is there too: ``tmp/`` may be on another disk."""
        draft = f".{name}.part"
        with storage_errors(f"{self.location(name)} cannot be written"), self._enter() as within:
            with suppress(FileNotFoundError):  # left by a killed process
                os.unlink(draft, dir_fd=within)
            pieces = pieces_of(content)
            write_whole(name, pieces, self._modes[1], tmp=within, within=within, draft=draft)

    def put_new(self, name: str, content: bytes) -> bool:
        with storage_errors(f"{self.location(name)} cannot be written"), suppress(FileNotFoundError):
            with self._directory(name) as (directory, file):
                os.stat(file, dir_fd=directory, follow_symlinks=False)
            return self.holds(name, io.BytesIO(content))
        self.put(name, content)
        return True

    def find_nested(self, name: str) -> str | None:
        """Return None: a directory may be anywhere."""
        return None

    def holds(self, name: str, content: BinaryIO) -> bool:
        try:
            own = self.open(name)
        except ObjectMissing:
            return False
        with own, storage_errors(f"{self.location(name)} cannot be compared"):
            return size_of(own) == size_of(content) and begins_with(own, content)

    def read(self, name: str, start: int, length: int) -> bytes:
        fd = self._open(name)
        try:
            with storage_errors(f"{self.location(name)} cannot be read"):
                return os.pread(fd, length, start)
        finally:
            os.close(fd)

    def open(self, name: str) -> BinaryIO:
        return os.fdopen(self._open(name), "rb")

    def open_range(self, name: str, start: int, length: int) -> BinaryIO:
        file = self.open(name)
        file.seek(start)
        return file

    def open_file(self, name: str) -> BinaryIO:
        return self.open(name)

    def size(self, name: str) -> int | None:
        with storage_errors(f"the size of {self.location(name)} cannot be read"):
            try:
                with self._directory(name) as (directory, file):
                    status = os.stat(file, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                return None
            except NotADirectoryError:
                if self._held is None:
                    raise
                return None  # a link in place of a directory, which a listing reports
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def list(self, folder: Folder, after: str = "") -> Iterator[FolderEntry]:
        with storage_errors(f"{self.location(folder.name)} cannot be listed"), ExitStack() as stack:
            try:
                within, _ = stack.enter_context(self._directory(f"{folder.name}/"))
            except FileNotFoundError:
                return
            own = open_directory(".", within=within)  # a shared one would share its position
            stack.callback(os.close, own)
            yield from _list_directory(own, folder, after)

    def set_aside(self, name: str, new_name: str) -> str:
        *levels, new_file = new_name.split("/")
        with (
            storage_errors(f"{self.location(name)} cannot be moved to {'/'.join(levels)}/"),
            self._directory(name) as (directory, file),
            self._enter(*self._spool, *levels) as within,
        ):
            os.rename(file, new_file, src_dir_fd=directory, dst_dir_fd=within)
            sync_directory(within)
            sync_directory(directory)
        return self.location(new_name)

    def set_aside_folder(self, folder: Folder, new_name: str) -> None:
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

    def close(self) -> None:
        held, self._held = self._held, None
        tmp, self._tmp = self._tmp, None
        if tmp is not None:
            os.close(tmp)
        if held is not None:
            held.close()

    def grow(self, name: str, head: bytes) -> GrowingFile:
        """Create a file that begins with ``head`` once something is appended to it."""
        *levels, file = name.split("/")
        with storage_errors(f"{self.location('/'.join(levels))} cannot be created"):
            directory = enter_levels(self._root, self._modes[0], *self._spool, *levels)
        return GrowingFile(directory, file, self._modes[1], self.location(name), head)

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
        held = self._held
        if held is None or levels[:1] != [held.name]:
            with open_levels(self._root, (*self._spool, *levels)) as opened:
                yield opened[-1], file
            return
        with _open_within(held.current(), levels[1:]) as within:
            yield within, file

    @contextmanager
    def _enter(self, *levels: str) -> Iterator[int]:
        """Open a directory, which is made if it is missing. Raises OSError."""
        base = open_root(self._root) if self._held is None else os.dup(self._held.root)
        fd = base
        try:
            for level in levels:
                above = fd
                fd = enter_directory(level, self._modes[0], within=above)
                os.close(above)
            yield fd
        finally:
            os.close(fd)


class _HeldFolder:
    """A folder that is kept open, and the directory ``root`` of the archive with it."""

    def __init__(self, root: Path, name: str) -> None:
        """Raises OSError; then nothing stays open."""
        self.name = name
        self._path, self._folder_path = root, f"{root}/{name}"
        self._left: tuple[int, ...] = ()
        """The directories before the last move: another thread may be about to use them."""
        self._moving = threading.Lock()
        self._stays = False
        self.root, self._folder = self._open()

    def _open(self) -> tuple[int, int]:
        root = open_root(self._path)
        try:
            return root, open_directory(self.name, within=root)
        except OSError:
            os.close(root)
            raise

    def stay(self) -> int:
        """Return the folder, and stay in it from now on, whatever is put in its place."""
        self._stays = True
        return self._folder

    def current(self) -> int:
        """Return the folder that is there now; the last one if there is none, since its files can be read."""
        if self._stays:
            return self._folder
        with self._moving, suppress(OSError):
            if not os.path.samestat(os.lstat(self._folder_path), os.fstat(self._folder)):
                root, folder = self._open()
                for fd in self._left:
                    os.close(fd)
                self._left = (self.root, self._folder)
                self.root, self._folder = root, folder
        return self._folder

    def close(self) -> None:
        for fd in (self._folder, self.root, *self._left):
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


@contextmanager
def _open_within(base: int, levels: Sequence[str]) -> Iterator[int]:
    """Open the last of these directories, each within the one before, the first in an open directory."""
    fd = base
    try:
        for level in levels:
            above = fd
            fd = open_directory(level, within=above)
            if above != base:
                os.close(above)
        yield fd
    finally:
        if fd != base:
            os.close(fd)


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
            except FileNotFoundError:
                continue  # it was removed meanwhile
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
