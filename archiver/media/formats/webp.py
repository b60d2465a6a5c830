"""WebP (RFC 9649)."""

from __future__ import annotations

from archiver.media.formats.media_format import Completeness, MediaFormat, MediaKind, ParseStep, Report, Steps

_SIZE_HEADER = 18  # bytes of the first chunk in which any of its three kinds states the dimensions


def detect(head: bytes) -> MediaFormat | None:
    """Return WebP if the file starts like one."""
    return WEBP if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else None


def _steps(report: Report) -> Steps:
    """Follow the file to its end. The RIFF header states the size of all but its first 8 bytes."""
    head = yield ParseStep.TAKE, 12
    left = max(0, int.from_bytes(head[4:8], "little") - 4)
    first = yield ParseStep.TAKE, min(_SIZE_HEADER, left)
    _measure(first, report)
    yield ParseStep.SKIP, left - len(first)
    return Completeness.WHOLE


def _measure(chunk: bytes, report: Report) -> None:
    """Read the dimensions of the first chunk: lossy (2.5), lossless (2.6) or the extended header (2.7)."""
    if len(chunk) < _SIZE_HEADER:
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


WEBP = MediaFormat("image/webp", MediaKind.PICTURE, _steps)
