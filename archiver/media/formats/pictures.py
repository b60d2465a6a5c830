"""Formats of pictures that are no boxes: JPEG (ISO 10918-1), PNG (ISO 15948), GIF89a and WebP (RFC 9649).

The numbers of sections in each function are those of its format.
"""

from __future__ import annotations

from archiver.media.formats.media_format import Completeness, MediaFormat, MediaKind, ParseStep, Report, Steps

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


JPEG = MediaFormat("image/jpeg", MediaKind.PICTURE, _jpeg_steps)


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


PNG = MediaFormat("image/png", MediaKind.PICTURE, _png_steps)


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


GIF = MediaFormat("image/gif", MediaKind.PICTURE, _gif_steps)


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


WEBP = MediaFormat("image/webp", MediaKind.PICTURE, _webp_steps)
