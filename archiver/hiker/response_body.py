"""Decode the body of an answer: within a size limit, and only one large body at a time."""

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

ACCEPTED_CODING = "gzip"
"""What the requests' ``accept-encoding`` offers. An answer in any other coding is refused."""

LARGE_SIZE = 256 * 1024
"""Bytes of a decoded body.

Genuine answers are smaller: the largest known one, of 100 items, has about 200 kB. Parsed, a hostile body
takes 24 times its size.
"""

_M_MMAP_THRESHOLD = -3  # from malloc.h
_PIECE = 64 * 1024
_GZIP_ONLY = 16 + zlib.MAX_WBITS


class BodyUnusable(Exception):
    """A body is too large, cut short inside its gzip stream, or in a coding that was not requested."""

    status: int | None = None  # of the answer; the client sets it


class LargeBodySlot:
    """Permission for one call to hold a large body. Leave it (``with``) once the answer is stored and parsed.

    Bodies up to ``LARGE_SIZE`` need no permission. A larger one waits until no other call holds one, so that
    the memory of a run does not grow with the number of calls.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._is_held = False

    def acquire(self, attempt: Attempt) -> None:
        """Wait for the permission. The wait does not count against the deadline. Raises Interrupted."""
        if not self._is_held:
            attempt.acquire(self._lock)
            self._is_held = True
            _return_large_blocks()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_held:
            self._is_held = False
            self._lock.release()


@cache
def _return_large_blocks() -> None:
    """Make glibc return blocks of more than 256 KiB to the system when they are freed.

    By default, once a large block was freed, glibc keeps such blocks for each thread: 16 threads that hold
    one body after the other then keep 16.
    """
    with suppress(AttributeError, OSError):  # another C library, which has no such setting and needs none
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_SIZE)


def read_body(
    chunks: Iterable[bytes], coding: str, limit: int, *, before_large: Callable[[], None] = lambda: None
) -> bytes:
    """Return the decoded bytes of a body. ``coding``: its ``content-encoding``, '' if none was stated.

    httpx's decoder is not used: it accepts a truncated gzip stream, and inflates a whole chunk before its
    size can be checked. Here at most ``limit`` + 1 bytes are inflated. ``before_large`` is called when more
    than ``LARGE_SIZE`` bytes have come, before any more are read. Raises BodyUnusable.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        parts = iter(chunks)
    elif coding in ("gzip", "x-gzip"):
        parts = _inflate(_limit_size(chunks, limit), limit)
    else:
        raise BodyUnusable("the answer is in a content encoding that was not requested")
    content = bytearray()  # one block that grows: glibc would keep the parts of a large body for the thread
    for part in _limit_size(parts, limit, before_large):
        content += part
    return bytes(content)


def _limit_size(
    parts: Iterable[bytes], limit: int, before_large: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    size = 0
    for part in parts:
        if size <= LARGE_SIZE < size + len(part):
            before_large()
        size += len(part)
        if size > limit:
            raise BodyUnusable(f"the answer is larger than {limit} bytes")
        yield part


def _inflate(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """Yield the content of gzip members in pieces: a few bytes may inflate to more than memory can hold."""
    member, size, has_begun = zlib.decompressobj(_GZIP_ONLY), 0, False
    try:
        for chunk in chunks:
            rest = chunk
            while rest and size <= limit:
                has_begun = True
                if member.eof:
                    member = zlib.decompressobj(_GZIP_ONLY)
                for part in _pieces(member, rest, limit + 1 - size):
                    size += len(part)
                    yield part
                rest = member.unused_data or member.unconsumed_tail
    except zlib.error:
        raise BodyUnusable("the answer's gzip stream is damaged") from None
    if has_begun and not member.eof:
        raise BodyUnusable("the answer's gzip stream ends too early")


def _pieces(member: zlib._Decompress, content: bytes, limit: int) -> Iterator[bytes]:
    """Yield what these bytes of a gzip member inflate to, up to ``limit`` bytes."""
    while limit:
        size = min(_PIECE, limit)
        part = member.decompress(content, size)
        yield part
        limit -= len(part)
        content = member.unconsumed_tail
        if member.eof or len(part) < size:
            return
