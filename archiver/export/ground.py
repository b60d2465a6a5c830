"""What stands in an export at this moment, and whether it is ours. Reads only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from archiver.export import directories
from archiver.export.directories import Directories
from archiver.export.manifest import Row
from archiver.export.placing import Placer
from archiver.model.identity import Digest


def split(path: str) -> tuple[tuple[bytes, ...], bytes]:
    """Return the directory of a path and the name in it, as bytes of UTF-8: what the disk gets in every
    locale.

    As a str the system would encode a name by the locale, which may have no such letter.
    """
    *directory, name = path.encode("utf-8", "surrogateescape").split(b"/")
    return tuple(directory), name


class Ground:
    """The files below an export's root."""

    def __init__(self, directories: Directories, placer: Placer) -> None:
        self._directories, self._placer = directories, placer

    def look(self, path: str) -> os.stat_result | None:
        """What stands under the path; None if nothing does, or it leads through something that is no directory."""
        directory, name = split(path)
        try:
            return directories.look(name, self._directories.enter(directory, make=False))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def found(self, row: Row) -> tuple[str | None, str, bool]:
        """Where the row's file stands, None if nowhere; the SHA-256 that it has there, "" if nobody knows; whether its path is free for it."""
        stands = self.look(row.path)
        if stands is not None:
            held = self._ours(row, row.path, stands)
            if held is not None:
                return row.path, held, True
        moved = self.look(row.old) if row.old is not None else None
        if moved is not None and row.old is not None:
            held = self._ours(row, row.old, moved)
            if held is not None:
                return row.old, held, stands is None
        return None, "", stands is None

    def files(self, root: int, name: str) -> Iterator[str]:
        """Return the paths of all that is no directory, below the directory ``name`` of the open ``root``."""
        return directories.regular_files(root, name)

    def _ours(self, row: Row, path: str, stands: os.stat_result) -> str | None:
        """The SHA-256 of the file, or "", if it is the one that we placed; None if somebody has changed it or put it there since."""
        if not stat.S_ISREG(stands.st_mode):
            return None
        if row.mtime_ns is not None and (row.size, row.mtime_ns) == (stands.st_size, stands.st_mtime_ns):
            return row.sha256
        if row.how in (None, "hardlink") and self._placer.is_blob(row.sha256, stands) is not None:
            return row.sha256
        if row.mtime_ns is not None:
            return None
        held = self.digest(path)  # the program ended between row and file
        if held in (row.sha256, row.before):
            return held
        return (
            "" if stands.st_mtime_ns == row.at_ns else None
        )  # a power loss took bytes that nobody had waited for

    def digest(self, path: str) -> Digest | None:
        """The SHA-256 of the regular file that stands there."""
        directory, name = split(path)
        return directories.digest_of(name, self._directories.enter(directory, make=False))
