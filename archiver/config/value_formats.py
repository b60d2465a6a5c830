"""The formats of strings in the configuration, with one parser for each. Pure.

A parser raises ValueError with what is expected. It never quotes the string, which may contain a password.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from decimal import Decimal
from urllib.parse import SplitResult, parse_qsl, urlsplit

from archiver.errors import ConfigError
from archiver.hosts import is_host_name, is_link_local, is_this_machine
from archiver.text_format import PRICE

_SIZE = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([a-z]*)", re.ASCII)
_BYTES = {"": 1, "b": 1} | {
    unit: factor**power
    for power, letter in enumerate("kmgt", start=1)
    for unit, factor in ((f"{letter}b", 1000), (f"{letter}ib", 1024))
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]{1,40}", re.ASCII | re.IGNORECASE)
_PRIVATE_SUFFIXES = (".local", ".lan", ".internal", ".home.arpa", ".localhost")
_POSTGRES_SCHEMES = ("postgresql+psycopg", "postgresql", "postgres")

MOST_BYTES = 2**63 - 1


def parse_size(text: str) -> int:
    """Return the bytes of ``1 GB`` (decimal), ``512 MiB`` (binary) or a plain number, rounded down."""
    match = _SIZE.fullmatch(text.strip().lower())
    factor = _BYTES.get(match[2]) if match else None
    if match is None or factor is None or Decimal(match[1]) * factor > MOST_BYTES:
        raise ValueError('a size such as "512 MB", "1 GB" or "2 GiB"')
    return int(Decimal(match[1]) * factor)


def parse_speed(text: str) -> int:
    """Return the bytes per second of ``10 MB/s``; the ``/s`` may be left out."""
    try:
        return parse_size(text.strip().removesuffix("/s"))
    except ValueError:
        raise ValueError('a speed such as "1 kB/s" or "10 MB/s"') from None


def parse_price(text: str) -> str:
    """Return a price such as ``0.6``, ``0.60 EUR`` or ``$2``: a number, with a currency or without."""
    if not PRICE.fullmatch(text := text.strip()) or not text.isprintable():
        raise ValueError('a price such as "0.60 EUR" or 0.6')
    return text


def parse_api_url(text: str) -> str:
    """Return the address of the API without a trailing slash.

    It must be https, or http to this machine: the key must not be sent unencrypted.
    """
    expected = "https://HOST, without user, query or fragment (http:// only to this machine)"
    parts = _split(text, expected)
    if parts.scheme not in ("https", "http") or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(expected)
    if not parts.hostname or (parts.scheme == "http" and not is_this_machine(parts.hostname)):
        raise ValueError(expected)
    return text.rstrip("/")


def parse_proxy(text: str) -> str:
    """Return the address of an http or https proxy. SOCKS would need another library."""
    expected = "http://HOST:PORT or https://HOST:PORT"
    parts = _split(text, expected)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(expected)
    return text


def parse_report_url(text: str) -> str:
    """Return a web address, or an address with any other scheme, which Apprise may know.

    Addresses for Apprise need not be valid URLs: ``tgram://123:abc/chat``.
    """
    scheme, separator, rest = text.partition("://")
    if scheme.lower() in ("http", "https"):
        return parse_web_url(text)
    is_clean = text.isprintable() and " " not in text
    if not separator or not rest or _SCHEME.fullmatch(scheme) is None or not is_clean:
        raise ValueError("https://HOST/PATH, or an address of Apprise such as ntfy://HOST/TOPIC")
    return text


def parse_web_url(text: str) -> str:
    """Return an https address, or an http address in the user's own network.

    The path is often a token, which must not be sent unencrypted.
    """
    expected = "https://HOST/PATH (http:// only to this machine or your own network)"
    parts = _split(text, expected)
    if not parts.hostname or parts.scheme not in ("http", "https") or parts.fragment:
        raise ValueError(expected)
    if parts.scheme == "http" and not _is_in_own_network(parts.hostname):
        raise ValueError(expected)
    return text


def names_link_local_host(url: str) -> bool:
    """Return whether an address for reports names a link-local host, where clouds serve credentials."""
    return any(is_link_local(host.strip("[]")) for host in _hosts_of(url))


def _hosts_of(url: str) -> Iterator[str]:
    """Yield the host of an address, and the query values of an Apprise address, which may be hosts too."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # not a valid URL, so it has no host
        return
    yield host or ""
    if parts.scheme not in ("http", "https"):  # mailto://...?smtp=HOST
        yield from (value for _, value in parse_qsl(parts.query))


def parse_database_url(text: str) -> str:
    """Return a PostgreSQL URL as SQLAlchemy spells it for psycopg 3.

    SQLite needs no URL: its database is ``archive.db`` in the archive's directory.
    """
    expected = "postgresql+psycopg://USER@HOST/NAME (without it, the database is archive.db in the directory)"
    scheme, _, rest = text.partition("://")
    if scheme not in _POSTGRES_SCHEMES or not rest:
        raise ValueError(expected)
    if not _split(f"postgresql://{rest}", expected).path.strip("/"):
        raise ValueError(expected)
    return f"postgresql+psycopg://{rest}"


def parse_storage_url(text: str) -> str:
    """Return ``s3://bucket/prefix`` without a slash at its end. The message never quotes a key in it."""
    from archiver.store.bucket_settings import parse_location  # most archives have no use for it

    try:
        return parse_location(text).url
    except ConfigError as error:
        raise ValueError(f"s3://BUCKET/PREFIX: {error}" + (f"; {error.hint}" if error.hint else "")) from None


def parse_host_pattern(text: str) -> str:
    """Return a host of the CDN in lower case, or a pattern: ``*.`` and at least two labels.

    ``*.com`` would let a hostile answer point almost anywhere.
    """
    expected = 'hosts such as "*.fbcdn.net", without scheme and port'
    pattern = text.strip().lower().removeprefix("[").removesuffix("]")
    name = pattern.removeprefix("*.")
    if is_this_machine(name) and name == pattern:
        return pattern
    if not is_host_name(name) or (name != pattern and "." not in name):
        raise ValueError(expected)
    return pattern


def _is_in_own_network(host: str) -> bool:
    """Return whether a host is a private address, a name without a dot, or below a suffix for private use."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_SUFFIXES)
    return address.is_private and not address.is_unspecified


def _split(text: str, expected: str) -> SplitResult:
    """Return the parts of a URL. The message of ``urlsplit`` itself would quote the URL and its password."""
    if not text.isprintable() or " " in text:
        raise ValueError(expected)
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError(expected) from None
    return parts
