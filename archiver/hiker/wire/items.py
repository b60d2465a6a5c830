"""One story item with all that is attached to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from archiver import signed_url
from archiver.hiker.wire import shapes
from archiver.hiker.wire.shapes import Entries, WireItem, best_of, read, read_all
from archiver.hiker.wire.values import link, moment, pk, said
from archiver.model.identity import Pk, Role
from archiver.model.upstream import Hashtag, Item, Link, Location, Mention, Reshare, Sponsor, Sticker, WebLink

_EXTRA_MAX = 65_536
_SIGNED_URL = re.compile(r"https?://\S*[?&](oe|oh)=", re.IGNORECASE)


def item_of(shape: WireItem, item_pk: Pk) -> Item:
    """An Item. Its side lists keep the order of the answer; the links of stickers follow the plain ones, polls the stickers."""
    owner = read(shapes.WireUser, shape.user)
    duration = shape.video_duration
    return Item(
        pk=item_pk,
        user_pk=pk(owner.pk) if owner is not None else None,
        code=said(shape.code),
        taken_at=moment(shape.taken_at),
        media_type=shape.media_type,
        product_type=said(shape.product_type),
        video_duration=duration if duration is not None and duration >= 0 else None,
        links=_links(shape),
        mentions=tuple(_mentions(shape.mentions)),
        web_links=(*_web_links(shape.links), *_sticker_links(shape.stickers)),
        hashtags=tuple(_hashtags(shape.hashtags)),
        locations=tuple(_locations(shape.locations)),
        stickers=(*_stickers(shape.stickers, "sticker"), *_stickers(shape.polls, "poll")),
        reshares=tuple(_reshares(shape.medias)),
        sponsors=tuple(_sponsors(shape.sponsor_tags)),
        cut=tuple(_cut(shape)),
    )


def _cut(shape: WireItem) -> Iterator[tuple[str, int]]:
    for name in ("mentions", "links", "hashtags", "locations", "stickers", "polls", "medias", "sponsor_tags"):
        entries: Entries | None = getattr(shape, name)
        if entries is not None and len(entries) > shapes.ENTRIES_MAX:
            yield name, len(entries)


def _links(shape: WireItem) -> tuple[Link, ...]:
    """What an item offers to download. Raw media (v2) offer versions in place of one URL, the best first."""
    pictures = read(shapes.WirePictures, shape.image_versions2)
    offered = (
        link(Role.THUMBNAIL, shape.thumbnail_url or best_of(pictures.candidates if pictures else None)),
        link(Role.VIDEO, shape.video_url or best_of(shape.video_versions)),
    )
    return tuple(found for found in offered if found is not None)


def _mentions(entries: Entries | None) -> Iterator[Mention]:
    for entry in read_all(shapes.WireMention, entries):
        user = read(shapes.WireUser, entry.user)
        if user is None:
            continue
        username, user_pk = said(user.username), pk(user.pk)
        if username or user_pk:
            place = (entry.x, entry.y, entry.width, entry.height, entry.rotation)
            yield Mention(username, user_pk, said(user.full_name), *place)


def _sponsors(entries: Entries | None) -> Iterator[Sponsor]:
    for user in read_all(shapes.WireUser, entries):
        username, user_pk = said(user.username), pk(user.pk)
        if username or user_pk:
            yield Sponsor(username, user_pk)


def _web_links(entries: Entries | None) -> Iterator[WebLink]:
    for entry in read_all(shapes.WireWebLink, entries):
        if entry.webUri is not None:
            yield WebLink(entry.webUri)


def _sticker_links(entries: Entries | None) -> Iterator[WebLink]:
    for entry in read_all(shapes.WireSticker, entries):
        story = read(shapes.WireStoryLink, entry.story_link)
        if story is not None and story.url is not None:
            yield WebLink(story.url, said(story.link_title), said(story.display_url), "sticker")


def _hashtags(entries: Entries | None) -> Iterator[Hashtag]:
    for entry in read_all(shapes.WireHashtagEntry, entries):
        tag = read(shapes.WireHashtag, entry.hashtag)
        if tag is not None and (said(tag.name) or pk(tag.id)):
            yield Hashtag(said(tag.name), pk(tag.id))


def _locations(entries: Entries | None) -> Iterator[Location]:
    for entry in read_all(shapes.WireLocationEntry, entries):
        place = read(shapes.WireLocation, entry.location)
        if place is not None and (said(place.name) or pk(place.pk)):
            yield Location(said(place.name), pk(place.pk), place.lat, place.lng)


def _reshares(entries: Entries | None) -> Iterator[Reshare]:
    for post in read_all(shapes.WireReshare, entries):
        media_pk, code = pk(post.media_pk), said(post.media_code)
        if media_pk or code:
            yield Reshare(media_pk, code, pk(post.user_id), said(post.product_type))


def _stickers(entries: Entries | None, kind: str) -> Iterator[Sticker]:
    """Stickers whole, as JSON. One of more than 64 kB is left out: cut JSON would be none."""
    for raw in (entries or [])[: shapes.ENTRIES_MAX]:
        shape = read(shapes.WireSticker, raw)
        if shape is None:
            continue
        extra = json.dumps(_unsigned(raw), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        if len(extra.encode()) <= _EXTRA_MAX:
            yield Sticker(said(shape.type) or kind, extra)


def _unsigned(node: object) -> object:
    """The tree with signed URLs cut to what may stand in a row."""
    if isinstance(node, str):
        return signed_url.without_query(node) if _SIGNED_URL.match(node) else node
    if isinstance(node, list):
        return [_unsigned(child) for child in node]
    if isinstance(node, dict):
        return {key: _unsigned(child) for key, child in node.items()}
    return node
