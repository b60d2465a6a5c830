"""The accepted media formats: each is detected, its structure followed and its dimensions read.

This is an allowlist: SVG, HTML, scripts, archives and programs are not in it and are never stored. A format
describes its structure as a generator of steps, such as "take 8 bytes" or "skip 1000 bytes". ``StreamParser``
carries them out while the file streams past, whatever the sizes of the chunks. It holds a few bytes at most,
decodes nothing and never raises. It does not judge the picture, only where the file says that it ends:

============  =============================  ==========================================
completeness  the file                       is accepted
============  =============================  ==========================================
WHOLE         ends where it says             always
TAIL          continues after its end        always: a reader finds all that it needs
OPEN          says "to the end of the file"  if its length or a checksum confirms it
CUT           ends too early                 only if a checksum confirms it
============  =============================  ==========================================

This detects a ``Content-Length`` that is too small, which HTTP treats as a complete answer (faults C6 to
C10). Pictures that are no boxes are JPEG (ISO 10918-1), PNG (ISO 15948), GIF89a and WebP (RFC 9649). MP4 and
QuickTime videos, HEIC and AVIF pictures are boxes of ISO 14496-12. The numbers of sections in each function
are those of its format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from enum import Enum, StrEnum, auto

from msgspec import Struct

HEAD_SIZE = 64
"""Bytes at the start of a file that detection looks at."""

MAX_SIDE = 1_000_000
"""Pixels. No picture is wider or taller; larger numbers in a header are not recorded."""


class MediaKind(StrEnum):
    """What a file shows. Its role requires one of them."""

    PICTURE = "picture"
    VIDEO = "video"


class Completeness(StrEnum):
    """Whether a file is complete by its own structure. The table above says what follows from it."""

    WHOLE = "whole"
    TAIL = "tail"
    OPEN = "open"
    CUT = "cut"


class ParseStep(Enum):
    """What the structure of a format needs next."""

    TAKE = auto()  # a number of bytes, which are passed to the generator
    TAKE_OR_END = auto()  # the same, but the file may also end here
    SKIP = auto()  # a number of bytes that are ignored
    MARKER = auto()  # everything up to the next JPEG marker, whose code is passed to the generator


Report = Callable[[int, int], None]
"""Called with a width and a height in pixels that the file states."""

Steps = Generator[tuple[ParseStep, int], bytes, Completeness]
"""Steps of one file, each with its number of bytes. Returns how complete the file is if it ends here.

