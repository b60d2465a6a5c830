"""The body of an answer, out of its content encoding: never larger than a limit, large ones one at a time."""

from __future__ import annotations

import ctypes
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from types import TracebackType
from typing import Self

from archiver.hiker.attempt import Attempt

ACCEPTED = "gzip"
"""What a request's ``accept-encoding`` offers: any other coding of an answer is refused."""

LARGE = 1024 * 1024
"""Bytes of a decoded body. An honest answer is smaller: the largest known, of 100 items, has some 200 kB."""

_M_MMAP_THRESHOLD = -3  # malloc.h
_PIECE = 64 * 1024
_GZIP_ONLY = 16 + zlib.MAX_WBITS


class BodyUnusable(Exception):
    """A body is too large, cut short inside its gzip stream, or in a coding that nobody asked for."""

    status: int | None = None  # of the answer, once the client has told it


class LargeBodySlot:
    """One call's room in memory for a body. ``with`` gives it back.

    Bodies up to ``LARGE`` have room at any time. A larger one waits until no other call holds one, and holds
    on until its share is given back: when the answer is stored and read. So the memory of a run does not grow
    with the number of its calls.
    """

    def __init__(self, one_large: threading.Lock) -> None:
        self._one_large = one_large
        self._is_large = False

    def grow(self, attempt: Attempt) -> None:
        """Take the room of a large body. The time spent waiting is not the attempt's. Raises Interrupted."""
        if not self._is_large:
            attempt.acquire(self._one_large)
            self._is_large = True
            _return_large_blocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_large:
            self._is_large = False
            self._one_large.release()


@cache
def _return_large_blocks() -> None:
    """Make glibc give blocks of more than 1 MiB back to the system when they are freed.

    By itself it learns from a large block that was freed to keep such blocks, for each thread its own: 12
    threads that hold one body after the other then hold 12.
    """
    with suppress(AttributeError, OSError):  # another C library, which has no such setting and needs none
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE)


def read_body(
    chunks: Iterable[bytes], coding: str, limit: int, *, before_large: Callable[[], None] = lambda: None
) -> bytes:
    """The bytes of a body after decoding; ``coding`` is its ``content-encoding``, '' if none was stated.

    httpx's own decoder is not used: it takes a truncated gzip stream for success, and inflates a whole chunk
    before anybody can look at its size. Here at most ``limit`` + 1 bytes are ever inflated. ``before_large``
    is called when more than ``LARGE`` bytes have come, before any more are read. Raises BodyUnusable.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        parts = iter(chunks)
    elif coding in ("gzip", "x-gzip"):
        parts = _inflated(_capped(chunks, limit), limit)
    else:
        raise BodyUnusable("the answer is in a content encoding that was not asked for")
    content = (
        bytearray()
    )  # one block that grows: parts of a large body, each a block, would stay with the thread
    for part in _capped(parts, limit, before_large):
        content += part
    return bytes(content)


def _capped(
    parts: Iterable[bytes], limit: int, before_large: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    size = 0
    for part in parts:
        if size <= LARGE < size + len(part):
            before_large()
        size += len(part)
        if size > limit:
            raise BodyUnusable(f"the answer is larger than {limit} bytes")
        yield part


def _inflated(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The content of gzip members, in pieces: what a few bytes inflate to may be larger than memory has room
    for."""
    member, size, begun = zlib.decompressobj(_GZIP_ONLY), 0, False
    try:
        for chunk in chunks:
            rest = chunk
            while rest and size <= limit:
                begun = True
                if member.eof:
                    member = zlib.decompressobj(_GZIP_ONLY)
                for part in _pieces(member, rest, limit + 1 - size):
                    size += len(part)
                    yield part
                rest = member.unused_data or member.unconsumed_tail
    except zlib.error:
        raise BodyUnusable("the answer's gzip stream is damaged") from None
    if begun and not member.eof:
        raise BodyUnusable("the answer's gzip stream ends too early")


def _pieces(member: zlib._Decompress, content: bytes, most: int) -> Iterator[bytes]:
    """All that these bytes of a gzip member inflate to, up to ``most`` bytes."""
    while most:
        size = min(_PIECE, most)
        part = member.decompress(content, size)
        yield part
        most -= len(part)
        content = member.unconsumed_tail
        if member.eof or len(part) < size:
            return
