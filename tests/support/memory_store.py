"""A blob store in memory, for tests: it behaves like the disk store."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import BinaryIO, Self

from archiver.errors import StorageError
from archiver.model.identity import Digest
from archiver.store.spool import COPY_CHUNK


class MemoryStore:
    """A ``BlobStore`` in memory. ``quarantined`` holds the blobs moved to quarantine, by their new name."""

    def __init__(self) -> None:
        self._blobs: dict[Digest, bytes] = {}
        self.quarantined: dict[str, bytes] = {}

    def prepare(self) -> None:
        """Do nothing: memory needs no preparation."""

    def writer(self) -> MemoryWriter:
        return MemoryWriter(self._blobs)

    def has(self, digest: Digest) -> bool:
        return digest in self._blobs

    def size(self, digest: Digest) -> int | None:
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    def open(self, digest: Digest) -> BinaryIO:
        try:
            return io.BytesIO(self._blobs[digest])
        except KeyError:
            raise StorageError(f"the blob {digest} cannot be read: it does not exist") from None

    def open_range(self, digest: Digest, start: int, length: int) -> BinaryIO:
        file = self.open(digest)
        file.seek(start)
        return file

    def list_blobs(
        self, on_foreign: Callable[[str], None] | None = None
    ) -> Iterator[tuple[Digest, int | None]]:
        for digest in sorted(self._blobs):
            yield digest, len(self._blobs[digest])

    def location(self, digest: Digest) -> str:
        return f"blobs/{digest[:2]}/{digest}"

    def quarantine(self, digest: Digest) -> str:
        try:
            blob = self._blobs.pop(digest)
        except KeyError:
            raise StorageError(f"the blob {digest} cannot be moved aside: it does not exist") from None
        place = f"quarantine/{digest}-{len(self.quarantined)}"
        self.quarantined[place] = blob
        return place

    def close(self) -> None:
        """Do nothing: there is nothing to close."""


class MemoryWriter:
    """A ``BlobWriter`` in memory."""

    def __init__(self, blobs: dict[Digest, bytes]) -> None:
        self._blobs = blobs
        self._buffer = bytearray()
        self._closed = False

    def _bytes(self) -> bytearray:
        if self._closed:
            raise ValueError("the blob writer is closed")
        return self._buffer

    @property
    def size(self) -> int:
        return len(self._buffer)

    def digest(self) -> Digest:
        return Digest(hashlib.sha256(self._buffer).hexdigest())

    def write(self, chunk: bytes) -> None:
        self._bytes().extend(chunk)

    def copy(self, source: int) -> Iterator[bytes]:
        while chunk := os.read(source, COPY_CHUNK):
            self.write(chunk)
            yield chunk

    def restart(self) -> None:
        self._bytes().clear()

    def commit(self) -> tuple[Digest, int]:
        digest = self.digest()
        self._blobs[digest] = bytes(self._bytes())
        self._closed = True
        return digest, self.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