If it returns WHOLE, any further byte is a tail.
"""


class MediaFormat(Struct, frozen=True):
    """An accepted format: its IANA name, the extension of its files, what it shows, and the steps that follow
    the structure of a file.
    """

    mime: str
    extension: str
    kind: MediaKind
    steps: Callable[[Report], Steps]


# In coded data, FF00 is a byte FF, and FFD0 to FFD7 restart the decoder; FFFF is padding before a marker.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)


class StreamParser:
    """Follows the structure of one file of a known format, from its first byte.

    ``dimensions``: width and height in pixels, or None while no header has stated them. They are those of the
    coded picture: a rotation by EXIF, ``irot`` or the matrix of ``tkhd`` is not applied. If several are
    stated, as for tiles and thumbnails, the largest are kept.
    """

    def __init__(self, media: MediaFormat) -> None:
        self.dimensions: tuple[int, int] | None = None
        self._steps = media.steps(self._measure)
        self._held = b""  # bytes that are not yet enough for the step
        self._end: Completeness | None = None
        self._step, self._amount = next(self._steps)

    def feed(self, chunk: bytes) -> None:
        """Follow the next bytes of the file, in a chunk of any size."""
        if self._step is ParseStep.SKIP and self._amount > len(chunk):  # nearly every chunk of a video
            self._amount -= len(chunk)
            return
        window, position = self._held + chunk, 0
        self._held = b""
        while position < len(window):
            if self._end is not None:
                self._end = Completeness.TAIL if self._end is Completeness.WHOLE else self._end
                return
            position = self._perform_step(window, position)

    def completeness(self) -> Completeness:
        """Return how complete the file is if no more bytes come."""
        if self._end is not None:
            return self._end
        if self._step is ParseStep.TAKE_OR_END:
            return Completeness.TAIL if self._held else Completeness.WHOLE
        return Completeness.CUT

    def _perform_step(self, window: bytes, start: int) -> int:
        """Perform the current step on ``window[start:]`` and return where the next one starts."""
        end = start + self._amount
        if self._step is ParseStep.MARKER:
            found = _JPEG_MARKER.search(window, start)
            if found is not None:
                self._next_step(found[1])
                return found.end()
            self._held = b"\xff" if window.endswith(b"\xff") else b""
        elif end <= len(window):
            self._next_step(b"" if self._step is ParseStep.SKIP else window[start:end])
            return end
        elif self._step is ParseStep.SKIP:
            self._amount = end - len(window)
        else:
            self._held = window[start:]
        return len(window)

    def _next_step(self, taken: bytes) -> None:
        try:
            self._step, self._amount = self._steps.send(taken)
            while self._amount == 0 and self._step in (ParseStep.SKIP, ParseStep.TAKE):
                self._step, self._amount = self._steps.send(b"")
        except StopIteration as end:
            self._end, self._amount = end.value, 0

    def _measure(self, width: int, height: int) -> None:
        area = self.dimensions[0] * self.dimensions[1] if self.dimensions is not None else 0
        if 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height > area:
            self.dimensions = (width, height)


_JPEG_END = b"\xd9"
_JPEG_WITHOUT_LENGTH = frozenset({b"\x01", b"\xd8"})
_JPEG_FRAME_HEADERS = frozenset(bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHECKSUM_SIZE = 4
_GIF_TRAILER = b"\x3b"
_GIF_IMAGE = b"\x2c"
_WEBP_SIZE_HEADER = 18  # bytes of the first chunk in which any of its three kinds states the dimensions


def detect_jpeg(head: bytes) -> MediaFormat | None:
    """Return JPEG if the file starts like one."""
    return JPEG if head.startswith(b"\xff\xd8\xff") else None


def _jpeg_steps(report: Report) -> Steps:
    """Follow the markers (B.1) to the end of the image. The first frame header has the dimensions (B.2.2)."""
    frame_headers = _JPEG_FRAME_HEADERS
    while (code := (yield ParseStep.MARKER, 0)) != _JPEG_END:
        if code in _JPEG_WITHOUT_LENGTH:
            continue
        left = int.from_bytes((yield ParseStep.TAKE, 2), "big") - 2
        if code in frame_headers and left >= 5:
            frame = yield ParseStep.TAKE, 5
            report(int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))
            left -= 5
            frame_headers = frozenset()
        yield ParseStep.SKIP, max(0, left)
    return Completeness.WHOLE


JPEG = MediaFormat("image/jpeg", "jpg", MediaKind.PICTURE, _jpeg_steps)


def detect_png(head: bytes) -> MediaFormat | None:
    """Return PNG if the file starts like one."""
    return PNG if head.startswith(_PNG_SIGNATURE) else None


def _png_steps(report: Report) -> Steps:
    """Follow the chunks of 5.3 (length, name, payload, checksum) to IEND. IHDR has the dimensions."""
    yield ParseStep.SKIP, len(_PNG_SIGNATURE)
    while True:
        head = yield ParseStep.TAKE, 8
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name == b"IHDR" and length >= 8:
            size = yield ParseStep.TAKE, 8
            report(int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big"))
            length -= 8
        yield ParseStep.SKIP, length + _PNG_CHECKSUM_SIZE
        if name == b"IEND":
            return Completeness.WHOLE


PNG = MediaFormat("image/png", "png", MediaKind.PICTURE, _png_steps)


def detect_gif(head: bytes) -> MediaFormat | None:
    """Return GIF if the file starts like one."""
    return GIF if head.startswith((b"GIF87a", b"GIF89a")) else None


def _gif_steps(report: Report) -> Steps:
    """Follow the blocks of appendix B to the trailer. The screen descriptor has the dimensions."""
    head = yield ParseStep.TAKE, 13
    report(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    yield ParseStep.SKIP, _palette_size(head[10])
    while (introducer := (yield ParseStep.TAKE, 1)) != _GIF_TRAILER:
        if introducer == _GIF_IMAGE:
            image = yield ParseStep.TAKE, 9
            yield ParseStep.SKIP, _palette_size(image[8])
        yield ParseStep.SKIP, 1  # the code size of an image, or the label of an extension
        while (length := (yield ParseStep.TAKE, 1)[0]) > 0:
            yield ParseStep.SKIP, length
    return Completeness.WHOLE


def _palette_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


GIF = MediaFormat("image/gif", "gif", MediaKind.PICTURE, _gif_steps)


def detect_webp(head: bytes) -> MediaFormat | None:
    """Return WebP if the file starts like one."""
    return WEBP if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _webp_steps(report: Report) -> Steps:
    """Follow the file to its end. The RIFF header states the size of all but its first 8 bytes."""
    head = yield ParseStep.TAKE, 12
    left = max(0, int.from_bytes(head[4:8], "little") - 4)
    first = yield ParseStep.TAKE, min(_WEBP_SIZE_HEADER, left)
    _measure_webp(first, report)
    yield ParseStep.SKIP, left - len(first)
    return Completeness.WHOLE


def _measure_webp(chunk: bytes, report: Report) -> None:
    """Read the dimensions of the first chunk: lossy (2.5), lossless (2.6) or the extended header (2.7)."""
    if len(chunk) < _WEBP_SIZE_HEADER:
        return
    name = chunk[:4]
    if name == b"VP8X":
        report(int.from_bytes(chunk[12:15], "little") + 1, int.from_bytes(chunk[15:18], "little") + 1)
    elif name == b"VP8L" and chunk[8] == 0x2F:
        bits = int.from_bytes(chunk[9:13], "little")
        report((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    elif name == b"VP8 " and chunk[11:14] == b"\x9d\x01\x2a":
        report(
            int.from_bytes(chunk[14:16], "little") & 0x3FFF, int.from_bytes(chunk[16:18], "little") & 0x3FFF
        )


WEBP = MediaFormat("image/webp", "webp", MediaKind.PICTURE, _webp_steps)


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


def detect_boxes(head: bytes) -> MediaFormat | None:
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


HEIC = MediaFormat("image/heic", "heic", MediaKind.PICTURE, _picture_steps)
AVIF = MediaFormat("image/avif", "avif", MediaKind.PICTURE, _picture_steps)
MP4 = MediaFormat("video/mp4", "mp4", MediaKind.VIDEO, _video_steps)
QUICKTIME = MediaFormat("video/quicktime", "mov", MediaKind.VIDEO, _video_steps)


_DETECTORS = (detect_jpeg, detect_png, detect_gif, detect_webp, detect_boxes)


def detect_format(head: bytes) -> MediaFormat | None:
    """Return the format of a file by its first bytes; None for anything that is not accepted. Never raises.

    ``head``: the first ``HEAD_SIZE`` bytes; a shorter file is judged by all of its bytes. Names, extensions
    and ``Content-Type`` are not consulted: they can be wrong (HIKERAPI.md, "The CDN").
    """
    return next((media for detect in _DETECTORS if (media := detect(head)) is not None), None)


EXTENSIONS = {media.mime: media.extension for media in (JPEG, PNG, GIF, WEBP, HEIC, AVIF, MP4, QUICKTIME)}


def extension_for(mime: str) -> str:
    """Return the file extension for the media type of the bytes, ``bin`` if it is unknown."""
    return EXTENSIONS.get(mime, "bin")
