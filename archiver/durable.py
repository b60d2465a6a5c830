"""File system calls that make bytes survive a power loss, and their errors as StorageError.

Everything below an archive is opened relative to an open directory and never through a symbolic link, so that
a link planted in the archive has no effect. Child processes do not inherit descriptors (PEP 446).
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from archiver.errors import DiskFull, StorageError

FICLONE = 0x40049409
"""ioctl_ficlone(2): btrfs, XFS, bcachefs and others."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOTSUP})
"""The errors of a file system that cannot sync this kind of file. EIO must not be one of them."""

_ROTTEN = frozenset(
    getattr(errno, name)
    for name in ("EIO", "EBADMSG", "EUCLEAN", "EILSEQ", "ENXIO", "EREMOTEIO")
    if hasattr(errno, name)
)


def storage_error(exc: OSError, problem: str) -> StorageError:
    """Return DiskFull (no space, no quota) or StorageError. ``problem``: what failed, and where."""
    message = f"{problem}: {exc.strerror or exc}"
    if exc.errno in _FULL:
        return DiskFull(message, "free space on that disk, or raise the quota, and run again")
    return StorageError(message, "check the disk and the owner of the files, and run again")


def is_data_loss(error: StorageError) -> bool:
    """Return whether the disk has lost these bytes.

    Too many open files, a missing permission or an unreachable server say nothing about the bytes.
    """
    cause = error.__cause__
    return isinstance(cause, OSError) and is_lost_on_disk(cause)


def is_lost_on_disk(error: OSError) -> bool:
    """Return whether reading failed because the disk has lost these bytes."""
    return error.errno in _ROTTEN


@contextmanager
def storage_errors(problem: str) -> Iterator[None]:
    """Convert an OSError that the block raises to the error that ``storage_error`` returns."""
    try:
        yield
    except OSError as exc:
        raise storage_error(exc, problem) from exc


@contextmanager
def destination_errors(path: Path) -> Iterator[None]:
    """Convert an OSError that the block raises to a StorageError: ``path`` cannot be written.

    If this user may not enter or write a directory on the way to it, the message names that directory.
    """
    try:
        yield
    except OSError as exc:
        if isinstance(exc, PermissionError):
            require_permission(path)
        raise storage_error(exc, f"{path} cannot be written") from exc


def require_permission(path: Path) -> None:
    """Raise StorageError if this user may not enter a directory on the way to ``path``, or not write the last
    of them that exists. ``path`` itself counts, if it is a directory.
    """
    whole, nearest = path.absolute(), Path("/")
    for place in (*reversed(whole.parents), whole):
        if not os.path.isdir(place):  # noqa: PTH112  # False also if a link leads to where it may not go
            break
        nearest = place
        if not _may(os.X_OK, place):
            raise _no_permission(path, "enter", place)
    if not _may(os.W_OK, nearest):
        raise _no_permission(path, "write to", nearest)


def _may(mode: int, directory: Path) -> bool:
    return os.access(directory, mode, effective_ids=os.access in os.supports_effective_ids)


def _no_permission(path: Path, verb: str, directory: Path) -> StorageError:
    return StorageError(
        f"{path} cannot be written: this user may not {verb} the directory {directory}",
        "name a place in a directory of this user, or run this as the owner of the directory",
    )


