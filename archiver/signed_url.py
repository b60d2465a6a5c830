"""Signed CDN URLs read as text: when they expire, what may be shown of them, what stays the same between two answers. Pure.

Facts: ``oe=`` in the query is the expiry, hexadecimal Unix time; host, ``oh`` and ``_nc_*`` change with every answer while the
path's basename stays (HIKERAPI.md, "The CDN").
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from urllib.parse import parse_qsl, unquote, urlsplit

_HEX = re.compile(r"[0-9A-Fa-f]{1,12}")
_SHOWN = 200
_FAR = 253_402_300_799  # 9999-12-31: beyond it datetime has no words


def expires_at(url: str) -> datetime | None:
    """When the URL's signature expires (UTC), or None where it states nothing readable. Never raises."""
    try:
        query = urlsplit(url).query
        value = next((v for k, v in parse_qsl(query, max_num_fields=200) if k == "oe"), "")
    except ValueError:
        return None
    if _HEX.fullmatch(value) is None or int(value, 16) > _FAR:
        return None
    return datetime.fromtimestamp(int(value, 16), UTC)


def basename(url: str) -> str | None:
    """The last path segment, percent-decoded: what identifies a picture across answers. None if there is none. Never raises."""
    try:
        name = unquote(urlsplit(url).path.rpartition("/")[2], errors="replace")
    except ValueError:
        return None
    return name[:_SHOWN].replace("\x00", "") or None


def without_query(url: str) -> str:
    """The URL without query, fragment and user part: what may stand in a row. '' for what is no URL. Never raises."""
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


def redacted(url: str) -> str:
    """Host and the tail of the path, what does not print as blanks: what may stand in a log or a message. Never raises."""
    try:
        host = urlsplit(url).hostname or "?"
    except ValueError:
        host = "?"
    shown = f"{host[:_SHOWN]}/…/{basename(url) or ''}"
    return "".join(c if c.isprintable() else " " for c in shown)
