"""What a page says, as text: nothing in it that a parser of HTML would trip over, dates in words, links that lead where they say. Pure."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from ipaddress import IPv4Address
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

import idna

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
# What HTML forbids as a character of a text (13.1.4: controls but white space, surrogates, noncharacters), and a lone CR, which a
# parser would make a line break of.
_FORBIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
    + "]"
)
# Marks of direction that reach beyond their own text where nothing isolates it.
_TURNING = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Letters, marks and a symbol that show nothing: fillers of Hangul, the grapheme joiner, variation selectors,
# blank Braille.
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))
)
_LINK = re.compile(r"https?://[^\s\x00-\x20\x7f-\x9f\ud800-\udfff]+", re.IGNORECASE)
_NOT_OF_A_URL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^!$%&'()*+,./0-9:;=?@A-Z_a-z~-]")
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?")
# A browser reads such a host as an IPv4 address, in more ways than one.
_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Address:
    """A link that may be followed: ``href`` is http or https, and ``host`` is whom a browser would ask, in ASCII."""

    href: str
    host: str


def clean(text: str) -> str:
    """``text`` with U+FFFD for each character that no HTML text may have; the rest, marks of direction too, stays as it came."""
    return _FORBIDDEN.sub("\ufffd", text)


def short(text: str, most: int = 80) -> str:
    """``text`` on one line of at most ``most`` characters, without marks that turn it around: for titles of
    windows, alternative texts, and where the whole of it is too much. Empty if nothing of it can be seen."""
    if all(c in _UNSEEN or unicodedata.category(c) in ("Cf", "Zs", "Zl", "Zp") or c.isspace() for c in text):
        return ""
    line = " ".join(_TURNING.sub("", clean(text[: 4 * most])).split())
    return line if len(line) <= most and len(text) <= 4 * most else line[: most - 1].rstrip() + "…"


def day(at: date) -> str:
    """``4 December 2025``, whatever the language of the machine. A datetime counts in UTC."""
    on = at.astimezone(UTC) if isinstance(at, datetime) else at
    return f"{on.day} {_MONTHS[on.month - 1]} {on.year}"


def moment(at: datetime) -> str:
    """``4 December 2025, 15:00 UTC``."""
    return f"{day(at)}, {at.astimezone(UTC):%H:%M} UTC"


def machine(at: datetime) -> str:
    """The time as ``<time datetime>`` wants it, to the second."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span(first: datetime, last: datetime) -> str:
    """From when to when: ``4 December 2025``, ``4 – 6 December 2025``, ``May 2025 – January 2026``."""
    begin, end = first.astimezone(UTC), last.astimezone(UTC)
    if begin.date() == end.date():
        return day(end)
    if (begin.year, begin.month) == (end.year, end.month):
        return f"{begin.day} – {day(end)}"
    return " – ".join(f"{_MONTHS[at.month - 1]} {at.year}" for at in (begin, end))


def clock(seconds: float) -> str:
    """A length as players show it: ``0:07``, ``1:02:03``; at least a second."""
    whole = max(1, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def count(number: int, one: str) -> str:
    """``1 item``, ``2,345 items``."""
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """A number of bytes in decimal units: ``999 B``, ``1.2 MB``."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"


def address(url: str) -> Address | None:
    """Where a link of an item leads; None for what is not to be followed: any scheme but http and https,
    white space and controls, a host that is no name or IPv4 address as both are usually written, and anything
    in front of it.

    ``href`` is the link as a browser reads it, with ``%`` and two digits for what no URL may have (URL
    Standard, 4.3).
    """
    if _LINK.fullmatch(url) is None:
        return None
    try:
        parts = urlsplit(url)
        host, port = _host(parts), parts.port
    except ValueError:  # of a port, of a name (idna.IDNAError), of an address
        return None
    if host is None:
        return None
    server = host if port is None else f"{host}:{port}"
    path, query, fragment = map(_encoded, (parts.path.replace("\\", "/"), parts.query, parts.fragment))
    return Address(urlunsplit((parts.scheme, server, path, query, fragment)), host)


def _encoded(part: str) -> str:
    return _NOT_OF_A_URL.sub(lambda odd: quote(odd[0]), part)


def _host(parts: SplitResult) -> str | None:
    """The host as ASCII; None for one that is not to be trusted, ValueError for one that is none."""
    name = parts.hostname or ""
    if "@" in parts.netloc:
        return None
    ascii_name = name if name.isascii() else idna.encode(name, uts46=True).decode("ascii")
    if _NUMERIC.fullmatch(ascii_name):
        return str(IPv4Address(ascii_name))
    return ascii_name if _HOST.fullmatch(ascii_name) else None
