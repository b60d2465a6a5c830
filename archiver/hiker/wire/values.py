"""Single values of the API → single values of the model."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from archiver import signed_url
from archiver.hiker.wire.shapes import Identity, Moment
from archiver.model.identity import Pk, Role, is_pk
from archiver.model.upstream import Link

_TEXT_BYTES = 65_536
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_SHOP = re.compile(r"shop:[0-9]{1,40}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def pk(value: Identity | None) -> Pk | None:
    """A pk from digits or an integer, without the prefix ``highlight:`` of some answers; None for anything else."""
    if value is None:
        return None
    text = str(value).removeprefix("highlight:")
    return text if is_pk(text) else None


def shop_id(value: Identity | None) -> str | None:
    """The id of a highlight of products, ``shop:`` and digits (seen in 2022, instagrapi issue 1030); None for
    any other. What it shows are no stories, and no endpoint is known that gives it."""
    return value if isinstance(value, str) and _SHOP.fullmatch(value) else None


def text(value: str | None) -> str | None:
    """A text of at most 64 kB in UTF-8, cut between two characters; '' stays ''."""
    if value is None or len(value) * 4 <= _TEXT_BYTES:
        return value
    return value.encode()[:_TEXT_BYTES].decode(errors="ignore")


def said(value: str | None) -> str | None:
    """A text, or None where it is empty and so says nothing."""
    return text(value) or None


def moment(value: Moment | None) -> datetime | None:
    """A time from ISO 8601 (``Z`` or an offset; UTC if it states none) or Unix seconds; UTC. None before 1970 or past 9999."""
    if value is None:
        return None
    try:
        if isinstance(value, int):
            found = datetime.fromtimestamp(value, UTC)
        elif _ISO.fullmatch(value):
            found = datetime.fromisoformat(value)
            found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return found if found >= _EPOCH else None


def link(role: Role, url: str | None) -> Link | None:
    """The Link of a URL, with the expiry that its signature states."""
    return Link(role, url, signed_url.parse_expiry(url)) if url is not None else None