def sync(fd: int) -> None:
    """Flush the bytes of a file to the disk. Raises OSError; give up the file then: a second fsync may lie.

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
    """Flush the names in a directory to the disk, if the file system supports that. Raises OSError."""
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise


def sync_file_system(fd: int) -> None:
    """Flush everything written to the file system of this descriptor to the disk: one wait for many files.

    This is syncfs(2) on Linux, which reports errors since 5.8; elsewhere sync(2), which does not. Raises
    OSError.
    """
    import ctypes  # slow, and few commands need it

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
    elif syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def open_directory(name: str | bytes, *, within: int) -> int:
    """Open a directory in the open directory ``within``.

    Raises NotADirectoryError also for a symbolic link, and for a name that leads out of ``within``.
    """
    if name in (b"..", "..") or b"/" in os.fsencode(name):
        raise NotADirectoryError(errno.ENOTDIR, "not the name of a directory")
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except OSError as exc:
        if exc.errno == errno.ELOOP:  # a link, if the system checks O_NOFOLLOW before O_DIRECTORY
            raise NotADirectoryError(errno.ENOTDIR, "a symbolic link where a directory must be") from exc
        raise


def enter_directory(name: str, mode: int, *, within: int) -> int:
    """Open a directory; if it does not exist, create it durably, with exactly this mode."""
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


def list_names(directory: str, *, within: int) -> list[str]:
    """Return the sorted names in a directory.

    The directory is opened again, because a shared descriptor would share its read position.
    """
    fd = open_directory(directory, within=within)
    try:
        with os.scandir(fd) as entries:
            return sorted(entry.name for entry in entries)
    finally:
        os.close(fd)


def open_root(path: Path, mode: int | None = None) -> int:
    """Open the directory of an archive. Only here are links followed, as the user chose the path.

    With ``mode``, missing directories are created.
    """
    if mode is not None and not path.is_dir():
        parent = open_root(path.parent, mode)
        try:
            return enter_directory(path.name, mode, within=parent)
        finally:
            os.close(parent)
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_regular(name: str, *, within: int, flags: int = os.O_RDONLY) -> int:
    """Open a regular file, for reading unless ``flags`` say otherwise.

    Raises OSError for anything else, without waiting for a FIFO.
    """
    fd = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "not a regular file")


def write_all(fd: int, chunk: bytes) -> None:
    """Write the whole chunk. When a disk becomes full, it writes a part, and only the next write fails."""
    written = os.write(fd, chunk)
    while written < len(chunk):
        written += os.write(fd, memoryview(chunk)[written:])


def write_whole(
    name: str,
    pieces: Iterable[bytes],
    mode: int,
    *,
    tmp: int,
    within: int,
    owner: tuple[int, int] | None = None,
    draft: str = "",
) -> int:
    """Write a file that gets its name in the open directory ``within`` once it is durable; return its size.

    Until then it is in the directory ``tmp``, from which it is removed if anything fails. ``owner``: its user
    and group, if they need not be those of this process. ``draft``: its name there; '': a random one. Raises
    OSError.
    """
    draft = draft or f"{secrets.token_hex(16)}.part"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=tmp)
    try:
        if owner not in (None, (os.fstat(fd).st_uid, os.fstat(fd).st_gid)):
            os.fchown(fd, *owner)
        os.fchmod(fd, mode)
        for piece in pieces:
            write_all(fd, piece)
        sync(fd)
        os.replace(draft, name, src_dir_fd=tmp, dst_dir_fd=within)
        sync_directory(within)
        return os.fstat(fd).st_size
    except BaseException:
        with suppress(OSError):
            os.unlink(draft, dir_fd=tmp)
        raise
    finally:
        os.close(fd)


def remove_files(root: Path, names: Iterable[str]) -> None:
    """Remove files below ``root`` durably, by names relative to it; those that are missing are no error.

    A directory three or more levels below ``root`` that is left empty is removed, with those above it that
    are, except the first. Raises StorageError, also for a name that leads out of ``root`` or through a link.
    """
    directories: dict[str, list[str]] = {}
    for name in names:
        directory, _, file = name.rpartition("/")
        directories.setdefault(directory, []).append(file)
    for directory, files in sorted(directories.items()):
        levels = directory.split("/") if directory else []
        with (
            storage_errors(f"files in {root / directory} cannot be deleted"),
            suppress(FileNotFoundError),
            open_levels(root, levels) as opened,
        ):
            for file in files:
                with suppress(FileNotFoundError):
                    os.unlink(file, dir_fd=opened[-1])
            sync_directory(opened[-1])
            for depth in range(len(levels), 1, -1) if len(levels) > 2 else ():
                try:
                    os.rmdir(levels[depth - 1], dir_fd=opened[depth - 1])
                except OSError:
                    break
                sync_directory(opened[depth - 1])


def enter_levels(root: Path, mode: int, *levels: str) -> int:
    """Open the last of the given directories, each within the one before; create those that do not exist."""
    fd = open_root(root)
    for level in levels:
        above = fd
        try:
            fd = enter_directory(level, mode, within=above)
        finally:
            os.close(above)
    return fd


@contextmanager
def open_levels(root: Path, levels: Iterable[str]) -> Iterator[list[int]]:
    """Open a directory and the given directories, each within the one before. Raises OSError."""
    opened = [open_root(root)]
    try:
        for level in levels:
            opened.append(open_directory(level, within=opened[-1]))
        yield opened
    finally:
        for fd in opened:
            os.close(fd)


def real_path(path: Path) -> Path:
    """Return a path without symbolic links; it need not exist.

    Links that form a loop stay as they are, so whoever opens the path gets an OSError. ``Path.resolve``
    raises RuntimeError for them before Python 3.13.
    """
    return Path(os.path.realpath(path))


def free_bytes(path: Path) -> int:
    """Return how many bytes this user can still write to the disk of ``path``. Raises StorageError."""
    with storage_errors(f"the free space at {path} cannot be read"):
        disk = os.statvfs(path)
    return disk.f_bavail * disk.f_frsize


def clone(source: int, target: int) -> None:
    """Make the file ``target`` a reflink of ``source``: it shares its blocks until one of them is changed.

    Raises OSError if the file system, this pair of file systems, or the operating system cannot do that.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "reflinks are supported on Linux only")
    fcntl.ioctl(target, FICLONE, source)
