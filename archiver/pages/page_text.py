"""Texts of the pages: without characters that HTML forbids, dates and numbers in words, safe links."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from ipaddress import IPv4Address
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna
from msgspec import Struct

from archiver.model.archived import KeptAccount, KeptHighlight, KeptItem
from archiver.model.identity import is_pk
from archiver.model.target import is_code, is_username

_INSTAGRAM = "https://www.instagram.com"
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
# Characters that HTML forbids (13.1.4: controls except white space, surrogates, noncharacters), and CR, which
# a parser turns into a line break.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# Direction marks that affect the text after them, unless an element isolates them.
_DIRECTION_MARKS = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Characters of other categories that show nothing: Hangul fillers, the grapheme joiner, variation selectors,
# blank Braille.
_INVISIBLE = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]+", re.IGNORECASE)
_NOT_IN_URLS = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!$%&'()*+,./0-9:;=?@A-Z_a-z~-]")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?")
# A browser reads such a host as an IPv4 address, also if it is written in hexadecimal or as one number.
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


class WebAddress(Struct, frozen=True):
    """A link that is safe to follow. ``href`` is http or https; ``host``, in ASCII, is where it leads."""

    href: str
    host: str


def clean(text: str) -> str:
    """Return a text with U+FFFD for each character that HTML forbids. Direction marks stay."""
    return _FORBIDDEN.sub("\ufffd", text)


def shorten(text: str, limit: int = 80) -> str:
    """Return a text on one line, without direction marks; "" if it shows nothing. ``limit`` in characters."""
    if all(
        c in _INVISIBLE or unicodedata.category(c) in ("Cf", "Zs", "Zl", "Zp") or c.isspace() for c in text
    ):
        return ""
    line = " ".join(_DIRECTION_MARKS.sub("", clean(text[: 4 * limit])).split())
    return line if len(line) <= limit and len(text) <= 4 * limit else line[: limit - 1].rstrip() + "…"


def format_day(at: date) -> str:
    """Return ``4 December 2025``, in English and, for a datetime, in UTC."""
    on = at.astimezone(UTC) if isinstance(at, datetime) else at
    return f"{on.day} {MONTHS[on.month - 1]} {on.year}"


def format_short_day(at: datetime) -> str:
    """Return ``4 Dec 2025``, in UTC."""
    on = at.astimezone(UTC)
    return f"{on.day} {MONTHS[on.month - 1][:3]} {on.year}"


def format_moment(at: datetime) -> str:
    """Return ``4 December 2025, 15:00 UTC``."""
    return f"{format_day(at)}, {at.astimezone(UTC):%H:%M} UTC"


def format_short_moment(at: datetime) -> str:
    """Return ``4 Dec 2025, 15:00``, in UTC."""
    return f"{format_short_day(at)}, {at.astimezone(UTC):%H:%M}"


def format_iso_time(at: datetime) -> str:
    """Return a time for ``<time datetime>``, to the second, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def format_span(first: datetime, last: datetime) -> str:
    """Return ``4 December 2025``, ``4 – 6 December 2025`` or ``May 2025 – Jan 2026``."""
    begin, end = first.astimezone(UTC), last.astimezone(UTC)
    if begin.date() == end.date():
        return format_day(end)
    if (begin.year, begin.month) == (end.year, end.month):
        return f"{begin.day} – {format_day(end)}"
    return " – ".join(f"{MONTHS[at.month - 1][:3]} {at.year}" for at in (begin, end))


def format_duration(seconds: float) -> str:
    """Return a duration as players show it: ``0:07``, ``1:02:03``; at least a second."""
    whole = max(1, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def web_address(url: str) -> WebAddress | None:
    """Return where a link leads; None for one that must not be followed.

    Those are: schemes other than http and https, white space and controls, a host that is neither a name nor
    an IPv4 address in the usual form, a user name before the host. ``href`` is the link as a browser reads
    it: characters that a URL cannot have are percent-encoded (URL Standard, 4.3).
    """
    if _LINK.fullmatch(url) is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = _host(parts), parts.port
    except ValueError:  # from the port, the name (idna.IDNAError) or the address
        return None
    if host is None:
        return None
    server = host if port is None else f"{host}:{port}"
    path, query, fragment = map(_encode, (parts.path.replace("\\", "/"), parts.query, parts.fragment))
    return WebAddress(urlunsplit((parts.scheme, server, path, query, fragment)), host)


def profile_address(account: KeptAccount) -> str | None:
    """Return the address of an account at Instagram; None if it is gone or has no valid username."""
    name = account.username
    if name is None or account.gone_at is not None or not is_username(name):
        return None
    return f"{_INSTAGRAM}/{name}/"


def highlight_address(highlight: KeptHighlight) -> str | None:
    """Return the address of a highlight at Instagram; None if it is no longer shown."""
    if highlight.gone_at is not None or not is_pk(highlight.pk):
        return None
    return f"{_INSTAGRAM}/stories/highlights/{highlight.pk}/"


def item_address(item: KeptItem) -> str | None:
    """Return the address of an item at Instagram; None without a valid code."""
    return f"{_INSTAGRAM}/p/{item.code}/" if item.code is not None and is_code(item.code) else None


def _encode(part: str) -> str:
    return _NOT_IN_URLS.sub(lambda match: quote(match[0]), part)


def _host(parts: SplitResult) -> str | None:
    """Return the host in ASCII; None if it cannot be trusted. Raises ValueError if it is not a host."""
    name = parts.hostname or ""
    if "@" in parts.netloc:
        return None
    ascii_name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    if _NUMERIC_HOST.fullmatch(ascii_name):
        return str(IPv4Address(ascii_name))
    return ascii_name if _HOST.fullmatch(ascii_name) else None
