"""The two accounts of the vendor's example answers, completed where the examples are cut.

``examples/*.json`` are the answers as the vendor's documentation prints them, with URLs cut to ``...``. They
show natgeo's three highlights without items; we add 12, 11 and 11 items, which together have one example of
every detail.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TypedDict, cast

from archiver.sandbox import item_factory, media_files
from archiver.sandbox.world_objects import Json, SandboxAccount, SandboxHighlight, SandboxItem

_EXAMPLES = Path(__file__).with_name("examples")


class _User(TypedDict):
    pk: str
    username: str
    full_name: str
    is_private: bool
    is_verified: bool


class _Cover(TypedDict):
    crop_rect: list[float] | None
    media_id: str | None


class _Item(TypedDict):
    pk: str
    taken_at: str
    video_duration: float


class _Highlight(TypedDict):
    pk: str
    user: _User
    title: str
    created_at: str
    latest_reel_media: int
    is_pinned_highlight: bool
    media_count: int
    cover_media: _Cover
    items: list[_Item]


def example(name: str) -> Json:
    """Return an answer of the documentation by the name of its file in ``examples/``."""
    return cast(Json, json.loads((_EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))


def accounts() -> list[SandboxAccount]:
    """Return natgeo and salwaaa_ki, with all their highlights and items."""
    return [_natgeo(), _salwaaa_ki()]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _account(user: _User, biography: str) -> SandboxAccount:
    return SandboxAccount(
        user["pk"],
        user["username"],
        user["full_name"],
        item_factory.avatar(user["pk"]),
        user["is_private"],
        user["is_verified"],
        biography=biography,
    )


def _highlight(answer: _Highlight) -> SandboxHighlight:
    cover = answer["cover_media"]
    return SandboxHighlight(
        answer["pk"],
        answer["user"]["pk"],
        answer["title"],
        _seconds(answer["created_at"]),
        answer["latest_reel_media"],
        item_factory.cover(answer["pk"]),
        is_pinned=answer["is_pinned_highlight"],
        crop_rect=cover["crop_rect"],
        cover_media_pk=cover["media_id"].partition("_")[0] if cover["media_id"] else None,
    )


def _salwaaa_ki() -> SandboxAccount:
    answer = cast(_Highlight, example("highlight_by_url"))
    account = _account(answer["user"], "🦋")
    highlight = _highlight(answer)
    for number, one in enumerate(answer["items"]):
        item = item_factory.item(one["pk"], account.pk, _seconds(one["taken_at"]), "video", number)
        item.duration = one["video_duration"]
        highlight.items.append(item)
    highlight.uncounted = answer["media_count"] - len(highlight.items)
    account.highlights.append(highlight)
    return account


def _natgeo() -> SandboxAccount:
    tray = cast(list[_Highlight], example("user_highlights"))
    account = _account(
        tray[0]["user"], "Step into wonder and find your inner explorer with National Geographic 🌎"
    )
    for answer in tray:
        highlight = _highlight(answer)
        newest = answer["latest_reel_media"]
        for place in range(answer["media_count"]):
            taken_at = newest - 5400 * (answer["media_count"] - 1 - place)
            kind: item_factory.Kind = "video" if place % 3 == 1 else "photo"
            highlight.items.append(
                item_factory.item(item_factory.media_pk(taken_at, place), account.pk, taken_at, kind, place)
            )
        highlight.crop_rect = [0.0, 0.21875, 1.0, 0.78125]
        highlight.cover_media_pk = highlight.items[0].pk
        account.highlights.append(highlight)
    gifts, books, limitless = (list(h.items) for h in account.highlights)
    account.highlights[0].items[0] = books[-1]  # one item, two highlights
    _add_details(gifts)
    _set_misleading_names(books)
    _make_duplicates(limitless)
    return account


def _add_details(items: list[SandboxItem]) -> None:
    """Add one example of every detail that an item can have, spread over the items."""
    for item, details in zip(items, cast(list[dict[str, list[Json]]], example("item_details")), strict=False):
        for name, entries in details.items():
            setattr(item, name, entries)


def _set_misleading_names(items: list[SandboxItem]) -> None:
    """Give files misleading names, as upstream does: a WebP, a JPEG called .heic, a WebP called .jpg."""
    for place, base, suffix in (
        (0, media_files.WEBP, "webp"),
        (2, media_files.PHOTOS[0], "heic"),
        (3, media_files.WEBP, "jpg"),
    ):
        items[place].thumbnail = item_factory.file("thumbnail", items[place].pk, base, suffix=suffix)


def _make_duplicates(items: list[SandboxItem]) -> None:
    """Give two items the same bytes under different names."""
    first, second = items[2].thumbnail, items[3].thumbnail
    if first is not None and second is not None:
        second.base, second.mark = first.base, first.mark
