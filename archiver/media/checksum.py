"""Checksums that an answer states, and whether the bytes match them. Pure.

The known ones are ``Repr-Digest`` and ``Content-Digest: sha-256=:<base64>:`` (RFC 9530), ``Digest:
sha-256=<base64>`` (RFC 3230), and ``Content-Digest: adler32=<number>``, which the CDN sends in a non-standard
form (HIKERAPI.md, "The CDN"). Anything else is ignored. ``x-needle-checksum`` does not name its algorithm, so
it can confirm the bytes but never refute them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping

from msgspec import Struct

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:?([A-Za-z0-9+/]{43}=):?\s*(?:$|[,;])", re.IGNORECASE)
_ADLER = re.compile(r"(?:^|,)\s*adler32=\"?:?([0-9A-Fa-f]{1,10}):?\"?\s*(?:$|[,;])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9A-Fa-f]{1,10}")


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
