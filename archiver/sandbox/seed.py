"""The two accounts of the vendor's example answers, read from the examples themselves and completed where those are cut.

``examples/*.json`` are the answers of the vendor's documentation as printed there, URLs cut to ``...`` and all. natgeo's three
highlights are shown there without items: they get 12, 11 and 11 of our own, with one of everything that an item can carry.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TypedDict, cast

from archiver.sandbox import build, media
from archiver.sandbox.things import Account, Highlight, Item, Json

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
    """An answer of the documentation: ``highlight_by_url``, ``user_highlights`` or ``user_highlights_by_username``."""
    return cast(Json, json.loads((_EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))


def accounts() -> list[Account]:
    """natgeo and salwaaa_ki, with all their highlights and items."""
    return [_natgeo(), _salwaaa_ki()]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _account(user: _User, biography: str) -> Account:
    return Account(
        user["pk"],
        user["username"],
        user["full_name"],
        build.avatar(user["pk"]),
        user["is_private"],
        user["is_verified"],
        biography=biography,
    )


def _highlight(shown: _Highlight) -> Highlight:
    cover = shown["cover_media"]
    return Highlight(
        shown["pk"],
        shown["user"]["pk"],
        shown["title"],
        _seconds(shown["created_at"]),
        shown["latest_reel_media"],
        build.cover(shown["pk"]),
        is_pinned=shown["is_pinned_highlight"],
        crop_rect=cover["crop_rect"],
        cover_media_pk=cover["media_id"].partition("_")[0] if cover["media_id"] else None,
    )


def _salwaaa_ki() -> Account:
    shown = cast(_Highlight, example("highlight_by_url"))
    account = _account(shown["user"], "🦋")
    highlight = _highlight(shown)
    for number, one in enumerate(shown["items"]):
        made = build.item(one["pk"], account.pk, _seconds(one["taken_at"]), "video", number)
        made.duration = one["video_duration"]
        highlight.items.append(made)
    highlight.uncounted = shown["media_count"] - len(highlight.items)
    account.highlights.append(highlight)
    return account


def _natgeo() -> Account:
    tray = cast(list[_Highlight], example("user_highlights"))
    account = _account(
        tray[0]["user"], "Step into wonder and find your inner explorer with National Geographic 🌎"
    )
    for shown in tray:
        highlight = _highlight(shown)
        newest = shown["latest_reel_media"]
        for place in range(shown["media_count"]):
            taken_at = newest - 5400 * (shown["media_count"] - 1 - place)
            kind: build.Kind = "video" if place % 3 == 1 else "photo"
            highlight.items.append(
                build.item(build.media_pk(taken_at, place), account.pk, taken_at, kind, place)
            )
        highlight.crop_rect = [0.0, 0.21875, 1.0, 0.78125]
        highlight.cover_media_pk = highlight.items[0].pk
        account.highlights.append(highlight)
    gifts, books, limitless = (list(h.items) for h in account.highlights)
    account.highlights[0].items[0] = books[-1]  # one item, two highlights
    _dress(gifts)
    _disguise(books)
    _twins(limitless)
    return account


def _place(x: float, y: float) -> dict[str, Json]:
    return {"x": x, "y": y, "width": 0.3, "height": 0.05, "rotation": 0.0}


def _user(pk: str, username: str, full_name: str) -> dict[str, Json]:
    return {
        "pk": pk,
        "id": pk,
        "username": username,
        "full_name": full_name,
        "profile_pic_url": None,
        "profile_pic_url_hd": None,
        "is_private": False,
        "is_verified": True,
    }


def _dress(items: list[Item]) -> None:
    """One of everything that an item can carry, on the items after the first."""
    animals = _user("1029649300", "natgeoanimals", "National Geographic Animals")
    travel = _user("23947096", "natgeotravel", "National Geographic Travel")
    items[1].mentions = [{"user": animals, **_place(0.5, 0.25)}, {"user": travel, **_place(0.5, 0.75)}]
    items[2].links = [
        {"webUri": "https://www.nationalgeographic.com/books?utm_source=ig&l=en", **_place(0.5, 0.5)}
    ]
    hashtag: dict[str, Json] = {
        "id": "17843819167049166",
        "name": "giftguide",
        "media_count": None,
        "profile_pic_url": None,
    }
    items[3].hashtags = [{"hashtag": hashtag, **_place(0.4, 0.6)}]
    location: dict[str, Json] = {
        "pk": 212988663,
        "name": "Yosemite National Park",
        "lat": 37.8651,
        "lng": -119.5383,
        "external_id": None,
        "external_id_source": None,
        "address": "",
        "city": "",
    }
    items[4].locations = [{"location": location, **_place(0.5, 0.1)}]
    story_link: dict[str, Json] = {
        "url": "https://on.natgeo.com/gifts",
        "link_title": "Read the guide",
        "display_url": "on.natgeo.com",
    }
    items[5].stickers = [
        {
            "id": "story_link_1",
            "type": "story_link",
            **_place(0.5, 0.9),
            "story_link": story_link,
            "extra": {},
        },
        {
            "id": "emoji_slider_2",
            "type": "slider",
            **_place(0.2, 0.4),
            "story_link": None,
            "extra": {"emoji": "🎁", "votes": 1204},
        },
    ]
    items[6].polls = [
        {
            "id": "17990000000000001",
            "type": "poll",
            "question": "Mountains or sea?",
            "options": [{"text": "Mountains 🏔", "count": 8121}, {"text": "Sea 🌊", "count": 7733}],
            **_place(0.5, 0.6),
        }
    ]
    items[7].medias = [
        {
            "media_pk": 3870025531093850440,
            "media_code": "DW1F7dciplI",
            "user_id": 1029649300,
            "product_type": "clips",
            **_place(0.5, 0.5),
        }
    ]
    items[8].sponsor_tags = [_user("18091046", "natgeotv", "National Geographic TV")]


def _disguise(items: list[Item]) -> None:
    """Names that lie, as they do upstream: a WebP, a JPEG called .heic, a WebP called .jpg."""
    for place, base, suffix in (
        (0, media.WEBP, "webp"),
        (2, media.PHOTOS[0], "heic"),
        (3, media.WEBP, "jpg"),
    ):
        items[place].thumbnail = build.file("thumbnail", items[place].pk, base, suffix=suffix)


def _twins(items: list[Item]) -> None:
    """Two items with the same bytes under different names."""
    first, second = items[2].thumbnail, items[3].thumbnail
    if first is not None and second is not None:
        second.base, second.mark = first.base, first.mark
