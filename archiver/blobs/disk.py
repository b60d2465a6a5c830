"""The write order of one file, by which a blob is there whole or not at all, whatever kills the program or the power."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from archiver.durable import (
    enter_directory,
    open_directory,
    open_regular,
    open_root,
    storage_errors,
    sync,
    sync_directory,
    write_all,
)
from archiver.errors import StorageError
from archiver.model.identity import Digest

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class DiskWriter:
    """A ``BlobWriter`` into ``tmp`` and then ``blobs``, two open directories of one file system below ``root``."""

    def __init__(self, tmp: int, blobs: int, root: Path) -> None:
        self._tmp, self._blobs, self._root = tmp, blobs, root
        self._place = root / "tmp"
        self._name = f"{secrets.token_hex(16)}.part"
        self._hash = hashlib.sha256()
        self._size = 0
        self._fd: int | None = None
        with storage_errors(f"a file cannot be made in {self._place}"):
            self._fd = os.open(self._name, _NEW, 0o600, dir_fd=tmp)

    def _open(self) -> int:
        if self._fd is None:
            raise ValueError("the blob writer is closed")
        return self._fd

    @property
    def size(self) -> int:
        return self._size

    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())

    def write(self, chunk: bytes) -> None:
        fd = self._open()
        try:
            with storage_errors(
                f"a file of {self._size + len(chunk)} bytes cannot be written in {self._place}"
            ):
                write_all(fd, chunk)
        except StorageError:
            self._discard()  # a part of the chunk may be in the file: it is not what was hashed any more
            raise
        self._hash.update(chunk)
        self._size += len(chunk)

    def restart(self) -> None:
        with storage_errors(f"a file in {self._place} cannot be cut"):
            os.ftruncate(self._open(), 0)
            os.lseek(self._open(), 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self._size = 0

    def commit(self) -> tuple[Digest, int]:
        fd, digest = self._open(), self.digest()
        try:
            with storage_errors(f"{self._root}/blobs/{digest[:2]}/{digest} cannot be stored"):
                os.fchmod(fd, 0o444)  # before the sync, which makes the mode durable too
                sync(fd)
                self._fd = None  # a failed close(2) has closed it all the same
                os.close(fd)
                self._put_in_place(digest)
        except BaseException:
            self._discard()
            raise
        return digest, self._size

    def _put_in_place(self, digest: Digest) -> None:
        """Rename, make the name durable, and look again. Always a rename: equal bytes heal a rotten copy, and FAT has no links."""
        fan = open_directory(digest[:2], within=self._blobs)
        try:
            os.replace(self._name, digest, src_dir_fd=self._tmp, dst_dir_fd=fan)
            sync_directory(fan)
            found = os.stat(digest, dir_fd=fan, follow_symlinks=False)
        finally:
            os.close(fan)
        if not stat.S_ISREG(found.st_mode) or found.st_size != self._size:
            raise StorageError(f"{self._root}/blobs/{digest[:2]}/{digest} changed while it was stored")

    def _discard(self) -> None:
        """Leave nothing behind; what cannot be removed now is swept at the next start."""
        fd, self._fd = self._fd, None
        with contextlib.suppress(OSError):
            if fd is not None:
                os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._tmp)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            self._discard()


_FAN_OUT = tuple(f"{n:02x}" for n in range(256))

_HEX2, _HEX64 = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{64}")
_EFFECTIVE = os.access in os.supports_effective_ids


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write to the disk that holds ``path``. Raises StorageError."""
    with storage_errors(f"the free space at {path} cannot be read"):
        disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


