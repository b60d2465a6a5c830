"""Temporary files of an archive, in ``tmp/`` of its directory: the disk of the system's own may be small.

A user who may only read the archive cannot write there, and gets the system's place.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from archiver.durable import enter_levels, storage_errors


def make_temporary_place(root: Path, mode: int) -> None:
    """Make the directory for temporary files, with this mode, if it is missing. Raises StorageError."""
    with storage_errors(f"{root / 'tmp'} cannot be made"):
        os.close(enter_levels(root, mode, "tmp"))


def temporary_place(root: Path) -> Path | None:
    """Return the directory for temporary files of the archive at ``root``; None means the system's."""
    tmp = root / "tmp"
    return tmp if os.access(tmp, os.W_OK | os.X_OK) else None


def open_temporary(root: Path) -> BinaryIO:
    """Open a new file without a name, for reading and writing. Raises DiskFull or StorageError."""
    place = temporary_place(root)
    with storage_errors(f"a file cannot be created in {place or tempfile.gettempdir()}"):
        return cast("BinaryIO", tempfile.TemporaryFile(dir=place))
