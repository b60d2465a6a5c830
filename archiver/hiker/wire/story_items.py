"""Story items, with everything that is attached to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from archiver import signed_url
from archiver.hiker.wire import shapes
from archiver.hiker.wire.shapes import (
    Entries,
    WireItem,
    first_url,
    make_link,
    read_nonempty,
    read_object,
    read_objects,
    read_pk,
    read_time,
)
from archiver.model.identity import Role
from archiver.model.upstream import (
    Hashtag,
    Item,
    Link,
    Location,
    Mention,
    RejectedEntry,
    Reshare,
    Sponsor,
    Sticker,
    WebLink,
)

NOT_AN_OBJECT = "it is not an object"
NO_PK = "it has no numeric pk"

_MAX_STICKER = 65_536  # bytes of JSON
_SIGNED_URL = re.compile(r"https?://\S*[?&](oe|oh)=", re.IGNORECASE)


def to_item(raw: object) -> Item | RejectedEntry:
    """Return a story item with everything attached to it, or the reason why ``raw`` is not one.

    Its side lists keep the order of the answer. The links of stickers follow the plain links, and polls
    follow the stickers.
    """
    shape = read_object(WireItem, raw)
    if shape is None:
        return RejectedEntry("", NOT_AN_OBJECT)
    item_pk = read_pk(shape.pk)
    if item_pk is None:
        return RejectedEntry("", NO_PK)
    owner = read_object(shapes.WireUser, shape.user)
    duration = shape.video_duration
    return Item(
        pk=item_pk,
        user_pk=read_pk(owner.pk) if owner is not None else None,
        code=read_nonempty(shape.code),
        taken_at=read_time(shape.taken_at),
        media_type=shape.media_type,
        product_type=read_nonempty(shape.product_type),
        video_duration=duration if duration is not None and duration >= 0 else None,
        links=_links(shape),
        mentions=tuple(_mentions(shape.mentions)),
        web_links=(*_web_links(shape.links), *_sticker_links(shape.stickers)),
        hashtags=tuple(_hashtags(shape.hashtags)),
        locations=tuple(_locations(shape.locations)),
        stickers=(*_stickers(shape.stickers, "sticker"), *_stickers(shape.polls, "poll")),
        reshares=tuple(_reshares(shape.medias)),
        sponsors=tuple(_sponsors(shape.sponsor_tags)),
        cut_lists=tuple(_cut_lists(shape)),
    )


def _cut_lists(shape: WireItem) -> Iterator[tuple[str, int]]:
    for name in ("mentions", "links", "hashtags", "locations", "stickers", "polls", "medias", "sponsor_tags"):
        entries: Entries | None = getattr(shape, name)
        if entries is not None and len(entries) > shapes.ENTRIES_MAX:
            yield name, len(entries)


def _links(shape: WireItem) -> tuple[Link, ...]:
    """Return the links that an item offers.

    Instead of one URL, raw media (v2) list several versions, best first.
    """
    pictures = read_object(shapes.WirePictures, shape.image_versions2)
    offered = (
        make_link(
            Role.THUMBNAIL, shape.thumbnail_url or first_url(pictures.candidates if pictures else None)
        ),
        make_link(Role.VIDEO, shape.video_url or first_url(shape.video_versions)),
    )
    return tuple(link for link in offered if link is not None)


def _mentions(entries: Entries | None) -> Iterator[Mention]:
    for entry in read_objects(shapes.WireMention, entries):
        user = read_object(shapes.WireUser, entry.user)
        if user is None:
            continue
        username, user_pk = read_nonempty(user.username), read_pk(user.pk)
        if username or user_pk:
            place = (entry.x, entry.y, entry.width, entry.height, entry.rotation)
            yield Mention(username, user_pk, read_nonempty(user.full_name), *place)


def _sponsors(entries: Entries | None) -> Iterator[Sponsor]:
    for user in read_objects(shapes.WireUser, entries):
        username, user_pk = read_nonempty(user.username), read_pk(user.pk)
        if username or user_pk:
            yield Sponsor(username, user_pk)


def _web_links(entries: Entries | None) -> Iterator[WebLink]:
    for entry in read_objects(shapes.WireWebLink, entries):
        if entry.web_uri is not None:
            yield WebLink(entry.web_uri)


def _sticker_links(entries: Entries | None) -> Iterator[WebLink]:
    for entry in read_objects(shapes.WireSticker, entries):
        story = read_object(shapes.WireStoryLink, entry.story_link)
        if story is not None and story.url is not None:
            yield WebLink(
                story.url, read_nonempty(story.link_title), read_nonempty(story.display_url), "sticker"
            )


def _hashtags(entries: Entries | None) -> Iterator[Hashtag]:
    for entry in read_objects(shapes.WireHashtagEntry, entries):
        tag = read_object(shapes.WireHashtag, entry.hashtag)
        if tag is not None and (read_nonempty(tag.name) or read_pk(tag.id)):
            yield Hashtag(read_nonempty(tag.name), read_pk(tag.id))


def _locations(entries: Entries | None) -> Iterator[Location]:
    for entry in read_objects(shapes.WireLocationEntry, entries):
        place = read_object(shapes.WireLocation, entry.location)
        if place is not None and (read_nonempty(place.name) or read_pk(place.pk)):
            yield Location(read_nonempty(place.name), read_pk(place.pk), place.lat, place.lng)


def _reshares(entries: Entries | None) -> Iterator[Reshare]:
    for post in read_objects(shapes.WireReshare, entries):
        media_pk, code = read_pk(post.media_pk), read_nonempty(post.media_code)
        if media_pk or code:
            yield Reshare(media_pk, code, read_pk(post.user_id), read_nonempty(post.product_type))


def _stickers(entries: Entries | None, kind: str) -> Iterator[Sticker]:
    """Yield stickers as complete JSON. One of more than 64 kB is left out, as JSON cannot be cut."""
    for raw in (entries or [])[: shapes.ENTRIES_MAX]:
        shape = read_object(shapes.WireSticker, raw)
        if shape is None:
            continue
        extra = json.dumps(_without_signature(raw), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        if len(extra.encode()) <= _MAX_STICKER:
            yield Sticker(read_nonempty(shape.type) or kind, extra)


def _without_signature(node: object) -> object:
    """Return a JSON tree in which signed URLs have no query, safe to store."""
    if isinstance(node, str):
        return signed_url.without_query(node) if _SIGNED_URL.match(node) else node
    if isinstance(node, list):
        return [_without_signature(child) for child in node]
    if isinstance(node, dict):
        return {key: _without_signature(child) for key, child in node.items()}
    return node