class DiskStore:
    """A ``BlobStore`` below ``root``, the archive's directory. Opening it writes nothing; ``with`` or ``close`` ends it.

    Raises StorageError if ``root/blobs`` is not there or is a symbolic link: then nothing below it is touched.
    ``group_readable`` gives directories 0750 instead of 0700. Blobs are 0444 in both: the directories decide who comes near.
    """

    def __init__(self, root: Path, *, group_readable: bool = False) -> None:
        self._root = root
        self._mode = 0o750 if group_readable else 0o700
        self._tmp_fd: int | None = None
        with storage_errors(f"the blobs of the archive at {root} cannot be opened"):
            self._root_fd = open_root(root)
            try:
                self._blobs_fd = open_directory("blobs", within=self._root_fd)
            except OSError:
                os.close(self._root_fd)
                raise

    @classmethod
    def create(cls, root: Path, *, group_readable: bool = False) -> DiskStore:
        """Make an empty store: ``root`` and its missing parents, ``blobs/`` with its 256 directories, ``tmp/``; all durable.

        What stands already is left as it is, so that a killed creation can be repeated. Raises DiskFull or StorageError.
        """
        mode = 0o750 if group_readable else 0o700
        with storage_errors(f"the store at {root} cannot be made"):
            root_fd = open_root(root, mode)
            try:
                os.close(enter_directory("tmp", mode, within=root_fd))
                os.close(enter_directory("blobs", mode, within=root_fd))
            finally:
                os.close(root_fd)
        store = cls(root, group_readable=group_readable)
        try:
            with storage_errors(f"the store at {root} cannot be made"):
                store._check_fan_out()
        except BaseException:
            store.close()
            raise
        return store

    def prepare(self) -> None:
        with storage_errors(f"the store at {self._root} cannot be written"):
            if self._tmp_fd is None:
                self._tmp_fd = enter_directory("tmp", self._mode, within=self._root_fd)
            if os.fstat(self._tmp_fd).st_dev != os.fstat(self._blobs_fd).st_dev:
                raise StorageError(
                    f"tmp/ and blobs/ of {self._root} lie on different disks: a file could not be renamed into place",
                    "make both plain directories of one disk",
                )
            self._check_fan_out()
            _sweep(self._tmp_fd)
            with self.writer() as probe:  # a read-only disk says so here, before a unit is spent
                probe.write(b"\n")

    def _check_fan_out(self) -> None:
        """Every directory of ``blobs/`` is there (a copy may have left out empty ones), is none of someone else's, no link."""
        made = False
        for name in _FAN_OUT:
            try:
                found = os.stat(name, dir_fd=self._blobs_fd, follow_symlinks=False)
            except FileNotFoundError:
                os.mkdir(name, self._mode, dir_fd=self._blobs_fd)
                os.chmod(name, self._mode, dir_fd=self._blobs_fd)
                made = True
                continue
            if not stat.S_ISDIR(found.st_mode):
                raise StorageError(
                    f"{self._root}/blobs/{name} is not a directory", "move it away and run again"
                )
            if not os.access(name, os.W_OK | os.X_OK, dir_fd=self._blobs_fd, effective_ids=_EFFECTIVE):
                raise StorageError(
                    f"{self._root}/blobs/{name} cannot be written", "run as the user who owns the archive"
                )
        if made:
            sync_directory(self._blobs_fd)

    def writer(self) -> DiskWriter:
        if self._tmp_fd is None:
            raise ValueError("the store is not prepared for writing")
        return DiskWriter(self._tmp_fd, self._blobs_fd, self._root)

    @contextmanager
    def _fan(self, digest: Digest) -> Iterator[int]:
        fd = open_directory(digest[:2], within=self._blobs_fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def has(self, digest: Digest) -> bool:
        return self.size(digest) is not None

    def size(self, digest: Digest) -> int | None:
        with storage_errors(f"{self.path(digest)} cannot be looked at"):
            try:
                with self._fan(digest) as fan:
                    found = os.stat(digest, dir_fd=fan, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):  # a link where its directory should be is none
                return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def open(self, digest: Digest) -> BinaryIO:
        with storage_errors(f"{self.path(digest)} cannot be read"), self._fan(digest) as fan:
            return os.fdopen(open_regular(digest, within=fan), "rb")

    def digests(self, foreign: Callable[[str], None] | None = None) -> Iterator[Digest]:
        with storage_errors(f"{self._root}/blobs cannot be listed"):
            for name in _names(".", within=self._blobs_fd):
                inside = self._names_of_fan(name)
                if inside is None:
                    _tell(foreign, name)
                for inner in inside or ():
                    if inner.startswith(name) and _HEX64.fullmatch(inner):
                        yield Digest(inner)
                    else:
                        _tell(foreign, f"{name}/{inner}")

    def _names_of_fan(self, name: str) -> list[str] | None:
        """What one of the 256 directories holds, sorted; None if ``name`` is none of them."""
        try:
            return _names(name, within=self._blobs_fd) if _HEX2.fullmatch(name) else None
        except NotADirectoryError:
            return None

    def path(self, digest: Digest) -> Path:
        return self._root / "blobs" / digest[:2] / digest

    def quarantine(self, digest: Digest) -> Path:
        name = f"{digest}-{secrets.token_hex(4)}"
        with storage_errors(f"{self.path(digest)} cannot be moved to quarantine/"), self._fan(digest) as fan:
            place = enter_directory("quarantine", self._mode, within=self._root_fd)
            try:
                os.rename(digest, name, src_dir_fd=fan, dst_dir_fd=place)
                sync_directory(place)
                sync_directory(fan)
            finally:
                os.close(place)
        return self._root / "quarantine" / name

    def close(self) -> None:
        for fd in (self._tmp_fd, self._blobs_fd, self._root_fd):
            if fd is not None and fd >= 0:
                os.close(fd)
        self._tmp_fd, self._blobs_fd, self._root_fd = None, -1, -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sweep(tmp: int) -> None:
    """Remove the files in ``tmp/``: whoever holds the archive's lock knows that nobody is writing them any more."""
    for name in _names(".", within=tmp):
        if not stat.S_ISDIR(os.stat(name, dir_fd=tmp, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=tmp)


def _names(name: str, *, within: int) -> list[str]:
    """The sorted names in a directory, through a descriptor of its own: a shared one would share its position too."""
    fd = open_directory(name, within=within)
    try:
        with os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries)
    finally:
        os.close(fd)


def _tell(foreign: Callable[[str], None] | None, name: str) -> None:
    if foreign is not None:
        foreign(os.fsencode(name).decode(errors="backslashreplace"))
