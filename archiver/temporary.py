"""Temporary files of an archive, in ``tmp/`` of its directory: the disk of the system's own may be small.

A user who may only read the archive cannot write there, and gets the system's place.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from archiver.durable import enter_levels, storage_errors

_PREFIX = "archiver-"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def make_temporary_place(root: Path, mode: int) -> None:
    """Make the directory for temporary files, with this mode, if it is missing. Raises StorageError."""
    with storage_errors(f"{root / 'tmp'} cannot be made"):
        os.close(enter_levels(root, mode, "tmp"))


def temporary_place(root: Path) -> Path | None:
    """Return the directory for temporary files of the archive at ``root``; None means the system's."""
    tmp = root / "tmp"
    return tmp if os.access(tmp, os.W_OK | os.X_OK) and not tmp.is_symlink() else None


@contextmanager
def temporary_directory(root: Path) -> Iterator[Path]:
    """Make a directory, and remove it after the block. If a kill prevents that, the next run removes it.

    Raises DiskFull or StorageError.
    """
    place = temporary_place(root)
    with storage_errors(f"a directory cannot be made in {place or tempfile.gettempdir()}"):
        made = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        lock = os.open(made, _DIRECTORY)
    try:
        with suppress(OSError):  # a file system without locks: nobody can tell whether it is in use
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(lock)


def remove_if_abandoned(name: str, tmp: int) -> None:
    """Remove a directory in ``tmp`` that ``temporary_directory`` made, if the process has ended."""
    if not name.startswith(_PREFIX):
        return
    with suppress(OSError):
        directory = os.open(name, _DIRECTORY, dir_fd=tmp)
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(name, dir_fd=tmp)
        finally:
            os.close(directory)


def open_temporary(root: Path) -> BinaryIO:
    """Open a new file without a name, for reading and writing. Raises DiskFull or StorageError."""
    place = temporary_place(root)
    with storage_errors(f"a file cannot be created in {place or tempfile.gettempdir()}"):
        return cast("BinaryIO", tempfile.TemporaryFile(dir=place))
