"""A journal on a disk: ``journal/YYYY/MM/*.jsonl.gz`` below the archive's directory.

Only the process that began a file appends to it. Each time, it appends one gzip member. So every file is
complete gzip up to its last sync, and an incomplete member that a kill left at the end can be cut off.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from archiver.durable import (
    enter_directory,
    enter_levels,
    open_levels,
    open_regular,
    open_root,
    storage_errors,
    sync,
    sync_directory,
    write_whole,
)
from archiver.journal.journal_line import FileHeader
from archiver.journal.journal_member import pack_header, pack_lines
from archiver.store.growing_file import GrowingFile


class DiskJournal:
    """The ``JournalStorage`` below ``root``, the directory of an archive.

    ``group_readable`` makes directories 0750 and files 0640, instead of 0700 and 0600.
    """

    gather_seconds = 1.0

    def __init__(self, root: Path, *, group_readable: bool = False) -> None:
        self._root = root
        self._modes = (0o750, 0o640) if group_readable else (0o700, 0o600)

    def names(self, since: str) -> list[str]:
        found: list[str] = []
        base = self._root / "journal"
        with storage_errors(f"{base} cannot be listed"):
            for year in _names_in(base):
                for month in _names_in(base / year):
                    place = f"{year}/{month}"
                    if place >= since[:7]:
                        found += [f"{place}/{name}" for name in _names_in(base / place)]
        return [name for name in found if name >= since]

    def size(self, name: str) -> int | None:
        with storage_errors(f"journal/{name} cannot be read"):
            try:
                return (self._root / "journal" / name).lstat().st_size
            except FileNotFoundError:
                return None

    def open(self, name: str) -> BinaryIO:
        with storage_errors(f"journal/{name} cannot be read"):
            return os.fdopen(self._open(name), "rb")

    def cut(self, name: str, length: int) -> None:
        with storage_errors(f"journal/{name} cannot be cut"):
            fd = self._open(name, os.O_WRONLY)
            try:
                os.ftruncate(fd, length)
                sync(fd)
            finally:
                os.close(fd)

    def sync(self, name: str) -> None:
        with storage_errors(f"journal/{name} cannot be synced"), ExitStack() as opened:
            fd = self._open(name)
            opened.callback(os.close, fd)
            sync(fd)
            month = self._enter("journal", *name.split("/")[:-1])
            opened.callback(os.close, month)
            sync_directory(month)

    def set_aside(self, now: datetime) -> None:
        name = f"journal-{now:%Y%m%dT%H%M%S.%fZ}"
        with storage_errors("journal/ cannot be moved to quarantine/"):
            fd = open_root(self._root)
            try:
                quarantine = enter_directory("quarantine", self._modes[0], within=fd)
                try:
                    with suppress(FileNotFoundError):
                        os.rename("journal", name, src_dir_fd=fd, dst_dir_fd=quarantine)
                    sync_directory(quarantine)
                finally:
                    os.close(quarantine)
                sync_directory(fd)
            finally:
                os.close(fd)

    def new_file(self, name: str, header: FileHeader) -> DiskFile:
        with storage_errors(f"{self._root / 'journal'} cannot be created"):
            month = self._enter("journal", *name.split("/")[:-1])
            return DiskFile(name, month, self._modes[1], header)

    def write_whole(self, name: str, pieces: Iterable[bytes]) -> int:
        *levels, file = name.split("/")
        with storage_errors(f"journal/{name} cannot be written"), ExitStack() as opened:
            tmp, month = self._enter("tmp"), self._enter("journal", *levels)
            opened.callback(os.close, tmp)
            opened.callback(os.close, month)
            return write_whole(file, pieces, self._modes[1], tmp=tmp, within=month)

    def _enter(self, *levels: str) -> int:
        return enter_levels(self._root, self._modes[0], *levels)

    def _open(self, name: str, flags: int = os.O_RDONLY) -> int:
        *levels, file = ("journal", *name.split("/"))
        with open_levels(self._root, levels) as opened:
            return open_regular(file, within=opened[-1], flags=flags)


class DiskFile:
    """A ``NewFile`` on a disk. It is given up after a disk error, and removed if nothing was appended."""

    def __init__(self, name: str, directory: int, mode: int, header: FileHeader) -> None:
        self.name = name
        self._directory = directory
        head = pack_header(header)
        self._file = GrowingFile(directory, name.rpartition("/")[2], mode, f"journal/{name}", lambda: head)
        self.length = 0

    @property
    def is_usable(self) -> bool:
        return self._file.is_usable

    def append(self, lines: Sequence[bytes]) -> int:
        member = pack_lines(lines)
        self.length = self._file.append(member) + len(member)
        return len(member)

    def close(self) -> None:
        self._file.close()
        os.close(self._directory)


def _names_in(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
