"""Whether a file has come whole, by its own structure, while it streams past: nothing of it is held. Pure.

Each format is one generator that says what it wants of the stream next; ``Structure`` serves it across chunk borders. A format
never judges the picture itself, only where the file says that it ends.

The rule that ``intake`` builds on this (faults C6 to C10):

========  =======================  ============================================
extent    the file                 is accepted
========  =======================  ============================================
WHOLE     ends where it says       always
TAIL      goes on after its end    always: what a reader needs is there
OPEN      says "to the end"        if the length or a checksum vouches
CUT       ends too early           only if a checksum vouches
========  =======================  ============================================

So a ``Content-Length`` that is too small and a server that closes exactly there are found, though HTTP calls both complete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from enum import StrEnum

from archiver.media.sniff import AVIF, GIF, HEIC, JPEG, MP4, PNG, QUICKTIME, WEBP, MediaType

MOOV_LIMIT = 1 << 20
"""Bytes of an MP4's ``moov`` box that are kept for its dimensions; that of a story is under 100 kB."""


class Extent(StrEnum):
    """What the structure says of where the bytes end."""

    WHOLE = "whole"
    TAIL = "tail"
    OPEN = "open"
    CUT = "cut"


class _Wish(StrEnum):
    TAKE = "take"  # so many bytes, handed over
    SKIP = "skip"  # so many bytes, unseen
    MARKER = "marker"  # up to the next JPEG marker; its code is handed over
    BORDER = "border"  # like TAKE, but the file may end before it
    REST = "rest"  # whatever comes until the end is the file's
    TAIL = "tail"  # what came last, and whatever comes, is none of the file's
    NEVER = "never"  # what the file still lacks cannot come any more


_FINAL = frozenset({_Wish.REST, _Wish.TAIL, _Wish.NEVER})

_Walk = Generator[tuple[_Wish, int], bytes, None]

# Within JPEG scans FF00 is a stuffed FF and FFD0 to FFD7 restart the decoder; FFFF is padding before a marker.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)
_JPEG_BARE = frozenset({b"\x01", b"\xd8"})
_JPEG_END = b"\xd9"


