"""MP4 and QuickTime videos, HEIC and AVIF pictures: all of them are boxes of ISO 14496-12."""

from __future__ import annotations

from collections.abc import Generator

from archiver.media.formats.media_format import (
    HEAD_SIZE,
    Completeness,
    MediaFormat,
    MediaKind,
    ParseStep,
    Report,
    Steps,
)

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_ANY_PICTURE = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})  # brands of pictures in any coding
_MP4_BRANDS = frozenset(
    {b"isom", b"avc1", b"dash", b"mmp4", b"MSNV", b"M4V ", b"M4VH", b"M4VP", b"f4v ", b"cmfc"}
)
_MP4_FAMILIES = (b"iso", b"mp4")  # iso2 to iso9, mp41, mp42, mp4v

_MAX_CHILDREN = 1000  # boxes read in one container

_Path = tuple[bytes, ...]
_Part = Generator[tuple[ParseStep, int], bytes, None]


def detect(head: bytes) -> MediaFormat | None:
    """Return the format that the brands of a file name (4.3); None for sound and for unknown brands.

    The major brand decides. If it only says "picture", the first compatible brand that says more decides.
    """
    size = int.from_bytes(head[:4], "big")
    if head[4:8] != b"ftyp" or size < 16:
        return None
    major = head[8:12]
    if major not in _ANY_PICTURE:
        return _format_of(major)
    end = min(size, len(head), HEAD_SIZE)
    compatible = (_format_of(head[start : start + 4]) for start in range(16, end - 3, 4))
    return next((media for media in compatible if media in (HEIC, AVIF)), None)


def _format_of(brand: bytes) -> MediaFormat | None:
    if brand in _HEIC_BRANDS:
        return HEIC
    if brand in _AVIF_BRANDS:
        return AVIF
    if brand in _MP4_BRANDS or brand[:3] in _MP4_FAMILIES:
        return MP4
    return QUICKTIME if brand == b"qt  " else None


def _video_steps(report: Report) -> Steps:
    return _steps({b"moov", b"mdat"}, (b"moov", b"trak", b"tkhd"), report)


def _picture_steps(report: Report) -> Steps:
    return _steps({b"meta", b"mdat"}, (b"meta", b"iprp", b"ipco", b"ispe"), report)


def _steps(missing: set[bytes], path: _Path, report: Report) -> Steps:
    """Follow the top-level boxes, which end exactly at the end of the file (4.2).

    ``missing``: the boxes that a file needs. Once it has them, bytes that are not a box are a tail. ``path``:
    the names of the boxes, from the outside in, that lead to the dimensions.
    """
    while True:
        name, size, header_size = yield from _header(ParseStep.TAKE if missing else ParseStep.TAKE_OR_END)
        missing.discard(name)
        if size == 0:
            return Completeness.OPEN
        if size < header_size:  # not a box
            return Completeness.CUT if missing else Completeness.TAIL
        yield from _content(name, size - header_size, path, report)


def _header(step: ParseStep) -> Generator[tuple[ParseStep, int], bytes, tuple[bytes, int, int]]:
    """Read the header of a box: its name, its size with the header, and the size of the header.

    A stated size of 1 means that 64 bits of size follow, and a size of 0 that the box reaches to the end.
    """
    head = yield step, 8
    size, name = int.from_bytes(head[:4], "big"), head[4:]
    if size != 1:
        return name, size, 8
    return name, int.from_bytes((yield ParseStep.TAKE, 8), "big"), 16


def _content(name: bytes, length: int, path: _Path, report: Report) -> _Part:
    """Follow ``length`` bytes of content of a box; go inside if the box is the next one of ``path``."""
    if name != path[0]:
        yield ParseStep.SKIP, length
    elif len(path) > 1:
        yield from _children(length, path[1:], report, skipped=4 if name == b"meta" else 0)
    elif name == b"tkhd" and length >= 84:
        # 8.3.2: it ends with width and height as 16.16 numbers; those of a sound track are 0.
        yield ParseStep.SKIP, length - 8
        size = yield ParseStep.TAKE, 8
        report(int.from_bytes(size[:2], "big"), int.from_bytes(size[4:6], "big"))
    elif name == b"ispe" and length >= 12:
        # ISO 23008-12, 6.5.3. The picture has the largest one: its tiles and its thumbnail are smaller.
        size = yield ParseStep.TAKE, 12
        report(int.from_bytes(size[4:8], "big"), int.from_bytes(size[8:], "big"))
        yield ParseStep.SKIP, length - 12
    else:
        yield ParseStep.SKIP, length


def _children(length: int, path: _Path, report: Report, *, skipped: int) -> _Part:
    """Follow the boxes of a container of ``length`` bytes, after ``skipped`` bytes; never go beyond it."""
    left = max(0, length - skipped)
    yield ParseStep.SKIP, length - left
    for _ in range(_MAX_CHILDREN):
        if left < 16:  # too short for a box with dimensions in it
            break
        name, size, header_size = yield from _header(ParseStep.TAKE)
        left -= header_size
        content = size - header_size if size else left
        if not 0 <= content <= left:
            break
        yield from _content(name, content, path, report)
        left -= content
    yield ParseStep.SKIP, left


HEIC = MediaFormat("image/heic", MediaKind.PICTURE, _picture_steps)
AVIF = MediaFormat("image/avif", MediaKind.PICTURE, _picture_steps)
MP4 = MediaFormat("video/mp4", MediaKind.VIDEO, _video_steps)
QUICKTIME = MediaFormat("video/quicktime", MediaKind.VIDEO, _video_steps)
