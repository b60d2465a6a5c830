"""Write a download to its sink, and check everything that must be true before it may be kept as a file."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from archiver.errors import DownloadFailed, Reason
from archiver.media.checksum import Checksum, StatedChecksums
from archiver.media.formats import detect_format
from archiver.media.formats.media_format import HEAD_SIZE, Completeness, MediaFormat, MediaKind, StreamParser

MIN_FILE_SIZE = 100
"""Bytes. No picture on Instagram is smaller; a smaller one is a placeholder for a missing picture."""


class Sink(Protocol):
    """Where the bytes go, provided by the caller. Its exceptions are passed on."""

    @property
    def size(self) -> int:
        """The number of bytes written so far."""

    def write(self, chunk: bytes) -> None:
        """Append bytes."""

    def restart(self) -> None:
        """Discard all bytes, because the file starts again."""


class DownloadedFile(Struct, frozen=True):
    """A complete file. ``size`` in bytes; width and height in pixels, None if no header states them."""

    mime: str
    width: int | None
    height: int | None
    size: int


class CheckedWriter:
    """Writes one file, over several attempts if each continues the one before. Raises DownloadFailed.

    Nothing reaches the sink before the first bytes are known to be media of the wanted kind.
    ``size``: bytes received. ``total``: the size of the whole file, or None if it was not stated.
    """

    def __init__(self, sink: Sink, kind: MediaKind, max_size: int) -> None:
        self._sink = sink
        self._kind = kind
        self._max_size = max_size
        self._clear(StatedChecksums())

    def _clear(self, checksums: StatedChecksums) -> None:
        self.size = 0
        self.total: int | None = None
        self._head = b""
        self._mime = ""
        self._parser: StreamParser | None = None
        self._checksum = Checksum(checksums)

    def begin(self, total: int | None, checksums: StatedChecksums) -> None:
        """Start the file from its first byte. Raises TOO_LARGE for a stated total over the limit."""
        if self._sink.size:
            self._sink.restart()
        self._clear(checksums)
        self.expect(total)

    def expect(self, total: int | None) -> None:
        """Set the size of the whole file; None: not stated. Raises TOO_LARGE if it is over the limit."""
        self.total = total
        if total is not None and total > self._max_size:
            raise DownloadFailed(
                Reason.TOO_LARGE,
                f"the file has {total} bytes, over max_file_size ({self._max_size})",
                size=total,
            )

    def write(self, chunk: bytes) -> None:
        """Take the next bytes, at least one. Raises ENDLESS, NOT_MEDIA or WRONG_KIND."""
        self.size += len(chunk)
        if self.size > self._max_size:
            # Not TOO_LARGE, which is the user's choice: only a stated size is known to be that of the file.
            raise DownloadFailed(
                Reason.ENDLESS,
                f"the body states no length and does not end within max_file_size ({self._max_size})",
            )
        self._checksum.feed(chunk)
        if self._parser is None:
            chunk = self._head + chunk
            if len(chunk) < HEAD_SIZE:
                self._head = chunk
                return
            self._parser = StreamParser(self._accept(chunk))
        self._parser.feed(chunk)
        self._sink.write(chunk)

    def finish(self) -> DownloadedFile:
        """Return the file once its body has ended. Raises DownloadFailed if it must not be kept."""
        if self.total is not None and self.size != self.total:
            raise DownloadFailed(
                Reason.TRUNCATED,
                f"received {self.size} bytes instead of the stated {self.total}",
                is_retryable=True,
            )
        if self._parser is None:
            self._accept(self._head)  # may raise a more specific reason
        if self._parser is None or self.size < MIN_FILE_SIZE:
            raise DownloadFailed(Reason.NOT_MEDIA, f"{self.size} bytes are neither a picture nor a video")
        is_confirmed = self._checksum.verdict()
        if is_confirmed is False:
            raise DownloadFailed(
                Reason.DIGEST, "the bytes do not match the stated checksum", is_retryable=True
            )
        completeness = self._parser.completeness()
        is_open = completeness is Completeness.OPEN and self.total is None
        if not is_confirmed and (completeness is Completeness.CUT or is_open):
            raise DownloadFailed(
                Reason.TRUNCATED, f"the {self._mime} is cut at byte {self.size}", is_retryable=True
            )
        width, height = self._parser.dimensions or (None, None)
        return DownloadedFile(self._mime, width, height, self.size)

    def _accept(self, head: bytes) -> MediaFormat:
        media = detect_format(head)
        if media is None:
            raise DownloadFailed(Reason.NOT_MEDIA, "the bytes are neither a picture nor a video")
        if media.kind is not self._kind:
            raise DownloadFailed(Reason.WRONG_KIND, f"expected a {self._kind}, received {media.mime}")
        self._mime = media.mime
        return media