class Structure:
    """The structure of one file of a known type, fed in order from its first byte."""

    def __init__(self, media: MediaType) -> None:
        self._moov = bytearray()
        self._walk = _walk(media, self._moov)
        self._wish, self._amount = next(self._walk)
        self._held = b""  # fewer bytes than the walk wants now
        self._ended = self._tail = False

    @property
    def moov(self) -> bytes:
        """The payload of the ``moov`` box as far as it has come, at most ``MOOV_LIMIT`` bytes; b'' for other types."""
        return bytes(self._moov)

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file, in chunks of any size. Never raises."""
        if self._wish is _Wish.SKIP and self._amount > len(chunk):  # nearly every chunk of a video
            self._amount -= len(chunk)
            return
        at, window = 0, self._held + chunk if self._held else chunk
        self._held = b""
        while at < len(window):
            if self._ended:
                self._tail = True
                return
            used = self._serve(window, at)
            if used is None:
                self._held = window[at:]
                return
            at = used

    def extent(self) -> Extent:
        """Where the file ends, judged as if no more bytes came."""
        if self._ended:
            return Extent.TAIL if self._tail else Extent.WHOLE
        if self._wish is _Wish.REST:
            return Extent.OPEN
        if self._wish is _Wish.TAIL:
            return Extent.TAIL
        if self._wish is _Wish.BORDER:
            return Extent.TAIL if self._held else Extent.WHOLE
        return Extent.CUT

    def _serve(self, window: bytes, at: int) -> int | None:
        """Serve the current wish from ``window[at:]``; returns where the next one begins, or None to wait for more bytes."""
        left = len(window) - at
        if self._wish in _FINAL:
            return len(window)
        if self._wish is _Wish.SKIP:
            used = min(left, self._amount)
            self._amount -= used
            if self._amount == 0:
                self._go_on(b"")
            return at + used
        if self._wish is _Wish.MARKER:
            found = _JPEG_MARKER.search(window, at)
            if found is None:
                return (
                    None if window.endswith(b"\xff") and left == 1 else len(window) - window.endswith(b"\xff")
                )
            self._go_on(found[1])
            return found.end()
        if left < self._amount:
            return None
        end = at + self._amount
        self._go_on(window[at:end])
        return end

    def _go_on(self, answer: bytes) -> None:
        try:
            self._wish, self._amount = self._walk.send(answer)
            while self._wish is _Wish.SKIP and self._amount == 0:
                self._wish, self._amount = self._walk.send(b"")
        except StopIteration:
            self._ended = True


def _walk(media: MediaType, moov: bytearray) -> _Walk:
    if media in (MP4, QUICKTIME):
        return _boxes(moov, needed={b"moov", b"mdat"})
    if media in (HEIC, AVIF):
        return _boxes(moov, needed={b"meta", b"mdat"})
    return _WALKS[media]()


def _jpeg() -> _Walk:
    """ISO 10918-1, B.1: segments with their length up to SOS, coded data up to the next marker, until EOI."""
    while True:
        code = yield _Wish.MARKER, 0
        if code == _JPEG_END:
            return
        if code not in _JPEG_BARE:
            length = int.from_bytes((yield _Wish.TAKE, 2), "big")
            yield _Wish.SKIP, max(0, length - 2)


def _png() -> _Walk:
    """ISO 15948, 5.3: chunks of length, name, payload and CRC, until IEND."""
    yield _Wish.SKIP, 8
    while True:
        head = yield _Wish.TAKE, 8
        yield _Wish.SKIP, int.from_bytes(head[:4], "big") + 4
        if head[4:] == b"IEND":
            return


def _webp() -> _Walk:
    """RIFF: the size of everything after its first 8 bytes."""
    head = yield _Wish.TAKE, 12
    yield _Wish.SKIP, max(0, int.from_bytes(head[4:8], "little") - 4)


def _gif() -> _Walk:
    """GIF89a, appendix B: blocks of sub-blocks until the trailer."""
    head = yield _Wish.TAKE, 13
    yield _Wish.SKIP, _palette(head[10])
    while True:
        introducer = yield _Wish.TAKE, 1
        if introducer == b"\x3b":
            return
        if introducer == b"\x2c":
            image = yield _Wish.TAKE, 9
            yield _Wish.SKIP, _palette(image[8]) + 1
        else:
            yield _Wish.SKIP, 1
        while (length := (yield _Wish.TAKE, 1)[0]) > 0:
            yield _Wish.SKIP, length


def _palette(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _boxes(moov: bytearray, needed: set[bytes]) -> _Walk:
    """ISO 14496-12, 4.2: top-level boxes that end exactly at the end of the file; size 1 is a 64-bit size, 0 "to the end".

    Once all that is needed has been there, what is no box is a tail.
    """
    missing = set(needed)
    while True:
        head = yield (_Wish.TAKE if missing else _Wish.BORDER), 8
        size, name, read = int.from_bytes(head[:4], "big"), head[4:], 8
        if size == 1:
            size, read = int.from_bytes((yield _Wish.TAKE, 8), "big"), 16
        missing.discard(name)
        if size == 0:
            yield _Wish.REST, 0
        if size < read:  # no box
            yield (_Wish.NEVER if missing else _Wish.TAIL), 0
        payload = size - read
        if name == b"moov" and not moov and 0 < payload <= MOOV_LIMIT:
            moov += yield _Wish.TAKE, payload
        else:
            yield _Wish.SKIP, payload


_WALKS: dict[MediaType, Callable[[], _Walk]] = {JPEG: _jpeg, PNG: _png, WEBP: _webp, GIF: _gif}
