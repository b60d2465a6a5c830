"""The objects of an archive in a bucket, below a prefix.

Only ``delete`` deletes: what is set aside is copied, and then emptied, and an empty object is absent. See
``StoredObject.is_absent``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from archiver.store.bucket_client import Bucket
from archiver.store.objects import Begin, Content, Folder, ObjectMissing, is_file


class Objects:
    """The objects in a bucket. ``root``: the directory of the archive, for temporary files."""

    gather_seconds = 10.0

    def __init__(self, bucket: Bucket, root: Path) -> None:
        self._bucket, self._root = bucket, root

    def put(self, name: str, content: Content) -> None:
        if isinstance(content, bytes) or is_file(content):
            self._bucket.put(name, content)
        else:
            self._bucket.put_pieces(name, content, self._root)

    def read(self, name: str, start: int, length: int) -> bytes:
        content = self._bucket.read_range(name, start, length)
        if content is None:
            raise self._missing(name)
        return content

    def open_file(self, name: str) -> BinaryIO:
        """Download an object by one request, to a file that has no name."""
        file = self._bucket.download(name, self._root)
        if file is None:
            raise self._missing(name)
        return file

    def size(self, name: str) -> int | None:
        found = self._bucket.head(name)
        return None if found is None or found.is_absent else found.size

    def list(self, folder: Folder, after: str = "") -> Iterator[tuple[str, int | None]]:
        beginning = folder.path(after) if after else ""
        for found in self._bucket.list(folder.name, beginning, is_own=folder.holds):
            if not found.is_absent:
                yield found.name.removeprefix(f"{folder.name}/"), found.size

    def set_aside(self, folder: Folder, new_name: str) -> None:
        """Copy the program's own objects in a folder, and then empty them, the last one first.

        If it fails in between, what is left in the folder lacks its end.
        """
        listed = self._bucket.list(folder.name, is_own=folder.holds)
        found = [each for each in listed if not each.is_absent]
        for each in found:
            self._bucket.copy(each.name, new_name + each.name.removeprefix(folder.name), each.size)
        for each in reversed(found):
            self._bucket.put(each.name, b"")

    def cut(self, name: str, length: int) -> bool:
        return False

    def sync(self, name: str) -> None:
        """Do nothing: an object that can be seen is durable."""

    def delete(self, names: Sequence[str], check: Callable[[], None]) -> None:
        for name in names:
            check()
            self._bucket.delete(name)

    def location(self, name: str) -> str:
        return self._bucket.location(name)

    def appender(self, begin: Begin) -> Appender:
        return Appender(self, begin)

    def _missing(self, name: str) -> ObjectMissing:
        return ObjectMissing(f"{self.location(name)} cannot be read: it does not exist")


class Appender:
    """Puts whatever is appended as an object of its own, whole."""

    def __init__(self, objects: Objects, begin: Begin) -> None:
        self._objects, self._begin = objects, begin
        self._is_closed = False

    def prepare(self, series: str) -> None:
        """Do nothing: whether the store can be written, the probe of the marker has found out."""

    def append(self, records: bytes, series: str = "") -> tuple[str, int]:
        if self._is_closed:
            raise ValueError("the appender is closed")
        name, head = self._begin(series)
        self._objects.put(name, head + records)
        return name, len(head)

    def check(self) -> None:
        """Do nothing: records that cannot be stored have no place."""

    def names(self, series: str) -> tuple[str, ...]:
        return ()

    def remove(self, series: str) -> None:
        """Do nothing: nothing is removed from a bucket."""

    def close(self) -> None:
        """Refuse more records: those that were appended are in the bucket."""
        self._is_closed = True
