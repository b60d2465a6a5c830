"""Checksums that an answer sends along, and whether the bytes agree. Pure.

Known: ``Repr-Digest`` and ``Content-Digest: sha-256=:<base64>:`` (RFC 9530), ``Digest: sha-256=<base64>`` (RFC 3230), and
``Content-Digest: adler32=<number>``, which the CDN sends in no standard's form (HIKERAPI.md, "The CDN"). What is unknown is
ignored. ``x-needle-checksum`` comes without the name of its algorithm, so it may vouch for the bytes, never condemn them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:?([A-Za-z0-9+/]{43}=):?\s*(?:$|[,;])", re.IGNORECASE)
_ADLER = re.compile(r"(?:^|,)\s*adler32=\"?:?([0-9A-Fa-f]{1,10}):?\"?\s*(?:$|[,;])", re.IGNORECASE)
_NUMBER = re.compile(r"[0-9A-Fa-f]{1,10}")


@dataclass(frozen=True, slots=True)
class StatedChecksums:
    """What an answer says of its whole body. ``adler32`` and ``needle`` hold each number that the text can mean."""

    sha256: bytes | None = None
    adler32: frozenset[int] = frozenset()
    needle: frozenset[int] = frozenset()


def parse_checksums(headers: Mapping[str, str]) -> StatedChecksums:
    """The checksums in the headers of a whole (200) answer. Never raises."""
    said = [headers[name] for name in ("repr-digest", "content-digest", "digest") if name in headers]
    needle = headers.get("x-needle-checksum", "").strip()
    return StatedChecksums(
        sha256=next((digest for text in said if (digest := _sha256(text)) is not None), None),
        adler32=next((_meanings(found[1]) for text in said if (found := _ADLER.search(text))), frozenset()),
        needle=_meanings(needle) if _NUMBER.fullmatch(needle) else frozenset(),
    )


class Checksum:
    """The bytes of one file, counted against its claims; computes only what was claimed."""

    def __init__(self, claimed: StatedChecksums) -> None:
        self._claimed = claimed
        self._sha256 = hashlib.sha256() if claimed.sha256 is not None else None
        self._counts_adler = bool(claimed.adler32 or claimed.needle)
        self._adler32 = zlib.adler32(b"")

    def feed(self, chunk: bytes) -> None:
        """The next bytes of the file."""
        if self._sha256 is not None:
            self._sha256.update(chunk)
        if self._counts_adler:
            self._adler32 = zlib.adler32(chunk, self._adler32)

    def verdict(self) -> bool | None:
        """True: a checksum vouches for the bytes. False: one denies them. None: none was sent that is understood."""
        verdicts = []
        if self._sha256 is not None:
            verdicts.append(self._sha256.digest() == self._claimed.sha256)
        if self._claimed.adler32:
            verdicts.append(self._adler32 in self._claimed.adler32)
        if verdicts:
            return all(verdicts)
        return True if self._adler32 in self._claimed.needle else None


def _sha256(text: str) -> bytes | None:
    found = _SHA256.search(text)
    try:
        return base64.b64decode(found[1], validate=True) if found else None
    except binascii.Error:
        return None


def _meanings(text: str) -> frozenset[int]:
    """Decimal and hexadecimal: which of them is meant shows only where a letter occurs."""
    bases = (10, 16) if text.isdigit() else (16,)
    return frozenset(number for base in bases if (number := int(text, base)) < 1 << 32)
