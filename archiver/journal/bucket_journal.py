"""A journal in a bucket: objects ``journal/YYYY/MM/*.jsonl.gz`` below its prefix.

An object is put whole, so every batch of lines is a file of its own, with a header. Entries are gathered for
longer than on a disk, so that a night makes few of them.

Nothing is deleted here: see ``StoredObject.is_absent``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from archiver.errors import JournalDamaged, StorageError
from archiver.journal.journal_line import FileHeader
from archiver.journal.journal_member import pack_header, pack_lines
from archiver.store.bucket_client import MOST_IN_MEMORY, Bucket, StoredObject


class BucketJournal:
    """The ``JournalStorage`` in a bucket. ``root``: the directory of the archive, for temporary files."""

    gather_seconds = 10.0

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket, self._root = bucket, root

    def names(self, since: str) -> list[str]:
        after = f"journal/{since}"[:-1] if since else ""  # the name itself is to be listed too
        found = (each.name.removeprefix("journal/") for each in self._list(after))
        return [name for name in found if name >= since]

    def _list(self, after: str = "") -> Iterator[StoredObject]:
        found = self._bucket.list("journal", after, is_own=_is_file, most=MOST_IN_MEMORY)
        return (each for each in found if not each.is_absent)

    def size(self, name: str) -> int | None:
        found = self._bucket.head(_object(name))
        return None if found is None or found.is_absent else found.size

    def open(self, name: str) -> BinaryIO:
        file = self._bucket.download(_object(name), self._root)
        if file is None:
            raise StorageError(f"{self._bucket.location(_object(name))} cannot be read: it does not exist")
        return file

    def cut(self, name: str, length: int) -> None:
        """Raise JournalDamaged: what was put whole and is incomplete was damaged by something else."""
        raise JournalDamaged(f"{self._bucket.location(_object(name))} is damaged after byte {length}")

    def sync(self, name: str) -> None:
        """Do nothing: an object that can be seen is durable."""

    def set_aside(self, now: datetime) -> None:
        """Copy all files to ``quarantine/``, and then empty them, the newest first.

        If it fails in between, what is left is a journal that lacks its end, and this can be repeated.
        """
        place = f"quarantine/journal-{now:%Y%m%dT%H%M%S.%fZ}"
        found = list(self._list())
        for each in found:
            self._bucket.copy(each.name, f"{place}/{each.name.removeprefix('journal/')}", each.size)
        for each in reversed(found):
            self._bucket.put(each.name, b"")

    def new_file(self, name: str, header: FileHeader) -> BucketFile:
        return BucketFile(self._bucket, name, header)

    def write_whole(self, name: str, pieces: Iterable[bytes]) -> int:
        return self._bucket.put_pieces(_object(name), pieces, self._root)


class BucketFile:
    """A ``NewFile`` in a bucket: the first ``append`` puts it whole; further lines begin another file."""

    def __init__(self, bucket: Bucket, name: str, header: FileHeader) -> None:
        self.name = name
        self.length = 0
        self._bucket = bucket
        self._head = pack_header(header)
        self._is_put = False

    @property
    def is_usable(self) -> bool:
        return not self._is_put

    def append(self, lines: Sequence[bytes]) -> int:
        if self._is_put:
            raise ValueError("an object cannot be appended to")
        self._is_put = True  # if it fails, the store may have it all the same
        member = pack_lines(lines)
        self._bucket.put(_object(self.name), self._head + member)
        self.length = len(self._head) + len(member)
        return len(member)

    def close(self) -> None:
        """Do nothing: what was appended is in the bucket."""


def _object(name: str) -> str:
    return f"journal/{name}"


def _is_file(name: str) -> bool:
    return name.endswith(".jsonl.gz")
