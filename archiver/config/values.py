"""What a value of the configuration may be: each function takes a raw text and returns the value, or raises ValueError saying what is
expected. They never quote the text: it may hold a password. Pure."""

from __future__ import annotations

import ipaddress
import re
from decimal import Decimal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from archiver.addresses import is_link_local

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([a-z]*)", re.ASCII)
_BYTES = {"": 1, "b": 1} | {
    unit: factor**power
    for power, letter in enumerate("kmgt", start=1)
    for unit, factor in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,40}", re.ASCII | re.IGNORECASE)
_OWN = (".local", ".lan", ".internal", ".home.arpa", ".localhost")
_POSTGRES = ("postgresql+psycopg", "postgresql", "postgres")

MOST_BYTES = 2**63 - 1


def size(text: str) -> int:
    """Bytes of ``1 GB`` (decimal), ``512 MiB`` (binary) or a plain number of bytes; rounded down."""
    match = _SIZE.fullmatch(text.strip().lower())
    factor = _BYTES.get(match[2]) if match else None
    if match is None or factor is None or Decimal(match[1]) * factor > MOST_BYTES:
        raise ValueError('a size such as "512 MB", "1 GB" or "2 GiB"')
    return int(Decimal(match[1]) * factor)


def speed(text: str) -> int:
    """Bytes a second of ``10 MB/s``; the ``/s`` may be left out."""
    try:
        return size(text.strip().removesuffix("/s"))
    except ValueError:
        raise ValueError('a speed such as "1 kB/s" or "10 MB/s"') from None


def base_url(text: str) -> str:
    """The API's address without a slash at its end: https, or http to this machine; the key must not travel in the clear."""
    expected = "https://HOST, without user, query or fragment (http:// only to this machine)"
    parts = _parts(text, expected)
    if parts.scheme not in ("https", "http") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(expected)
    if not parts.hostname or (parts.scheme == "http" and not is_loopback(parts.hostname)):
        raise ValueError(expected)
    return text.rstrip("/")


def proxy(text: str) -> str:
    """An http or https proxy. SOCKS would need a library more."""
    expected = "http://HOST:PORT or https://HOST:PORT"
    parts = _parts(text, expected)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    return text


def report_url(text: str, *, link_local: bool = False) -> str:
    """A web address, or one of any scheme that Apprise may know: those are not URLs by the book
    (``tgram://123:abc/chat``).

    ``link_local``: whether its host may be a link-local address.
    """
    scheme, found, rest = text.partition("://")
    if scheme.lower() in ("http", "https"):
        return web_url(text, link_local=link_local)
    if not found or not rest or _SCHEME.fullmatch(scheme) is None or not text.isprintable() or " " in text:
        raise ValueError("https://HOST/PATH, or an address of Apprise such as ntfy://HOST/TOPIC")
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError:  # no URL by the book, so no host
        return text
    for named in (host, *(value for _, value in parse_qsl(parts.query))):  # mailto://...?smtp=HOST
        _require_not_link_local(named and named.strip("[]"), link_local)
    return text


def web_url(text: str, *, link_local: bool = False) -> str:
    """An https address; http only within one's own network: its path is mostly a token. ``link_local``: as in
    ``report_url``."""
    expected = "https://HOST/PATH (http:// only to this machine or your own network)"
    parts = _parts(text, expected)
    if not parts.hostname or parts.scheme not in ("http", "https") or parts.fragment:
        raise ValueError(expected)
    _require_not_link_local(parts.hostname, link_local)
    if parts.scheme == "http" and not _is_near(parts.hostname):
        raise ValueError(expected)
    return text


def _require_not_link_local(host: str | None, allowed: bool) -> None:
    if host is not None and not allowed and is_link_local(host):
        raise ValueError(
            "a host that is not link-local: there clouds serve credentials "
            "(report.allow_link_local = true permits it)"
        )


def database(text: str) -> str:
    """A PostgreSQL URL in SQLAlchemy's spelling for psycopg 3. SQLite needs none: it is ``archive.db`` in the directory."""
    expected = "postgresql+psycopg://USER@HOST/NAME (left out, the database is archive.db in the directory)"
    scheme, _, rest = text.partition("://")
    if scheme not in _POSTGRES or not rest:
        raise ValueError(expected)
    if not _parts(f"postgresql://{rest}", expected).path.strip("/"):
        raise ValueError(expected)
    return f"postgresql+psycopg://{rest}"


def host_pattern(text: str) -> str:
    """A host of the CDN in lower case, or ``*.`` and at least two labels: ``*.com`` would let a hostile answer point anywhere."""
    expected = 'hosts such as "*.fbcdn.net", without scheme and port'
    pattern = text.strip().lower().removeprefix("[").removesuffix("]")
    name = pattern.removeprefix("*.")
    if is_loopback(name) and name == pattern:
        return pattern
    if _HOST.fullmatch(name) is None or (name != pattern and "." not in name):
        raise ValueError(expected)
    return pattern


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its spelling: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_near(host: str) -> bool:
    """Whether ``host`` is in one's own network by its spelling: a private address, a name without a dot, or one that no DNS sells."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_OWN)
    return address.is_private and not address.is_unspecified


def _parts(text: str, expected: str) -> SplitResult:
    """``urlsplit`` without its exception text, which quotes the URL with its password."""
    if not text.isprintable() or " " in text:
        raise ValueError(expected)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(expected) from None
    return parts
