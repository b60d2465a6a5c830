"""The accepted media formats. Each module detects its format, follows its structure and reads its dimensions.

This is an allowlist: SVG, HTML, scripts, archives and programs are not in it and are never stored.
"""

from __future__ import annotations

from archiver.media.formats import gif, jpeg, mp4, png, webp
from archiver.media.formats.media_format import MediaFormat

_DETECTORS = (jpeg.detect, png.detect, gif.detect, webp.detect, mp4.detect)


def detect_format(head: bytes) -> MediaFormat | None:
    """Return the format of a file by its first bytes; None for anything that is not accepted. Never raises.

    ``head``: the first ``HEAD_SIZE`` bytes; a shorter file is judged by all of its bytes. Names, extensions
    and ``Content-Type`` are not consulted: they can be wrong (HIKERAPI.md, "The CDN").
    """
    return next((media for detect in _DETECTORS if (media := detect(head)) is not None), None)
