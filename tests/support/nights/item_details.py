"""What items carry (mentions, links, hashtags ...): the rows that the world's JSON amounts to, and the rows
that there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from archiver.sandbox.world_objects import Json, SandboxItem
from tests.support.archive_harness import ArchiveHarness

Rows = tuple[tuple[object, ...], ...]
_PLACE = ("x", "y", "width", "height", "rotation")
_COLUMNS = {
    "mentions": "user_pk, username, full_name, x, y, width, height, rotation",
    "links": "url, title, display_url, source",
    "hashtags": "hashtag_pk, name",
    "locations": "location_pk, name, lat, lng",
    "stickers": "kind, extra",
    "reshares": "media_pk, media_code, user_pk, product_type",
    "sponsors": "user_pk, username",
}


def expected_rows(item: SandboxItem) -> dict[str, Rows]:
    """By table, the rows of an item without their positions, sorted: what is learnt later stands behind what
    was known.
    """
    stickers, polls = _objects(item.stickers), _objects(item.polls or ())
    stories = [cast(Mapping[str, Json], s["story_link"]) for s in stickers if s.get("story_link")]
    rows: dict[str, Rows] = {
        "mentions": tuple(_mention(m) for m in _objects(item.mentions)),
        "links": (
            *((one["webUri"], None, None, "link") for one in _objects(item.links)),
            *((s["url"], s["link_title"], s["display_url"], "sticker") for s in stories),
        ),
        "hashtags": _inner(item.hashtags, "hashtag", lambda tag: (_pk(tag["id"]), tag["name"])),
        "locations": _inner(
            item.locations, "location", lambda at: (_pk(at["pk"]), at["name"], at["lat"], at["lng"])
        ),
        "stickers": tuple((s["type"], _text(s)) for s in (*stickers, *polls)),
        "reshares": tuple(
            (_pk(m["media_pk"]), m["media_code"], _pk(m["user_id"]), m["product_type"])
            for m in _objects(item.medias)
        ),
        "sponsors": tuple((_pk(s["pk"]), s["username"]) for s in _objects(item.sponsor_tags)),
    }
    return {table: _sorted(found) for table, found in rows.items()}


def stored_rows(harness: ArchiveHarness) -> dict[str, dict[str, Rows]]:
    """By table, the rows that the catalog has of each item, sorted."""
    found: dict[str, dict[str, Rows]] = {}
    for table, columns in _COLUMNS.items():
        of_items: dict[str, list[tuple[object, ...]]] = {}
        for pk, *row in harness.rows(f"select item_pk, {columns} from {table}"):
            of_items.setdefault(str(pk), []).append(tuple(row))
        found[table] = {pk: _sorted(rows) for pk, rows in of_items.items()}
    return found


def add_details(item: SandboxItem, number: int) -> SandboxItem:
    """One more of everything that an item can carry, told apart by ``number``."""
    place: dict[str, Json] = dict(zip(_PLACE, (0.5, 0.25, 0.3, 0.05, 0.0), strict=True))
    someone: dict[str, Json] = {"pk": str(900 + number), "username": f"seen{number}", "full_name": "S"}
    story: Json = {"url": f"https://a.example/{number}", "link_title": "Read", "display_url": "a.example"}
    item.mentions = [*item.mentions, {"user": someone, **place}]
    item.links = [*item.links, {"webUri": f"https://b.example/{number}", **place}]
    tag: Json = {"id": str(700 + number), "name": f"tag{number}"}
    item.hashtags = [*item.hashtags, {"hashtag": tag, **place}]
    here: Json = {"pk": 800 + number, "name": "Here", "lat": 1.5, "lng": -2.5}
    item.locations = [*item.locations, {"location": here, **place}]
    item.stickers = [*item.stickers, {"type": "story_link", "story_link": story, **place}]
    item.polls = [*(item.polls or []), {"type": "poll", "question": f"{number}?", "story_link": None}]
    reshared: Json = {"media_pk": 10**18 + number, "media_code": "abc", "user_id": 5, "product_type": "clips"}
    item.medias = [*item.medias, reshared]
    item.sponsor_tags = [*item.sponsor_tags, {"pk": str(600 + number), "username": "sponsor"}]
    return item


def _sorted(rows: Iterable[tuple[object, ...]]) -> Rows:
    return tuple(sorted(rows, key=repr))


def _objects(entries: Iterable[Json]) -> list[Mapping[str, Json]]:
    return [entry for entry in entries if isinstance(entry, dict)]


def _inner(
    entries: Iterable[Json], name: str, row: Callable[[Mapping[str, Json]], tuple[object, ...]]
) -> Rows:
    return tuple(row(cast(Mapping[str, Json], entry[name])) for entry in _objects(entries))


def _mention(entry: Mapping[str, Json]) -> tuple[object, ...]:
    user = cast(Mapping[str, Json], entry["user"])
    return (_pk(user["pk"]), user["username"], user["full_name"], *(entry[name] for name in _PLACE))


def _pk(value: Json) -> str:
    return str(value)


def _text(sticker: Mapping[str, Json]) -> str:
    return json.dumps(sticker, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
