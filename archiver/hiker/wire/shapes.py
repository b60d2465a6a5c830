"""The objects of the API, field by field, and how their values are read. Only this package knows these names.

Every field has a default, and ``read_object`` fills in what it can. Nested objects stay raw here (``Raw``,
``Entries``) and are read separately, so that a broken one affects nothing else.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from archiver import signed_url
from archiver.model.identity import EPOCH, Pk, Role, is_pk
from archiver.model.upstream import Link

Raw = dict[str, object]
Entries = list[object]
Identity = str | int
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Url = Annotated[str, Meta(min_length=1, max_length=16_384)]
Moment = str | int
PageId = Annotated[str, Meta(max_length=4_096)] | int

ENTRIES_MAX = 10_000
"""The maximum number of entries read from one list. docs/schema.md states this limit."""

_MAX_TEXT = 65_536
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?", re.ASCII)
_SHOP = re.compile(r"shop:[0-9]{1,40}")


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


class WireWebLink(Struct, rename="camel"):
    web_uri: Url | None = None


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


def read_object(kind: type[S], raw: object) -> S | None:
    """Return ``raw`` as a ``kind``, or None if it is not an object.

    A field that is null, absent or of a wrong type or range keeps its default.
    """
    if not isinstance(raw, dict):
        return None
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError:
        return _read_field_by_field(kind, raw)


def _read_field_by_field(kind: type[S], raw: Raw) -> S:
    fields: dict[str, object] = {}
    for field in _fields(kind):
        value = raw.get(field.encode_name)
        if value is None:
            continue
        try:
            fields[field.encode_name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            continue
    return msgspec.convert(fields, kind)


def read_objects(kind: type[S], entries: Entries | None) -> list[S]:
    """Return the entries that are objects, each as a ``kind``; at most ``ENTRIES_MAX`` are read."""
    return [one for raw in (entries or [])[:ENTRIES_MAX] if (one := read_object(kind, raw)) is not None]


def first_url(versions: Entries | None) -> str | None:
    """Return the first URL among the versions of a picture or video, which raw media list best first."""
    return next((one.url for one in read_objects(WirePicture, versions) if one.url is not None), None)


@cache
def _fields(kind: type[Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)


def read_pk(value: Identity | None) -> Pk | None:
    """Return a pk from digits or an integer, without the prefix ``highlight:``; None for anything else.

    A float is refused: it has lost the last digits of the pk.
    """
    if value is None:
        return None
    text = str(value).removeprefix("highlight:")
    return text if is_pk(text) else None


def read_shop_id(value: Identity | None) -> str | None:
    """Return the id of a highlight of products, ``shop:`` and digits; None for any other id.

    Seen in 2022 (instagrapi issue 1030). It shows no stories, and no known endpoint returns it.
    """
    return value if isinstance(value, str) and _SHOP.fullmatch(value) else None


def read_text(value: str | None) -> str | None:
    """Return at most 64 kB of a text in UTF-8, cut between two characters; '' stays ''."""
    if value is None or len(value) * 4 <= _MAX_TEXT:
        return value
    return value.encode()[:_MAX_TEXT].decode(errors="ignore")


def read_nonempty(value: str | None) -> str | None:
    """Return a text as ``read_text`` does, or None if it is empty."""
    return read_text(value) or None


def read_time(value: Moment | None) -> datetime | None:
    """Return a UTC time from Unix seconds or ISO 8601, which is UTC if it states no offset.

    None for anything else, and for a time before 1970 or after 9999.
    """
    if value is None:
        return None
    try:
        if isinstance(value, int):
            moment = datetime.fromtimestamp(value, UTC)
        elif _ISO.fullmatch(value):
            moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment >= EPOCH else None


def make_link(role: Role, url: str | None) -> Link | None:
    """Return the link of a URL with the expiry of its signature; None if there is no URL."""
    return Link(role, url, signed_url.parse_expiry(url)) if url is not None else None


# msgspec analyses a shape at its first use, and crashes the process if two threads do that at once. So all
# shapes are used once here, by the thread that imports this module.
for _kind in Struct.__subclasses__():
    if _kind.__module__ == __name__:
        _read_field_by_field(_kind, {})
