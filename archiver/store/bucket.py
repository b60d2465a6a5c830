"""The objects of an archive in a bucket, below a prefix.

Only ``delete`` deletes: what is set aside is copied, and then emptied, and an empty object is absent. See
``StoredObject.is_absent``. What cannot be put, or waits, is in the spool: files in ``tmp/`` of the archive's
directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from heapq import merge
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import BinaryIO

from archiver.durable import storage_errors
from archiver.errors import StorageError
from archiver.store import disk
from archiver.store.bucket_client import SINGLE_PUT, Bucket, StoredObject
from archiver.store.objects import (
    Begin,
    Content,
    Folder,
    FolderEntry,
    ObjectMissing,
    Upload,
    is_file,
    size_of,
)
from archiver.store.spool import Draft


class Objects:
    """The objects in a bucket. ``root``: the directory of the archive, for temporary files.

    ``spooled``: the folder whose objects may wait in the spool; None: there is no spool. ``part``: the part
    of ``tmp/`` with the spool; None: all of it. ``group_readable``: as on a disk, for the spool.
    """

    gather_seconds = 10.0
    is_remote = True

    def __init__(
        self,
        bucket: Bucket,
        root: Path,
        *,
        spooled: Folder | None = None,
        part: str | None = None,
        group_readable: bool = False,
    ) -> None:
        self._bucket, self._root, self._spooled = bucket, root, spooled
        place = ("tmp",) if part is None else ("tmp", part)
        self._spool = disk.Objects(root, group_readable=group_readable, spool=place)

    def make(self, folder: Folder, directories: Sequence[str]) -> None:
        """Do nothing: a bucket has no directories."""

    def hold(self, folder: Folder) -> None:
        """Do nothing: each request is of its own."""

    def prepare(self, directories: Sequence[str] = ()) -> None:
        """Prepare the spool. Whether the bucket can be written, the probe of the marker has found out."""
        self._spool.prepare()

    def draft(self) -> Draft:
        return self._spool.draft()

    def put_draft(self, name: str, draft: Draft, choose: Callable[[], Upload]) -> None:
        """Make sure that the bucket has these bytes under their name."""
        with draft, storage_errors(f"a file in {draft.directory} cannot be read"), draft.open() as file:
            choice = choose()
            if choice is Upload.IF_ABSENT and draft.size <= SINGLE_PUT:
                if self._bucket.put_if_absent(name, file.read()):
                    return
            elif choice is not Upload.ALWAYS and self._bucket.holds(name, file):
                return
            self._bucket.put(name, file)

    def put(self, name: str, content: Content, *, is_final: bool = False) -> None:
        if isinstance(content, bytes) or is_file(content):
            self._bucket.put(name, content)
        else:
            self._bucket.put_pieces(name, content, self._root)

    def put_new(self, name: str, content: bytes) -> bool:
        return self._bucket.put_if_absent(name, content)

    def find_nested(self, name: str) -> str | None:
        return self._bucket.find_nested(name)

    def holds(self, name: str, content: BinaryIO) -> bool:
        return self._bucket.holds(name, content)

    def read(self, name: str, start: int, length: int) -> bytes:
        if self._may_wait(name):
            with suppress(ObjectMissing):
                return self._spool.read(name, start, length)
        return self._bucket.read_range(name, start, length)

    def open(self, name: str) -> BinaryIO:
        """Open an object; see ``Bucket.open_object``. Its bytes are not checked."""
        return self._require_present(name, self._bucket.open_object(name))

    def open_range(self, name: str, start: int, length: int) -> BinaryIO:
        return self._bucket.open_range(name, start, length)

    def open_file(self, name: str) -> BinaryIO:
        """Download an object by one request, to a file that has no name."""
        if self._may_wait(name):
            with suppress(ObjectMissing):
                return self._spool.open_file(name)
        return self._require_present(name, self._bucket.download(name, self._root))

    def _require_present(self, name: str, file: BinaryIO) -> BinaryIO:
        if StoredObject(name, size_of(file), "").is_absent:
            file.close()
            raise ObjectMissing(
                f"{self.location(name)} cannot be read: it was moved to quarantine/", "run archiver verify"
            )
        return file

    def size(self, name: str) -> int | None:
        waiting = self._spool.size(name) if self._may_wait(name) else None
        if waiting is not None:
            return waiting
        found = self._bucket.head(name) or self._bucket.find_listed(name)
        return None if found is None or found.is_absent else found.size

    def list(self, folder: Folder, after: str = "") -> Iterator[FolderEntry]:
        stored = self._list_stored(folder, after)
        if folder != self._spooled:
            return stored
        merged = merge(stored, self._list_waiting(after), key=attrgetter("name"))
        return (next(same) for _, same in groupby(merged, key=attrgetter("name")))

    def _list_stored(self, folder: Folder, after: str) -> Iterator[FolderEntry]:
        beginning = folder.path(after) if after else ""
        for found in self._bucket.list(folder.name, beginning, is_own=folder.holds, most=folder.most):
            if not found.is_absent:
                yield FolderEntry(found.name.removeprefix(f"{folder.name}/"), found.size)

    def _list_waiting(self, after: str = "") -> Iterator[FolderEntry]:
        if self._spooled is None:
            return
        for each in self._spool.list(self._spooled, after):
            if self._spooled.names.fullmatch(each.name):
                yield each

    def set_aside(self, name: str, new_name: str) -> str:
        """Copy an object, and empty its name. After an error there may be a copy."""
        size = self.size(name)
        if size is None:
            raise StorageError(f"{self.location(name)} cannot be moved to quarantine/: it does not exist")
        self._bucket.copy(name, new_name, size)
        self._bucket.put(name, b"")
        return self.location(new_name)

    def set_aside_folder(self, folder: Folder, new_name: str) -> None:
        """Copy the program's own objects in a folder, and then empty them, the last one first.

        If it fails in between, what is left in the folder lacks its end.
        """
        listed = self._bucket.list(folder.name, is_own=folder.holds, most=folder.most)
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

    def appender(self, begin: Begin, waiting: Collection[str] = ()) -> Appender:
        return Appender(self, begin, waiting, None if self._spooled is None else self._spool)

    def empty_spool(self) -> None:
        """Put all objects of the spool into the bucket, and remove each once it is there."""
        for each in tuple(self._list_waiting()):
            assert self._spooled is not None
            name = self._spooled.path(each.name)
            with suppress(ObjectMissing):  # no file of this program
                with self._spool.open_file(name) as file:
                    if os.fstat(file.fileno()).st_size:  # else a killed run has only begun it
                        self._bucket.put(name, file)
                self._spool.delete([name], lambda: None)

    def close(self) -> None:
        self._spool.close()

    def _may_wait(self, name: str) -> bool:
        return self._spooled is not None and self._spooled.holds(name)


class Appender:
    """Puts whatever is appended as an object of its own, whole.

    If the store fails, the records go to the spool: these under the name of their object, since the store may
    have it all the same, and all later ones to a file that grows. So do the series that wait. Without a spool
    the error is raised.
    """

    def __init__(
        self, objects: Objects, begin: Begin, waiting: Collection[str], spool: disk.Objects | None
    ) -> None:
        self._objects, self._begin, self._waiting = objects, begin, frozenset(waiting)
        self._spool = spool
        self._later = None if spool is None else spool.appender(begin)
        self._failure: StorageError | None = None
        self._is_closed = False

    def prepare(self, series: str) -> None:
        self._objects.empty_spool()
        if self._later is not None and series in self._waiting:
            self._later.prepare(series)

    def append(self, records: bytes, series: str = "") -> tuple[str, int]:
        if self._is_closed:
            raise ValueError("the appender is closed")
        if self._later is not None and (self._failure is not None or series in self._waiting):
            return self._later.append(records, series)
        name, head = self._begin(series)
        try:
            self._objects.put(name, head + records)
        except StorageError as error:
            if self._spool is None:
                raise
            self._failure = error
            self._spool.put(name, head + records)
        return name, len(head)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def names(self, series: str) -> tuple[str, ...]:
        return () if self._later is None else self._later.names(series)

    def remove(self, series: str) -> None:
        if self._later is not None:
            self._later.remove(series)

    def close(self) -> None:
        self._is_closed = True
        if self._later is not None:
            self._later.close()
        self._objects.empty_spool()
