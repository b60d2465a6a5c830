"""The interface of the places where the files of a journal are: ``disk_journal`` and ``bucket_journal``.

Names are below ``journal/``. Every method that reads or writes raises StorageError, and DiskFull if the place
is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import BinaryIO, Protocol

from archiver.journal.journal_line import FileHeader


class NewFile(Protocol):
    """A file of the journal that this process writes. ``length``: its bytes after the last ``append``."""

    name: str
    length: int

    @property
    def is_usable(self) -> bool:
        """Whether lines can be appended; if not, the next ones begin a new file."""

    def append(self, lines: Sequence[bytes]) -> int:
        """Append lines durably, as one gzip member; return its size. Raises DiskFull or StorageError."""

    def close(self) -> None:
        """Close the file. One without lines leaves nothing behind."""


class JournalStorage(Protocol):
    """Where the files of a journal are. Creating such an object reads and writes nothing."""

    gather_seconds: float
    """How long entries are gathered before they are written."""

    def names(self, since: str) -> list[str]:
        """Return the names of all files that are ``since`` or greater, in any order."""

    def size(self, name: str) -> int | None:
        """Return the size of a file; None if it is missing."""

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading; it can be positioned, which costs little. The caller closes it."""

    def cut(self, name: str, length: int) -> None:
        """Cut a file to ``length`` bytes, durably: what follows is incomplete."""

    def sync(self, name: str) -> None:
        """Make a file that another process wrote durable, and its name."""

    def set_aside(self, now: datetime) -> None:
        """Move the whole journal to ``quarantine/``. ``now`` becomes part of its name there."""

    def new_file(self, name: str, header: FileHeader) -> NewFile:
        """Begin a file."""

    def write_whole(self, name: str, pieces: Iterable[bytes]) -> int:
        """Write a file that gets its name only once it is whole and durable; return its length."""
