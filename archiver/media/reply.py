"""What the head of a CDN's answer means: go on, go elsewhere, or a failure with its reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from archiver import retry
from archiver.errors import DownloadFailed, Reason

_EXPIRED = b"URL signature expired"
_ALTERED = b"URL signature mismatch"
_RETRYABLE = frozenset({408, 425, 429})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")
_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')

DETAIL = 1024
"""Bytes of a refusal's body that ``refusal`` looks at."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where an interrupted file can be taken up again: ``start`` bytes are held of ``total`` (None if never said)."""

    start: int
    total: int | None
    etag: str

    def headers(self) -> list[tuple[str, str]]:
        """RFC 9110, 13.1.5 and 14.2: the rest, but only of the very same bytes; else all of it."""
        return [("range", f"bytes={self.start}-"), ("if-range", self.etag)]


def is_redirect(status: int) -> bool:
    """Whether the status asks to go elsewhere."""
    return status in _REDIRECTS


def refusal(status: int, headers: Mapping[str, str], detail: bytes, now: datetime) -> DownloadFailed:
    """The failure that a status other than success or redirect means. ``detail`` is the beginning of its body."""
    if status == 403 and _EXPIRED in detail:
        return DownloadFailed(Reason.EXPIRED, "the CDN says that the URL's signature expired")
    if status == 403:
        return DownloadFailed(Reason.FORBIDDEN, "the CDN answers 403", retryable=_ALTERED not in detail)
    if status in (404, 410):
        return DownloadFailed(Reason.NOT_FOUND, f"the CDN answers {status}")
    return DownloadFailed(
        Reason.HTTP_STATUS,
        f"the CDN answers {status}",
        retryable=status in _RETRYABLE or status >= 500,
        retry_after=retry.retry_after(headers.get("retry-after"), now),
    )


def check_coding(headers: Mapping[str, str]) -> None:
    """Raise DownloadFailed for a body in a content coding: identity was asked for, and a cut or endless coding looks whole."""
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise DownloadFailed(Reason.NOT_MEDIA, "the CDN sends a content coding that was not asked for")


def length(headers: Mapping[str, str]) -> int | None:
    """Bytes of this answer's body if the head promises a number that the transport enforces."""
    text = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag if it may be used to splice bytes (RFC 9110, 8.8.1): strong, and of an answer that offers ranges."""
    etag = headers.get("etag", "").strip()
    ranges = headers.get("accept-ranges", "").strip().lower() == "bytes"
    return etag if ranges and len(etag) <= 200 and _STRONG.fullmatch(etag) else None


def continues(part: Part, headers: Mapping[str, str]) -> int | None:
    """The total length if a 206 is exactly the rest of what is held, else None: then nothing of it may be used.

    It must begin where the held bytes end, reach to the end of the whole, agree with the earlier total, and not name another ETag.
    """
    found = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        return None
    first, last, total = int(found[1]), int(found[2]), int(found[3])
    same = first == part.start and last + 1 == total and part.total in (None, total)
    promised = length(headers)
    fits = promised in (None, total - first)
    return total if same and fits and headers.get("etag", part.etag).strip() == part.etag else None
