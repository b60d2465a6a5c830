"""File system calls that make bytes survive a power loss, and their errors as StorageError.

Everything below an archive is opened relative to an open directory and never through a symbolic link, so that
a link that somebody put into the archive leads nowhere. Child processes do not inherit descriptors (PEP 446).
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archiver.errors import DiskFull, StorageError

if sys.platform == "darwin":
    import fcntl

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
"""The errors of a file system that cannot sync this kind of file. EIO is never one of them."""

_ROTTEN = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EBADMSG", "EUCLEAN", "EILSEQ", "ENXIO", "EREMOTEIO")
    if hasattr(errno, name)
)


def storage_error(exc: OSError, problem: str) -> StorageError:
    """Return DiskFull (no space, no quota) or StorageError. ``problem``: what could not be done, and where."""
    message = f"{problem}: {exc.strerror or exc}"
    if exc.errno in _FULL:
        return DiskFull(message, "free space on that disk, or raise the quota, and run again")
    return StorageError(message, "check the disk and who owns the files, and run again")


def is_data_loss(error: StorageError) -> bool:
    """Return whether the disk has lost these bytes.

    Too many open files, a missing permission or an unreachable server say nothing about the bytes.
    """
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _ROTTEN


@contextmanager
def storage_errors(problem: str) -> Iterator[None]:
    """Raise an OSError of the block as ``storage_error`` returns it."""
    try:
        yield
    except OSError as exc:
        raise storage_error(exc, problem) from exc


def sync(fd: int) -> None:
    """Force the bytes of a file to the disk. Raises OSError; then give up the file: a second fsync may lie.

    On macOS fsync(2) leaves the bytes in the drive's cache, as its manual says; F_FULLFSYNC does not.
    """
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            return
        except OSError as exc:
            if exc.errno not in _NO_SYNC | {errno.ENOTTY}:
                raise
    os.fsync(fd)


def sync_directory(fd: int) -> None:
    """Force the names in a directory to the disk, if directories can be synced here. Raises OSError."""
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise


def sync_file_system(fd: int) -> None:
    """Force everything written to the file system of this descriptor to the disk: one wait for many files.

    This is syncfs(2) on Linux, which reports errors since 5.8; elsewhere sync(2), which does not. Raises
    OSError.
    """
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def open_directory(name: str | bytes, *, within: int) -> int:
    """Open a directory in the open directory ``within``. NotADirectoryError also for a symbolic link."""
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # a link, if the system checks O_NOFOLLOW before O_DIRECTORY
            raise NotADirectoryError(errno.ENOTDIR, "a symbolic link where a directory must be") from exc
        raise


def enter_directory(name: str, mode: int, *, within: int) -> int:
    """Open a directory; if it does not exist, make it first, durably and with exactly this mode."""
    try:
        os.mkdir(name, mode, dir_fd=within)
    except FileExistsError:
        return open_directory(name, within=within)
    fd = open_directory(name, within=within)
    try:
        os.fchmod(fd, mode)
        sync_directory(within)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_root(path: Path, mode: int | None = None) -> int:
    """Open the directory of an archive. Only here a link is followed: the user chose the path.

    With ``mode``, missing directories are made.
    """
    if mode is not None and not path.is_dir():
        parent = open_root(path.parent, mode)
        try:
            return enter_directory(path.name, mode, within=parent)
        finally:
            os.close(parent)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_regular(name: str, *, within: int, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, for reading unless ``flags`` say otherwise. OSError for anything else.

    It does not wait for a FIFO.
    """
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file")


def write_all(fd: int, chunk: bytes) -> None:
    """Write the whole chunk. A disk that becomes full writes a part, and fails only the next time."""
    written = os.write(fd, chunk)
    while written < len(chunk):
        written += os.write(fd, memoryview(chunk)[written:])
