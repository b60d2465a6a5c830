"""What bytes are, by their first bytes alone: names, extensions and ``Content-Type`` lie (HIKERAPI.md, "The CDN"). Pure.

An allowlist: SVG, HTML, scripts, archives and programs are none of these, so they are nothing that is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

HEAD = 64
"""Bytes that ``sniff`` looks at; with fewer it answers by those there are."""


class Kind(StrEnum):
    """What a File can be: its role asks for one of them."""

    PICTURE = "picture"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class MediaType:
    """An accepted type: its IANA name and what it is to a reader."""

    mime: str
    kind: Kind


JPEG = MediaType("image/jpeg", Kind.PICTURE)
PNG = MediaType("image/png", Kind.PICTURE)
GIF = MediaType("image/gif", Kind.PICTURE)
WEBP = MediaType("image/webp", Kind.PICTURE)
HEIC = MediaType("image/heic", Kind.PICTURE)
AVIF = MediaType("image/avif", Kind.PICTURE)
MP4 = MediaType("video/mp4", Kind.VIDEO)
QUICKTIME = MediaType("video/quicktime", Kind.VIDEO)

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF = frozenset({b"avif", b"avis"})
_HEIF_GENERIC = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})  # say "a picture", not how it is coded
_MP4 = frozenset({b"isom", b"avc1", b"dash", b"mmp4", b"MSNV", b"M4V ", b"M4VH", b"M4VP", b"f4v ", b"cmfc"})
_MP4_FAMILIES = (b"iso", b"mp4")  # iso2 to iso9, mp41, mp42, mp4v


def sniff(head: bytes) -> MediaType | None:
    """The type of a file that begins with ``head`` (``HEAD`` bytes are enough), or None for what is no media. Never raises."""
    if head.startswith(b"\xff\xd8\xff"):
        return JPEG
    if head.startswith(PNG_SIGNATURE):
        return PNG
    if head.startswith((b"GIF87a", b"GIF89a")):
        return GIF
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp":
        return _by_brands(head)
    return None


def _by_brands(head: bytes) -> MediaType | None:
    """ISO 14496-12, 4.3: the major brand decides; where it only says "HEIF", the first compatible brand that says more."""
    size = int.from_bytes(head[:4], "big")
    if size < 16:
        return None
    major = head[8:12]
    found = _by_brand(major)
    if found is not None:
        return found
    if major not in _HEIF_GENERIC:
        return None
    end = min(size, len(head), HEAD)
    compatible = (_by_brand(head[at : at + 4]) for at in range(16, end - 3, 4))
    return next((media for media in compatible if media in (HEIC, AVIF)), None)


def _by_brand(brand: bytes) -> MediaType | None:
    if brand in _HEIC:
        return HEIC
    if brand in _AVIF:
        return AVIF
    if brand in _MP4 or brand[:3] in _MP4_FAMILIES:
        return MP4
    return QUICKTIME if brand == b"qt  " else None
