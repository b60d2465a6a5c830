"""The objects of an archive in memory, for tests: they behave like those on a disk."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import BinaryIO

from archiver.blobs.store import BlobStore
from archiver.store.objects import Begin, Content, Folder, FolderEntry, ObjectMissing, Upload, pieces_of
from archiver.store.spool import Draft


class MemoryObjects:
    """``Objects`` in memory. ``stored``: their bytes by their names."""

    gather_seconds = 0.0
    is_remote = False

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self._tmp: int | None = None

    def make(self, folder: Folder, directories: Sequence[str]) -> None:
        """Do nothing: there are no directories."""

    def hold(self, folder: Folder) -> None:
        """Do nothing: there is nothing to open."""

    def prepare(self, directories: Sequence[str] = ()) -> None:
        """Do nothing: memory needs no preparation."""

    def draft(self) -> Draft:
        if self._tmp is None:
            self._tmp = os.open(tempfile.gettempdir(), os.O_RDONLY | os.O_DIRECTORY)
        return Draft(self._tmp, tempfile.gettempdir())

    def put_draft(self, name: str, draft: Draft, choose: Callable[[], Upload]) -> None:
        with draft, draft.open() as file:
            choose()
            self.stored[name] = file.read()

    def put(self, name: str, content: Content, *, is_final: bool = False) -> None:
        self.stored[name] = b"".join(pieces_of(content))

    def put_new(self, name: str, content: bytes) -> bool:
        return self.stored.setdefault(name, content) == content

    def find_nested(self, name: str) -> str | None:
        return None

    def holds(self, name: str, content: BinaryIO) -> bool:
        return self.stored.get(name) == b"".join(pieces_of(content))

    def read(self, name: str, start: int, length: int) -> bytes:
        return self._bytes(name)[start : start + length]

    def open(self, name: str) -> BinaryIO:
        return io.BytesIO(self._bytes(name))

    def open_range(self, name: str, start: int, length: int) -> BinaryIO:
        file = self.open(name)
        file.seek(start)
        return file

    def open_file(self, name: str) -> BinaryIO:
        return io.BytesIO(self._bytes(name))

    def size(self, name: str) -> int | None:
        return len(self.stored[name]) if name in self.stored else None

    def list(self, folder: Folder, after: str = "") -> Iterator[FolderEntry]:
        for path in sorted(self.stored):
            name = path.removeprefix(f"{folder.name}/")
            if name != path and name > after:
                yield FolderEntry(name, len(self.stored[path]))

    def set_aside(self, name: str, new_name: str) -> str:
        self.stored[new_name] = self._bytes(name)
        del self.stored[name]
        return new_name

    def set_aside_folder(self, folder: Folder, new_name: str) -> None:
        for path in [path for path in self.stored if path.startswith(f"{folder.name}/")]:
            self.stored[new_name + path.removeprefix(folder.name)] = self.stored.pop(path)

    def cut(self, name: str, length: int) -> bool:
        self.stored[name] = self._bytes(name)[:length]
        return True

    def sync(self, name: str) -> None:
        """Do nothing: memory is not durable."""

    def delete(self, names: Sequence[str], check: Callable[[], None]) -> None:
        for name in names:
            check()
            self.stored.pop(name, None)

    def location(self, name: str) -> str:
        return name

    def appender(self, begin: Begin, waiting: Collection[str] = ()) -> MemoryAppender:
        return MemoryAppender(self, begin)

    def empty_spool(self) -> None:
        """Do nothing: nothing waits."""

    def close(self) -> None:
        if self._tmp is not None:
            os.close(self._tmp)
        self._tmp = None

    def _bytes(self, name: str) -> bytes:
        if name not in self.stored:
            raise ObjectMissing(f"{name} cannot be read: it does not exist")
        return self.stored[name]


class MemoryStore(BlobStore):
    """Blobs in memory."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        super().__init__(self.objects)


class MemoryAppender:
    """An ``Appender`` in memory: each append is an object of its own."""

    def __init__(self, objects: MemoryObjects, begin: Begin) -> None:
        self._objects, self._begin = objects, begin
        self._names: dict[str, list[str]] = {}
        self._is_closed = False

    def prepare(self, series: str) -> None:
        """Do nothing: memory needs no preparation."""

    def append(self, records: bytes, series: str = "") -> tuple[str, int]:
        if self._is_closed:
            raise ValueError("the appender is closed")
        name, head = self._begin(series)
        self._objects.put(name, head + records)
        self._names.setdefault(series, []).append(name)
        return name, len(head)

    def check(self) -> None:
        """Do nothing: nothing fails."""

    def names(self, series: str) -> tuple[str, ...]:
        return tuple(self._names.get(series, ()))

    def remove(self, series: str) -> None:
        self._objects.delete(self._names.pop(series, []), lambda: None)

    def close(self) -> None:
        self._is_closed = True
