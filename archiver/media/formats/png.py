"""PNG (ISO 15948)."""

from __future__ import annotations

from archiver.media.formats.media_format import Completeness, MediaFormat, MediaKind, ParseStep, Report, Steps

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHECKSUM_SIZE = 4


def detect(head: bytes) -> MediaFormat | None:
    """Return PNG if the file starts like one."""
    return PNG if head.startswith(_SIGNATURE) else None


def _steps(report: Report) -> Steps:
    """Follow the chunks of 5.3 (length, name, payload, checksum) to IEND. IHDR has the dimensions."""
    yield ParseStep.SKIP, len(_SIGNATURE)
    while True:
        head = yield ParseStep.TAKE, 8
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name == b"IHDR" and length >= 8:
            size = yield ParseStep.TAKE, 8
            report(int.from_bytes(size[:4], "big"), int.from_bytes(size[4:], "big"))
            length -= 8
        yield ParseStep.SKIP, length + _CHECKSUM_SIZE
        if name == b"IEND":
            return Completeness.WHOLE


PNG = MediaFormat("image/png", MediaKind.PICTURE, _steps)
