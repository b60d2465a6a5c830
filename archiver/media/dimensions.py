"""Width and height in pixels as a header states them. Pure, bounded, and no decoder: a hostile header costs nothing.

Orientation (EXIF, ``irot``, the ``tkhd`` matrix) is not applied: these are the coded dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from archiver.media.sniff import AVIF, GIF, HEIC, JPEG, MP4, PNG, QUICKTIME, WEBP, MediaType

PREFIX = 1 << 18
"""Bytes of a picture's beginning that are enough: what precedes a JPEG's frame header is EXIF and colour profiles."""

MAX_SIDE = 1_000_000
"""Pixels: no picture has more, and what a header states beyond is not told on."""

_MAX_PARTS = 1000  # segments or boxes looked at before giving up
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

Size = tuple[int, int]


def dimensions(media: MediaType, prefix: bytes) -> Size | None:
    """(width, height), or None where ``prefix`` does not tell. Never raises, whatever the bytes.

    ``prefix``: the first bytes of a picture (``PREFIX`` of them are enough); of a video the payload of its ``moov`` box.
    """
    reader = _READERS.get(media)
    found = reader(prefix) if reader else None
    return found if found and min(found) > 0 and max(found) <= MAX_SIDE else None


def _big(data: bytes, at: int, length: int) -> int:
    """An unsigned big-endian number; past the end it is 0, which no dimension is."""
    return int.from_bytes(data[at : at + length], "big") if at + length <= len(data) else 0


def _little(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little") if at + length <= len(data) else 0


def _png(data: bytes) -> Size:
    return _big(data, 16, 4), _big(data, 20, 4)


def _gif(data: bytes) -> Size:
    return _little(data, 6, 2), _little(data, 8, 2)


def _jpeg(data: bytes) -> Size | None:
    """ISO 10918-1, B.2.2: the frame header of any of the SOF markers holds height, then width."""
    at = 2
    for _ in range(_MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            return None
        code = data[at + 1]
        if code in _SOF:
            return _big(data, at + 7, 2), _big(data, at + 5, 2)
        if code == 0xFF:
            at += 1
        elif code in (0x00, 0x01) or 0xD0 <= code <= 0xD8:
            at += 2
        elif code in (0xD9, 0xDA):
            return None
        else:
            at += 2 + max(2, _big(data, at + 2, 2))
    return None


def _webp(data: bytes) -> Size | None:
    """RFC 9649: the first chunk is lossy (2.5), lossless (2.6) or the extended header (2.7)."""
    name = data[12:16]
    if name == b"VP8X":
        return _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    if name == b"VP8L" and data[20:21] == b"\x2f":
        bits = _little(data, 21, 4)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if name == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        return _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    return None


def _heif(data: bytes) -> Size | None:
    """ISO 23008-12, 6.5.3: ``ispe``. The largest one is the picture: its tiles and its thumbnail are smaller."""
    sizes = (
        (_big(data, start + 4, 4), _big(data, start + 8, 4))
        for meta in _boxes(data, 0, len(data), b"meta")
        for properties in _boxes(data, meta[0] + 4, meta[1], b"iprp")
        for container in _boxes(data, *properties, b"ipco")
        for start, _ in _boxes(data, *container, b"ispe")
    )
    return _largest(sizes)


def _moov(data: bytes) -> Size | None:
    """ISO 14496-12, 8.3.2: ``tkhd`` ends with width and height, 16.16 fixed; those of a sound track are 0."""
    sizes = (
        (_big(data, end - 8, 2), _big(data, end - 4, 2))
        for track in _boxes(data, 0, len(data), b"trak")
        for start, end in _boxes(data, *track, b"tkhd")
        if end - start >= 84
    )
    return _largest(sizes)


def _largest(sizes: Iterator[Size]) -> Size | None:
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _boxes(data: bytes, start: int, end: int, wanted: bytes) -> Iterator[tuple[int, int]]:
    """Payloads (start, end) of the boxes of that name within ``data[start:end]``, none of them reaching past ``end``."""
    at = start
    for _ in range(_MAX_PARTS):
        if at + 8 > end:
            return
        size, payload = _big(data, at, 4), at + 8
        if size == 1:
            size, payload = _big(data, at + 8, 8), at + 16
        elif size == 0:
            size = end - at
        if size < payload - at or at + size > end:
            return
        if data[at + 4 : at + 8] == wanted:
            yield payload, at + size
        at += size


_READERS: dict[MediaType, Callable[[bytes], Size | None]] = {
    JPEG: _jpeg,
    PNG: _png,
    GIF: _gif,
    WEBP: _webp,
    HEIC: _heif,
    AVIF: _heif,
    MP4: _moov,
    QUICKTIME: _moov,
}
