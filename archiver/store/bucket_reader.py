"""Reads an object of a bucket as a file: piece by piece, and from any position."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from archiver.errors import StorageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

    from archiver.store.bucket_client import Bucket


class ObjectReader(io.RawIOBase):
    """Reads an object piece by piece, and can be positioned: a new stream is asked for at the next read."""

    def __init__(
        self,
        bucket: Bucket,
        name: str,
        start: int,
        end: int,
        stream: Iterator[ReadableBuffer] | None,
        *,
        at_once: int | None = None,
    ) -> None:
        """``stream``: the bytes from ``start`` on. ``end``: the size, or where the part to be read ends.

        ``at_once``: how many bytes a request asks for, which then has a short time; None: all.
        """
        self._bucket, self._name, self._end, self._at_once = bucket, name, end, at_once
        self._stream = stream
        self._piece = memoryview(b"")
        self._piece_start = self._position = start

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._end}[whence]
        if base + offset < 0:
            raise ValueError("the position is negative")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer).cast("B")
        if self._position >= self._end or not target:
            return 0
        if self._position != self._piece_start:
            self._stream, self._piece = None, memoryview(b"")
        if not self._piece:
            self._piece = self._bucket.call(self._name, "read", self._next_piece)
        count = min(len(target), len(self._piece), self._end - self._position)
        target[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        self._position += count
        self._piece_start = self._position
        return count

    def read_ahead(self) -> Self:
        """Read the first piece now, so that an object that is missing or too short is noticed.

        Raises the errors of obstore, and StorageError.
        """
        self._piece = self._next_piece()
        return self

    def _next_piece(self) -> memoryview:
        piece = memoryview(b"" if self._stream is None else next(self._stream, b""))
        if not piece:
            end = self._end if self._at_once is None else min(self._end, self._position + self._at_once)
            in_time = self._at_once is not None
            self._stream = self._bucket.stream_from(self._name, self._position, end, in_time=in_time)
            piece = memoryview(next(self._stream, b""))
        if not piece:
            raise StorageError(
                f"{self._bucket.location(self._name)} cannot be read: it ends after {self._position} of "
                f"{self._end} bytes",
                "run archiver verify",
            )
        return piece

    def close(self) -> None:
        self._stream = None
        super().close()
