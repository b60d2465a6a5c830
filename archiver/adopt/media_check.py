"""Whether a file is a whole picture or video, judged by its bytes alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from archiver.media.checked_writer import CheckedWriter, DownloadedFile
from archiver.media.formats import detect_format
from archiver.media.formats.media_format import HEAD_SIZE, MediaKind


def detect_kind(source: int) -> MediaKind | None:
    """Return the kind of an open file, by its first bytes; None if it is neither a picture nor a video."""
    media = detect_format(os.pread(source, HEAD_SIZE, 0))
    return None if media is None else media.kind


def check_media(chunks: Iterable[bytes], kind: MediaKind) -> DownloadedFile:
    """Return the size, type and dimensions of these bytes.

    Raises DownloadFailed if they are not a whole file of this kind. Only the structure of the file shows
    whether it is whole: unlike a download, it has no stated length.
    """
    writer = CheckedWriter(_Nowhere(), kind, sys.maxsize)
    for chunk in chunks:
        writer.write(chunk)
    return writer.finish()


class _Nowhere:
    """A sink that discards the bytes: they are stored already, or need not be."""

    size = 0

    def write(self, chunk: bytes) -> None:
        """Do nothing."""

    def restart(self) -> None:
        """Do nothing."""
