"""A new file that gets its name only when it is complete."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from archiver.durable import destination_errors, open_root, sync, sync_directory
from archiver.errors import ArchiveLocked, UsageError
from archiver.export.open_export import refuse_archives, refuse_exports
from archiver.export.placement import NameInDirectory, rename_exclusive

_DRAFT = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK


def require_new(path: Path, *, force: bool) -> None:
    """Raise UsageError if the file cannot be made: it exists, or is in an archive or an export.

    With ``force`` a regular file may exist. Raises StorageError if this user may not enter the directory.
    """
    if path.name in ("", ".."):
        raise UsageError(f"{path} is a directory", "name a file")
    refuse_archives(path.parent)
    refuse_exports(path.parent)
    with destination_errors(path.parent):
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            return
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise UsageError(f"{path} is {what}", "name another file")
    if not force:
        raise UsageError(f"{path} exists already", "name another file, or replace it with --force")


@contextmanager
def open_new_file(path: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file to write. If the block ends without an exception, it is durable and gets its name.

    Until then it is called ``.<name>.part``. An exception removes it; if a kill leaves it, the next call
    overwrites it. Missing directories are created. ``force``: replace an existing file, in one step. Raises
    the errors of ``require_new``, ArchiveLocked while another process writes the same file, StorageError,
    DiskFull.
    """
    require_new(path, force=force)
    name, draft = os.fsencode(path.name), os.fsencode(f".{path.name}.part")
    with destination_errors(path), ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        directory = open_root(path.parent)
        stack.callback(os.close, directory)
        descriptor = _open_draft(draft, directory, path)
        with os.fdopen(descriptor, "w+b") as file:  # its lock ends when it is closed
            try:
                yield file
                file.flush()
                sync(descriptor)
                if force:
                    os.replace(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
                else:
                    rename_exclusive(NameInDirectory(directory, draft), NameInDirectory(directory, name))
            except FileExistsError as exc:
                os.unlink(draft, dir_fd=directory)
                raise UsageError(f"{path} exists now: another program made it", "name another file") from exc
            except BaseException:
                os.unlink(draft, dir_fd=directory)
                raise
            sync_directory(directory)


def _open_draft(name: bytes, directory: int, path: Path) -> int:
    """Open, lock and empty the draft. Raises ArchiveLocked, OSError."""
    while True:
        descriptor = os.open(name, _DRAFT, 0o666, dir_fd=directory)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(f"{os.fsdecode(name)} is not a regular file")
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink > 1:  # it is somebody's file under another name
                os.unlink(name, dir_fd=directory)
            elif _is_named(descriptor, name, directory):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BlockingIOError as exc:
            os.close(descriptor)
            raise ArchiveLocked(f"another export to {path} is running", "wait until it ends") from exc
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # another process has renamed or removed it meanwhile


def _is_named(descriptor: int, name: bytes, directory: int) -> bool:
    """Return whether an open file still has this name."""
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(descriptor))
