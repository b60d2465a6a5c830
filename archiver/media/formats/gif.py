"""GIF (GIF89a)."""

from __future__ import annotations

from archiver.media.formats.media_format import Completeness, MediaFormat, MediaKind, ParseStep, Report, Steps

_TRAILER = b"\x3b"
_IMAGE = b"\x2c"


def detect(head: bytes) -> MediaFormat | None:
    """Return GIF if the file starts like one."""
    return GIF if head.startswith((b"GIF87a", b"GIF89a")) else None


def _steps(report: Report) -> Steps:
    """Follow the blocks of appendix B to the trailer. The screen descriptor has the dimensions."""
    head = yield ParseStep.TAKE, 13
    report(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    yield ParseStep.SKIP, _palette_size(head[10])
    while (introducer := (yield ParseStep.TAKE, 1)) != _TRAILER:
        if introducer == _IMAGE:
            image = yield ParseStep.TAKE, 9
            yield ParseStep.SKIP, _palette_size(image[8])
        yield ParseStep.SKIP, 1  # the code size of an image, or the label of an extension
        while (length := (yield ParseStep.TAKE, 1)[0]) > 0:
            yield ParseStep.SKIP, length
    return Completeness.WHOLE


def _palette_size(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


GIF = MediaFormat("image/gif", MediaKind.PICTURE, _steps)
