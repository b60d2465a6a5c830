"""What every store does: ``disk`` and ``bucket`` have a class ``Objects`` each, and one suite checks both.

Names are relative to the archive, with slashes: ``journal/2026/11/x``. An object is whole or absent. All
methods may be called from several threads. They raise StorageError, and DiskFull if the store is full.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum
from functools import partial
from typing import BinaryIO, NamedTuple, Protocol, TypeGuard

from msgspec import Struct

from archiver.errors import StorageError
from archiver.store.spool import Draft

MARKER = "archive.json"
"""The object that says which archive it is."""
PIECE = 1 << 20
"""Bytes of a file that are in memory at once."""

Content = bytes | BinaryIO | Iterable[bytes]
"""What an object is made of: bytes, a file that is read from its beginning, or pieces."""


class ObjectMissing(StorageError):
    """There is no object of this name, or something on the disk that is no regular file."""


MOST_NAMES = 100_000_000
"""Names of a listing: no archive has more."""
MOST_IN_MEMORY = 10_000_000
"""Names of a listing that is kept in memory: at most about 1 GB."""


class Folder(Struct, frozen=True):
    """A folder of an archive. ``names``: the form of the names in it that are the program's own.

    ``directories``: on a disk, the form of the directories in it, level by level. Any other directory is one
    foreign name, whatever is in it. ``most``: with more names than this, a listing of a bucket is an error.
    """

    name: str
    directories: tuple[re.Pattern[str], ...]
    names: re.Pattern[str]
    most: int = MOST_NAMES

    def path(self, name: str) -> str:
        """Return the name of an object in this folder."""
        return f"{self.name}/{name}"

    def holds(self, path: str) -> bool:
        """Return whether an object has one of the program's own names in this folder."""
        folder, _, name = path.partition("/")
        return folder == self.name and self.names.fullmatch(name) is not None


class FolderEntry(NamedTuple):
    """A name in a folder, and the size of the object in bytes if the listing states it.

    ``is_object``: False if there is something on the disk that is no regular file.
    """

    name: str
    size: int | None = None
    is_object: bool = True


class Upload(Enum):
    """When the bytes of a draft are sent to a bucket. On a disk they always replace what is there."""

    IF_ABSENT = "nothing of this name is known: one conditional request, unless it is large"
    IF_DIFFERENT = "it is known: unless the store states its size and checksum"
    ALWAYS = "the stored bytes are in doubt: they are known as lost, or this is a repair"


class Appender(Protocol):
    """Appends records durably to new objects, for several threads.

    ``series`` names what belongs together. On a disk that is one growing file; in a bucket each append is an
    object of its own.
    """

    def prepare(self, series: str) -> None:
        """Find out now whether records can be appended. Store what an earlier process left in the spool."""

    def append(self, records: bytes, series: str = "") -> tuple[str, int]:
        """Append whole records, and return the name of their object and their offset there.

        After an error on a disk, the next ones go to another file if this one cannot be continued.
        """

    def check(self) -> None:
        """Raise the StorageError that has kept records from their usual place, if there was one.

        Such records have a name and an offset, but nothing more can be stored there.
        """

    def names(self, series: str) -> tuple[str, ...]:
        """Return the names of the objects of a series that can be removed again: of one that waits, all."""

    def remove(self, series: str) -> None:
        """Remove these objects."""

    def close(self) -> None:
        """End the writing. An object without records leaves nothing behind, and nothing waits any longer.

        Nothing is lost if this fails or is skipped: all records were durable when they were appended.
        """


Begin = Callable[[str], tuple[str, bytes]]
"""Returns the name of the next object of a series, and its first bytes, which precede the first records."""


