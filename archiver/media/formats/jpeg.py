"""JPEG (ISO 10918-1): segments with a stated length, then coded data up to the next marker."""

from __future__ import annotations

from archiver.media.formats.media_format import Completeness, MediaFormat, MediaKind, ParseStep, Report, Steps

_END_OF_IMAGE = b"\xd9"
_WITHOUT_LENGTH = frozenset({b"\x01", b"\xd8"})
_FRAME_HEADERS = frozenset(bytes([code]) for code in range(0xC0, 0xD0) if code not in (0xC4, 0xC8, 0xCC))


def detect(head: bytes) -> MediaFormat | None:
    """Return JPEG if the file starts like one."""
    return JPEG if head.startswith(b"\xff\xd8\xff") else None


def _steps(report: Report) -> Steps:
    """Follow the markers (B.1) to the end of the image. The first frame header has the dimensions (B.2.2)."""
    frame_headers = _FRAME_HEADERS
    while (code := (yield ParseStep.MARKER, 0)) != _END_OF_IMAGE:
        if code in _WITHOUT_LENGTH:
            continue
        left = int.from_bytes((yield ParseStep.TAKE, 2), "big") - 2
        if code in frame_headers and left >= 5:
            frame = yield ParseStep.TAKE, 5
            report(int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big"))
            left -= 5
            frame_headers = frozenset()
        yield ParseStep.SKIP, max(0, left)
    return Completeness.WHOLE


JPEG = MediaFormat("image/jpeg", MediaKind.PICTURE, _steps)
