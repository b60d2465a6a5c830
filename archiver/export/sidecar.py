"""What the rows tell of an account, a highlight, an item, as JSON for whoever has no database: exact, keys sorted. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime

from archiver.model.archived import KeptAccount, KeptHighlight, Placed
from archiver.text_format import format_time


def of_account(account: KeptAccount) -> bytes:
    """The JSON beside an account's avatar."""
    return _written({"account": account})


def of_highlight(account: KeptAccount, highlight: KeptHighlight) -> bytes:
    """The JSON beside a highlight's cover."""
    return _written({"account": _named(account), "highlight": highlight})


def of_item(account: KeptAccount, highlight: KeptHighlight, placed: Placed) -> bytes:
    """The JSON beside an item: the item, and its place in this highlight."""
    place = {
        "position": placed.position,
        "first_seen_at": placed.first_seen_at,
        "last_seen_at": placed.last_seen_at,
        "gone_at": placed.gone_at,
    }
    in_highlight = {"pk": highlight.pk, "title": highlight.title}
    return _written(
        {"account": _named(account), "highlight": in_highlight, "place": place, "item": placed.item}
    )


def _named(account: KeptAccount) -> dict[str, object]:
    return {"pk": account.pk, "username": account.username}


def _written(value: Mapping[str, object]) -> bytes:
    text = json.dumps(_plain(value), ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
    return f"{text}\n".encode(errors="replace")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return format_time(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value