class Objects(Protocol):
    """The objects of an archive. Creating such a value reads and writes nothing."""

    gather_seconds: float
    """How long small records are worth gathering before they are appended."""
    is_remote: bool
    """Whether reading waits for a network."""

    def make(self, folder: Folder, directories: Sequence[str]) -> None:
        """Make, durably, what an archive needs on a disk, with missing parents; directories in a folder too.

        Whatever exists already is left unchanged, so that a killed creation can be repeated.
        """

    def hold(self, folder: Folder) -> None:
        """Keep a folder of a disk open until ``close``. Raises StorageError if there is none.

        Before ``prepare`` it is looked for again each time: another directory may be put in its place.
        """

    def prepare(self, directories: Sequence[str] = ()) -> None:
        """Prepare for drafts; the caller holds the archive's lock. Removes unfinished files of killed runs.

        ``directories``: those of the folder that is held. Raises StorageError if the store cannot be written,
        so that a run finds out before it pays for anything.
        """

    def draft(self) -> Draft:
        """Return a new, empty draft, for ``put_draft``."""

    def put_draft(self, name: str, draft: Draft, choose: Callable[[], Upload]) -> None:
        """Store a draft durably, in place of an object that may exist. Nobody may change it afterwards.

        On a disk its file is renamed. ``choose`` is only called for a bucket, in this thread. The draft is
        closed then, also after an error; ValueError if it was closed before.
        """

    def put(self, name: str, content: Content, *, is_final: bool = False) -> None:
        """Store an object durably, in place of one that may exist; or leave everything as it was.

        ``is_final``: nobody may change it afterwards, as with ``put_draft``.
        """

    def put_new(self, name: str, content: bytes) -> bool:
        """Store an object if there is none of this name, and return whether it holds these bytes now.

        In a bucket, False can also mean that the answer to the request was lost; and a store that does not
        know If-None-Match may replace what was put at the same moment.
        """

    def find_nested(self, name: str) -> str | None:
        """Return where above or below this place in a bucket an object has this name; None if it is not seen.

        A place above may be hidden from the access keys. Of what is below, the first 100,000 are looked at.
        """

    def holds(self, name: str, content: BinaryIO) -> bool:
        """Return whether exactly these bytes are stored under a name.

        In a bucket, size and checksum that the store states are enough. If it states none, that is False.
        """

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return bytes of an object, fewer than ``length`` if it ends before. Raises ObjectMissing."""

    def open(self, name: str) -> BinaryIO:
        """Open an object for reading; the caller closes it. Raises ObjectMissing.

        Reading raises OSError or StorageError. In a bucket, its bytes come as they are read.
        """

    def open_range(self, name: str, start: int, length: int) -> BinaryIO:
        """Open an object at ``start``, to read at most ``length`` bytes, at least one; the caller closes it.

        From a bucket only these bytes are asked for. Raises what ``open`` raises.
        """

    def open_file(self, name: str) -> BinaryIO:
        """Open a whole object as a file of the disk; the caller closes it. Raises ObjectMissing."""

    def size(self, name: str) -> int | None:
        """Return the size of an object; None if there is none."""

    def list(self, folder: Folder, after: str = "") -> Iterator[FolderEntry]:
        """Yield the names in a folder, relative to it and in ascending order, whatever they name.

        ``after``: only names greater than this one.
        """

    def set_aside(self, name: str, new_name: str) -> str:
        """Move an object to a new name, and return its location there. After an error it is as it was."""

    def set_aside_folder(self, folder: Folder, new_name: str) -> None:
        """Move everything in a folder to ``new_name/``. If it fails in between, it can be repeated."""

    def cut(self, name: str, length: int) -> bool:
        """Cut an object to ``length`` bytes, durably: what follows is incomplete.

        Return False in a bucket: what was put whole and is incomplete was damaged by something else.
        """

    def sync(self, name: str) -> None:
        """Make an object that another process wrote durable."""

    def delete(self, names: Sequence[str], check: Callable[[], None]) -> None:
        """Delete objects durably; those that are missing are no error. Only ``archiver forget`` does that.

        ``check`` is called in between, and may raise to stop.
        """

    def location(self, name: str) -> str:
        """Return where an object is, for people: a path, or an ``s3://`` name."""

    def appender(self, begin: Begin, waiting: Collection[str] = ()) -> Appender:
        """Return what appends records to new objects.

        ``waiting``: series that may be removed, and so are not put into a bucket before the appender is
        closed.
        """

    def empty_spool(self) -> None:
        """Put what waits in the spool of a bucket where it belongs."""

    def close(self) -> None:
        """Close what ``hold`` and ``prepare`` have opened."""


def is_file(content: Content) -> TypeGuard[BinaryIO]:
    """Return whether an object is to be made of a file."""
    return hasattr(content, "read")


def pieces_of(content: Content) -> Iterable[bytes]:
    """Return the bytes of an object that is to be stored, in pieces."""
    if isinstance(content, bytes):
        return (content,)
    if is_file(content):
        content.seek(0)
        return iter(partial(content.read, PIECE), b"")
    return content


def begins_with(whole: BinaryIO, beginning: BinaryIO) -> bool:
    """Return whether a file has the bytes of another one at its beginning. Both are read from their start."""
    whole.seek(0)
    beginning.seek(0)
    while piece := beginning.read(PIECE):
        if whole.read(len(piece)) != piece:
            return False
    return True


def size_of(content: BinaryIO) -> int:
    """Return the size of a file, and position it at its beginning."""
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    return size


def printable(name: str) -> str:
    """Return a name that may have bytes which are no UTF-8, for people."""
    return os.fsencode(name).decode(errors="backslashreplace")
