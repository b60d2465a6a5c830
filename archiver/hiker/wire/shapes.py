"""The API's shapes, field by field. Every field has a default; ``read`` fills what it can.

Nested shapes are kept raw here (``Raw``, ``Entries``) and read by themselves, so that a bad one costs only itself.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

Raw = dict[str, object]
Entries = list[object]
Identity = str | int
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Url = Annotated[str, Meta(min_length=1, max_length=16_384)]
Moment = str | int
PageId = Annotated[str, Meta(max_length=4_096)] | int

ENTRIES_MAX = 10_000
"""Entries of one list that are read: docs/schema.md names this limit."""


class WireUser(Struct):
    pk: Identity | None = None
    username: str | None = None
    full_name: str | None = None
    profile_pic_url: Url | None = None
    profile_pic_url_hd: Url | None = None
    is_private: bool | None = None
    is_verified: bool | None = None


class WirePicture(Struct):
    url: Url | None = None


class WireCover(Struct):
    cropped_image_version: Raw | None = None
    full_image_version: Raw | None = None
    image_versions2: Raw | None = None


class WirePictures(Struct):
    candidates: Entries | None = None


class WireHighlight(Struct):
    pk: Identity | None = None
    id: Identity | None = None
    user: Raw | None = None
    title: str | None = None
    created_at: Moment | None = None
    latest_reel_media: Count | None = None
    media_count: Count | None = None
    is_pinned_highlight: bool | None = None
    cover_media: Raw | None = None
    items: Entries | None = None


class WireReelPage(Struct):
    response: Raw | None = None


class WireReels(Struct):
    reels: Raw | None = None


class WireTrayPage(Struct):
    response: Raw | None = None
    next_page_id: PageId | None = None


class WireTrayList(Struct):
    tray: Entries | None = None


class WireItem(Struct):
    pk: Identity | None = None
    user: Raw | None = None
    code: str | None = None
    taken_at: Moment | None = None
    media_type: Count | None = None
    product_type: str | None = None
    thumbnail_url: Url | None = None
    video_url: Url | None = None
    image_versions2: Raw | None = None
    video_versions: Entries | None = None
    video_duration: float | None = None
    mentions: Entries | None = None
    links: Entries | None = None
    hashtags: Entries | None = None
    locations: Entries | None = None
    stickers: Entries | None = None
    polls: Entries | None = None
    medias: Entries | None = None
    sponsor_tags: Entries | None = None


class WireMention(Struct):
    user: Raw | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None


class WireWebLink(Struct):
    webUri: Url | None = None  # noqa: N815 (the API's own spelling)


class WireStoryLink(Struct):
    url: Url | None = None
    link_title: str | None = None
    display_url: str | None = None


class WireSticker(Struct):
    type: str | None = None
    story_link: Raw | None = None


class WireHashtagEntry(Struct):
    hashtag: Raw | None = None


class WireHashtag(Struct):
    id: Identity | None = None
    name: str | None = None


class WireLocationEntry(Struct):
    location: Raw | None = None


class WireLocation(Struct):
    pk: Identity | None = None
    name: str | None = None
    lat: float | None = None
    lng: float | None = None


class WireReshare(Struct):
    media_pk: Identity | None = None
    media_code: str | None = None
    user_id: Identity | None = None
    product_type: str | None = None


class WireBalance(Struct):
    requests: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    rate: float | None = None


S = TypeVar("S", bound=Struct)


def read(kind: type[S], raw: object) -> S | None:
    """``raw`` as ``kind``, or None if it is no object. A field that is null, absent or of a wrong type keeps its default."""
    if not isinstance(raw, dict):
        return None
    fields: dict[str, object] = {}
    for field in _fields(kind):
        value = raw.get(field.name)
        if value is None:
            continue
        try:
            fields[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            continue
    return msgspec.convert(fields, kind)


def read_all(kind: type[S], entries: Entries | None) -> list[S]:
    """The entries that are objects, as ``kind``; at most 10,000 of them."""
    return [found for raw in (entries or [])[:ENTRIES_MAX] if (found := read(kind, raw)) is not None]


def best_of(versions: Entries | None) -> str | None:
    """The URL of the first version of a picture or video that has one: raw media list the best first."""
    return next((one.url for one in read_all(WirePicture, versions) if one.url is not None), None)


@cache
def _fields(kind: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


# Now, by the one thread that imports: msgspec works a shape out at its first use, and two threads at once end the process.
for _kind in Struct.__subclasses__():
    if _kind.__module__ == __name__:
        read(_kind, {})
