"""Blobs on a disk: ``blobs/ab/<sha256>``, mode 0444.

A blob is written to ``tmp/`` and renamed once its bytes are durable. So a blob is complete or absent,
whenever the program or the power fails.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from archiver.durable import (
    enter_directory,
    list_names,
    open_directory,
    open_regular,
    open_root,
    storage_errors,
    sync,
    sync_directory,
)
from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.store.spool import SpoolWriter, enter_spool, remove_unfinished

_DIRECTORIES = tuple(f"{n:02x}" for n in range(256))
_HEX2, _HEX64 = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")
_HAS_EFFECTIVE_IDS = os.access in os.supports_effective_ids


def free_bytes(path: Path) -> int:
    """Return how many bytes this user can still write to the disk of ``path``. Raises StorageError."""
    with storage_errors(f"the free space at {path} cannot be read"):
        disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


class DiskStore:
    """A ``BlobStore`` below ``root``, the archive's directory. Opening it writes nothing. Closed by ``with``.

    Raises StorageError if ``root/blobs`` does not exist or is a symbolic link; then nothing below it is
    touched. ``group_readable`` makes directories 0750 instead of 0700. Blobs are 0444 in both cases: the
    directories decide who can read them. ``part``: the part of ``tmp/`` to write to; None for all of it. One
    that only reads follows its path, if another directory is put there.
    """

    def __init__(self, root: Path, *, group_readable: bool = False, part: str | None = None) -> None:
        self._root, self._part = root, part
        self._mode = 0o750 if group_readable else 0o700
        self._tmp_fd: int | None = None
        self._left: tuple[int, ...] = ()
        """The directories before the last move: another thread may be about to use them."""
        self._moving = threading.Lock()
        self._path = f"{root}/blobs"
        with storage_errors(f"the blobs of the archive at {root} cannot be opened"):
            self._root_fd = open_root(root)
            try:
                self._blobs_fd = open_directory("blobs", within=self._root_fd)
            except FileNotFoundError as exc:
                os.close(self._root_fd)
                raise StorageError(
                    f"the archive at {root} has no directory blobs/",
                    "mount its disk, or restore a copy; if the blobs are truly gone: make an empty directory "
                    "blobs/ there, then archiver verify --repair --accept-loss",
                ) from exc
            except OSError:
                os.close(self._root_fd)
                raise

    @classmethod
    def create(cls, root: Path, *, group_readable: bool = False) -> DiskStore:
        """Create an empty store durably, with missing parents of ``root``.

        Whatever exists already is left unchanged, so that a killed creation can be repeated. Raises DiskFull
        or StorageError.
        """
        mode = 0o750 if group_readable else 0o700
        with storage_errors(f"the store at {root} cannot be created"):
            root_fd = open_root(root, mode)
            try:
                os.close(enter_directory("tmp", mode, within=root_fd))
                os.close(enter_directory("blobs", mode, within=root_fd))
            finally:
                os.close(root_fd)
        store = cls(root, group_readable=group_readable)
        try:
            with storage_errors(f"the store at {root} cannot be created"):
                store._check_directories()
        except BaseException:
            store.close()
            raise
        return store

    def prepare(self) -> None:
        with storage_errors(f"the store at {self._root} cannot be written"):
            if self._tmp_fd is None:
                self._tmp_fd = enter_spool(self._root_fd, self._part, self._mode)
            if os.fstat(self._tmp_fd).st_dev != os.fstat(self._blobs_fd).st_dev:
                raise StorageError(
                    f"tmp/ and blobs/ of {self._root} are on different disks: files cannot be renamed",
                    "make both plain directories on the same disk",
                )
            self._check_directories()
            remove_unfinished(self._tmp_fd)
            with self.writer() as probe:  # a read-only disk is noticed here, before a unit is spent
                probe.write(b"\n")

    def _check_directories(self) -> None:
        """Check that the 256 directories of ``blobs/`` can be written and are not links; make missing ones.

        Some copying programs leave out empty directories.
        """
        is_changed = False
        for name in _DIRECTORIES:
            try:
                status = os.stat(name, dir_fd=self._blobs_fd, follow_symlinks=False)
            except FileNotFoundError:
                os.mkdir(name, self._mode, dir_fd=self._blobs_fd)
                os.chmod(name, self._mode, dir_fd=self._blobs_fd)
                is_changed = True
                continue
            if not stat.S_ISDIR(status.st_mode):
                raise StorageError(
                    f"{self._root}/blobs/{name} is not a directory", "move it away and run again"
                )
            if not os.access(
                name, os.W_OK | os.X_OK, dir_fd=self._blobs_fd, effective_ids=_HAS_EFFECTIVE_IDS
            ):
                raise StorageError(
                    f"{self._root}/blobs/{name} cannot be written", "run as the user who owns the archive"
                )
        if is_changed:
            sync_directory(self._blobs_fd)

    def writer(self) -> DiskWriter:
        if self._tmp_fd is None:
            raise ValueError("the store is not prepared for writing")
        return DiskWriter(self._tmp_fd, self._blobs_fd, self._root)

    @contextmanager
    def _open_directory_of(self, digest: Digest) -> Iterator[int]:
        fd = open_directory(digest[:2], within=self._current_blobs())
        try:
            yield fd
        finally:
            os.close(fd)

    def _current_blobs(self) -> int:
        """Return the open directory ``blobs/``; for a store that only reads, the one that is there now."""
        if self._tmp_fd is not None:
            return self._blobs_fd
        with self._moving:
            try:
                if not os.path.samestat(os.lstat(self._path), os.fstat(self._blobs_fd)):
                    self._follow()
            except OSError:  # none is there: the files of the last one can still be read
                pass
            return self._blobs_fd

    def _follow(self) -> None:
        root = open_root(self._root)
        try:
            found = open_directory("blobs", within=root)
        except OSError:
            os.close(root)
            raise
        for fd in self._left:
            os.close(fd)
        self._left = (self._root_fd, self._blobs_fd)
        self._root_fd, self._blobs_fd = root, found

    def has(self, digest: Digest) -> bool:
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        with storage_errors(f"the size of {self.location(digest)} cannot be read"):
            try:
                with self._open_directory_of(digest) as directory:
                    status = os.stat(digest, dir_fd=directory, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):  # the latter also if its directory is a link
                return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open(self, digest: Digest) -> BinaryIO:
        with (
            storage_errors(f"{self.location(digest)} cannot be read"),
            self._open_directory_of(digest) as directory,
        ):
            return os.fdopen(open_regular(digest, within=directory), "rb")

    def open_range(self, digest: Digest, start: int, length: int) -> BinaryIO:
        file = self.open(digest)
        file.seek(start)
        return file

    def list_blobs(
        self, on_foreign: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Digest, int | None]]:
        with storage_errors(f"{self._root}/blobs cannot be listed"):
            for directory in list_names(".", within=self._blobs_fd):
                names = self._list_blob_directory(directory)
                if names is None:
                    _report_foreign(on_foreign, directory)
                for name in names or ():
                    if name.startswith(directory) and _HEX64.fullmatch(name):
                        yield Digest(name), None
                    else:
                        _report_foreign(on_foreign, f"{directory}/{name}")

    def _list_blob_directory(self, name: str) -> list[str] | None:
        """Return the sorted names in one of the 256 directories; None if ``name`` is not one of them."""
        try:
            return list_names(name, within=self._blobs_fd) if _HEX2.fullmatch(name) else None
        except NotADirectoryError:
            return None

    def path(self, digest: Digest) -> Path:
        """Return the blob's path, whether it exists or not."""
        return self._root / "blobs" / digest[:2] / digest

    def location(self, digest: Digest) -> str:
        return f"{self._root}/blobs/{digest[:2]}/{digest}"  # a Path would cost more than opening the file

    def quarantine(self, digest: Digest) -> str:
        name = f"{digest}-{secrets.token_hex(4)}"
        problem = f"{self.location(digest)} cannot be moved to quarantine/"
        with storage_errors(problem), self._open_directory_of(digest) as directory:
            quarantine = enter_directory("quarantine", self._mode, within=self._root_fd)
            try:
                os.rename(digest, name, src_dir_fd=directory, dst_dir_fd=quarantine)
                sync_directory(quarantine)
                sync_directory(directory)
            finally:
                os.close(quarantine)
        return str(self._root / "quarantine" / name)

    def close(self) -> None:
        for fd in (self._tmp_fd, self._blobs_fd, self._root_fd, *self._left):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._tmp_fd, self._blobs_fd, self._root_fd, self._left = None, -1, -1, ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class DiskWriter(SpoolWriter):
    """A ``BlobWriter`` into the open directories ``tmp`` and ``blobs``, which are on one file system.

    The order of steps in ``commit`` makes a blob appear completely or not at all: set the mode, sync the
    bytes, close, rename, sync the directory, check.
    """

    def __init__(self, tmp: int, blobs: int, root: Path) -> None:
        super().__init__(tmp, root / "tmp")
        self._blobs, self._root = blobs, root

    def commit(self) -> tuple[Digest, int]:
        fd, digest = self._open_fd(), self.digest()
        try:
            with storage_errors(f"{self._root}/blobs/{digest[:2]}/{digest} cannot be stored"):
                os.fchmod(fd, 0o444)  # before the sync, which makes the mode durable too
                sync(fd)
                self._fd = None  # close(2) closes the descriptor even if it fails
                os.close(fd)
                self._put_in_place(digest)
        except BaseException:
            self._discard()
            raise
        return digest, self._size

    def _put_in_place(self, digest: Digest) -> None:
        """Rename the file, make its name durable, and check the result.

        The file is renamed even if the blob exists: this repairs a damaged copy, and works on FAT, which has
        no hard links.
        """
        directory = open_directory(digest[:2], within=self._blobs)
        try:
            os.replace(self._name, digest, src_dir_fd=self._tmp, dst_dir_fd=directory)
            sync_directory(directory)
            status = os.stat(digest, dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(directory)
        if not stat.S_ISREG(status.st_mode) or status.st_size != self._size:
            raise StorageError(f"{self._root}/blobs/{digest[:2]}/{digest} changed while it was stored")


def _report_foreign(on_foreign: Callable[[str], None] | None, name: str) -> None:
    if on_foreign is not None:
        on_foreign(os.fsencode(name).decode(errors="backslashreplace"))
