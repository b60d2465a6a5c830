"""The accepted media formats. Each is detected, its structure followed and its dimensions read.

This is an allowlist: SVG, HTML, scripts, archives and programs are not in it and are never stored.
"""

from __future__ import annotations

from archiver.media.formats import mp4, pictures
from archiver.media.formats.media_format import MediaFormat

_DETECTORS = (
    pictures.detect_jpeg,
    pictures.detect_png,
    pictures.detect_gif,
    pictures.detect_webp,
    mp4.detect,
)


def detect_format(head: bytes) -> MediaFormat | None:
    """Return the format of a file by its first bytes; None for anything that is not accepted. Never raises.

    ``head``: the first ``HEAD_SIZE`` bytes; a shorter file is judged by all of its bytes. Names, extensions
    and ``Content-Type`` are not consulted: they can be wrong (HIKERAPI.md, "The CDN").
    """
    return next((media for detect in _DETECTORS if (media := detect(head)) is not None), None)
