"""Signed CDN URLs as text: when they expire, what is stable in them, and what may be shown. Pure.

``oe=`` in the query is the expiry as hexadecimal Unix time. The host, ``oh`` and ``_nc_*`` change with every
answer; the last segment of the path does not (HIKERAPI.md, "The CDN").
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

_EXPIRY = re.compile(r"(?:^|&)oe=([^&]*)")  # urllib's parser takes twenty times as long
_HEX = re.compile(r"[0-9A-Fa-f]{1,12}")
_MAX_FIELDS = 200
_MAX_NAME = 200
_MAX_TIME = 253_402_300_799  # 9999-12-31, the last day that datetime can express

_MAX_EXCERPT = 200
_MAX_READ = 1_000
_QUERY = re.compile(r"\?[^\s\"'<>]+=[^\s\"'<>]*")
_SIGNATURE = re.compile(r"\b(oe|oh|_nc_\w{1,20}|x-access-key)=[^&\s\"'<>]*", re.IGNORECASE)


def parse_expiry(url: str) -> datetime | None:
    """Return when the signature expires (UTC), or None if the URL does not state it. Never raises.

    The first ``oe`` counts, as it is written: the CDN does not encode it.
    """
    if "[" in url.partition("?")[0] or url.count("&") > _MAX_FIELDS:
        return None  # the CDN has no such links, and the host may be malformed
    found = _EXPIRY.search(url.partition("#")[0].partition("?")[2])
    seconds = int(found[1], 16) if found is not None and _HEX.fullmatch(found[1]) else _MAX_TIME + 1
    return datetime.fromtimestamp(seconds, UTC) if seconds <= _MAX_TIME else None


def basename(url: str) -> str | None:
    """Return the last path segment, percent-decoded, or None if there is none. Never raises.

    It identifies a picture across answers.
    """
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
    except ValueError:
        return None
    return name[:_MAX_NAME].replace("\x00", "") or None


def without_query(url: str) -> str:
    """Return the URL without query, fragment and user, safe to store; '' if it is not a URL. Never raises."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    if not parts.scheme or not host:
        return ""
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"


def redact(url: str) -> str:
    """Return the host and the last path segment, in printable characters, safe for a message.

    Never raises.
    """
    try:
        host = urlsplit(url).hostname or "?"
    except ValueError:
        host = "?"
    return _printable(f"{host[:_MAX_NAME]}/…/{basename(url) or ''}")


def excerpt(text: str) -> str:
    """Return at most 200 characters of untrusted text, on one line, safe for a message.

    URL queries and signatures are removed, and unprintable characters become spaces.
    """
    shown = _SIGNATURE.sub(r"\1=…", _QUERY.sub("?…", text[:_MAX_READ]))
    shown = " ".join(_printable(shown).split())
    return shown if len(shown) <= _MAX_EXCERPT else shown[: _MAX_EXCERPT - 1] + "…"


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
