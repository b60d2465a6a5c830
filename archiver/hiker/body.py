"""The body of an answer, out of its content encoding, never larger than a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

ACCEPTED = "gzip"
"""What a request's ``accept-encoding`` offers: any other coding of an answer is refused."""

_GZIP_ONLY = 16 + zlib.MAX_WBITS


class BodyUnusable(Exception):
    """A body is too large, cut short inside its gzip stream, or in a coding that nobody asked for."""

    status: int | None = None  # of the answer, once the client has told it


def read(chunks: Iterable[bytes], coding: str, limit: int) -> bytes:
    """The bytes of a body after decoding; ``coding`` is its ``content-encoding``, '' if none was stated.

    httpx's own decoder is not used: it takes a truncated gzip stream for success, and inflates a whole chunk before anybody can
    look at its size. Here at most ``limit`` + 1 bytes are ever inflated. Raises BodyUnusable.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        parts = iter(chunks)
    elif coding in ("gzip", "x-gzip"):
        parts = _inflated(_capped(chunks, limit), limit)
    else:
        raise BodyUnusable("the answer is in a content encoding that was not asked for")
    return b"".join(_capped(parts, limit))


def _capped(parts: Iterable[bytes], limit: int) -> Iterator[bytes]:
    size = 0
    for part in parts:
        size += len(part)
        if size > limit:
            raise BodyUnusable(f"the answer is larger than {limit} bytes")
        yield part


def _inflated(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    member, size, begun = zlib.decompressobj(_GZIP_ONLY), 0, False
    try:
        for chunk in chunks:
            rest = chunk
            while rest and size <= limit:
                begun = True
                if member.eof:
                    member = zlib.decompressobj(_GZIP_ONLY)
                part = member.decompress(rest, limit + 1 - size)
                size += len(part)
                rest = member.unused_data or member.unconsumed_tail
                yield part
    except zlib.error:
        raise BodyUnusable("the answer's gzip stream is damaged") from None
    if begun and not member.eof:
        raise BodyUnusable("the answer's gzip stream ends too early")
