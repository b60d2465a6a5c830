"""Write a download to its sink, and check everything that must be true before it may be kept as a file.

The checksums that an answer may state are ``Repr-Digest`` and ``Content-Digest: sha-256=:<base64>:`` (RFC
9530), ``Digest: sha-256=<base64>`` (RFC 3230), and ``Content-Digest: adler32=<number>``, which the CDN sends
in a non-standard form (HIKERAPI.md, "The CDN"). Anything else is ignored. ``x-needle-checksum`` does not name
its algorithm, so it can confirm the bytes but never refute them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from archiver.errors import DownloadFailed, Reason
from archiver.media.formats import (
    HEAD_SIZE,
    Completeness,
    MediaFormat,
    MediaKind,
    StreamParser,
    detect_format,
)

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:?([A-Za-z0-9+/]{43}=):?\s*(?:$|[,;])", re.IGNORECASE)
_ADLER = re.compile(r"(?:^|,)\s*adler32=\"?:?([0-9A-Fa-f]{1,10}):?\"?\s*(?:$|[,;])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9A-Fa-f]{1,10}")

MIN_FILE_SIZE = 100
"""Bytes. No picture on Instagram is smaller; a smaller one is a placeholder for a missing picture."""


class StatedChecksums(Struct, frozen=True):
    """Checksums of a whole body. ``adler32`` and ``needle`` hold every number that their text can mean."""

    sha256: bytes | None = None
    adler32: frozenset[int] = frozenset()
    needle: frozenset[int] = frozenset()


def parse_checksums(headers: Mapping[str, str]) -> StatedChecksums:
    """Return the checksums in the headers of a complete (200) answer. Never raises."""
    digests = [headers[name] for name in ("repr-digest", "content-digest", "digest") if name in headers]
    needle = headers.get("x-needle-checksum", "").strip()
    return StatedChecksums(
        sha256=next((digest for text in digests if (digest := _sha256(text)) is not None), None),
        adler32=next((_numbers(found[1]) for text in digests if (found := _ADLER.search(text))), frozenset()),
        needle=_numbers(needle) if _NUMBER.fullmatch(needle) else frozenset(),
    )


class Checksum:
    """Computes the checksums of one file that its answer states, and no others."""

    def __init__(self, stated: StatedChecksums) -> None:
        self._stated = stated
        self._sha256 = hashlib.sha256() if stated.sha256 is not None else None
        self._needs_adler = bool(stated.adler32 or stated.needle)
        self._adler32 = zlib.adler32(b"")

    def feed(self, chunk: bytes) -> None:
        """Add the next bytes of the file."""
        if self._sha256 is not None:
            self._sha256.update(chunk)
        if self._needs_adler:
            self._adler32 = zlib.adler32(chunk, self._adler32)

    def verdict(self) -> bool | None:
        """Return True if a checksum confirms the bytes, False if one refutes them, None if none is stated."""
        matches = []
        if self._sha256 is not None:
            matches.append(self._sha256.digest() == self._stated.sha256)
        if self._stated.adler32:
            matches.append(self._adler32 in self._stated.adler32)
        if matches:
            return all(matches)
        return True if self._adler32 in self._stated.needle else None


def _sha256(text: str) -> bytes | None:
    found = _SHA256.search(text)
    try:
        return base64.b64decode(found[1], validate=True) if found else None
    except binascii.Error:
        return None


def _numbers(text: str) -> frozenset[int]:
    """Return the number read as decimal and as hexadecimal, since digits alone do not show which is meant."""
    bases = (10, 16) if text.isdigit() else (16,)
    return frozenset(number for base in bases if (number := int(text, base)) < 1 << 32)


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
