"""The bytes of one file on their way into a Sink: everything that must hold before they may be called a File."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from archiver.errors import DownloadFailed, Reason
from archiver.media.checksum import Checksum, StatedChecksums
from archiver.media.dimensions import PREFIX, dimensions
from archiver.media.sniff import HEAD, Kind, MediaType, sniff
from archiver.media.structure import Extent, Structure

MIN_FILE_SIZE = 100
"""Bytes: no picture of Instagram is smaller; what is, stands for a missing one."""


class Sink(Protocol):
    """Where bytes go; the caller's. Whatever it raises passes through."""

    @property
    def size(self) -> int:
        """Bytes held."""

    def write(self, chunk: bytes) -> None:
        """Append bytes."""

    def restart(self) -> None:
        """Forget every byte: the file begins again."""


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A file that has come whole and is what was asked for. ``size`` in bytes; dimensions in pixels where the header tells."""

    mime: str
    width: int | None
    height: int | None
    size: int


class CheckedWriter:
    """Checks one file while it passes, over several attempts if they continue each other. Raises DownloadFailed.

    Nothing reaches the sink before its first bytes are known to be media of the wanted kind.
    """

    def __init__(self, sink: Sink, wanted: Kind, max_size: int) -> None:
        self._sink = sink
        self._wanted = wanted
        self._max_size = max_size
        self._clear()

    def _clear(self) -> None:
        self.size = 0
        self._total: int | None = None
        self._head = b""
        self._prefix = bytearray()
        self._pixels: tuple[int, int] | None = None
        self._media: MediaType | None = None
        self._structure: Structure | None = None
        self._checksum = Checksum(StatedChecksums())

    def begin(self, total: int | None, claimed: StatedChecksums) -> None:
        """A body starts from its first byte. ``total``: its length if promised. Raises TOO_LARGE before any byte is read."""
        if self._sink.size:
            self._sink.restart()
        self._clear()
        self._checksum = Checksum(claimed)
        self.promise(total)

    def promise(self, total: int | None) -> None:
        """What the whole will measure, if it is known."""
        self._total = total
        if total is not None and total > self._max_size:
            raise DownloadFailed(
                Reason.TOO_LARGE,
                f"the file has {total} bytes, over max_file_size ({self._max_size})",
                size=total,
            )

    @property
    def total(self) -> int | None:
        """The promised length of the whole, or None."""
        return self._total

    def take(self, chunk: bytes) -> None:
        """The next bytes, at least one."""
        self.size += len(chunk)
        if self.size > self._max_size:
            # No gap of the owner's choice: only a stated length is believed to be the file's.
            raise DownloadFailed(
                Reason.ENDLESS,
                f"the body does not end within max_file_size ({self._max_size}), and no such length was stated",
            )
        self._checksum.feed(chunk)
        if self._structure is None:
            chunk = self._head + chunk
            if len(chunk) < HEAD:
                self._head = chunk
                return
            self._structure = self._recognise(chunk)
        self._pass_on(chunk, self._structure)

    def finish(self) -> DownloadedFile:
        """The body has ended without the transport objecting: accept it, or raise."""
        if self._total is not None and self.size != self._total:
            raise DownloadFailed(Reason.TRUNCATED, f"{self.size} bytes came of {self._total}", retryable=True)
        if self._structure is None:
            self._recognise(self._head)  # the better reason, where it has one
        if self._structure is None or self._media is None or self.size < MIN_FILE_SIZE:
            raise DownloadFailed(Reason.NOT_MEDIA, f"{self.size} bytes are no picture and no video")
        vouched = self._checksum.verdict()
        if vouched is False:
            raise DownloadFailed(
                Reason.DIGEST, "the bytes do not match the checksum sent along", retryable=True
            )
        extent = self._structure.extent()
        unknown = extent is Extent.OPEN and self._total is None
        if not vouched and (extent is Extent.CUT or unknown):
            raise DownloadFailed(
                Reason.TRUNCATED, f"the {self._media.mime} is cut at byte {self.size}", retryable=True
            )
        source = self._structure.moov if self._media.kind is Kind.VIDEO else bytes(self._prefix)
        width, height = self._pixels or dimensions(self._media, source) or (None, None)
        return DownloadedFile(self._media.mime, width, height, self.size)

    def _recognise(self, head: bytes) -> Structure:
        media = sniff(head)
        if media is None:
            raise DownloadFailed(Reason.NOT_MEDIA, "the bytes are neither a picture nor a video")
        if media.kind is not self._wanted:
            raise DownloadFailed(Reason.WRONG_KIND, f"{media.mime} came where a {self._wanted} belongs")
        self._media = media
        return Structure(media)

    def _pass_on(self, chunk: bytes, structure: Structure) -> None:
        if self._wanted is Kind.PICTURE and self._pixels is None and len(self._prefix) < PREFIX:
            self._measure(chunk)
        structure.feed(chunk)
        self._sink.write(chunk)

    def _measure(self, chunk: bytes) -> None:
        """The first chunk nearly always tells; only where it does not, more of the beginning is held."""
        if not self._prefix and self._media is not None:
            self._pixels = dimensions(self._media, chunk)
        if self._pixels is None:
            self._prefix += chunk[: PREFIX - len(self._prefix)]
