"""How a placed item is shown: which of its files a browser may show, and in words what it carries. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TypeVar

from archiver.export import names
from archiver.export.site import words
from archiver.export.site.model import Download, Entry, Fact, Picture, Tile
from archiver.model.archived import MEDIA_TYPE_NAMES, KeptFile, KeptHighlight, KeptItem, Placed
from archiver.model.upstream import Location, Sticker

T = TypeVar("T")

PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"})
"""Raster pictures that every browser shows: HEIC only one does."""

VIDEOS = frozenset({"video/mp4", "video/quicktime"})


def path_of(file: KeptFile) -> str:
    """Where a file lies in the site: by its digest and the type of its bytes, never by a name that anybody chose."""
    return f"media/{file.blob.sha256[:2]}/{file.blob.sha256}.{names.extension(file.blob.mime)}"


def picture_of(file: KeptFile | None) -> Picture | None:
    """The file as a picture; None if there is none, or a browser might not show it."""
    if file is None or file.blob.mime not in PICTURES:
        return None
    return Picture(path_of(file), file.blob.width, file.blob.height)


def tile(placed: Placed, highlight: KeptHighlight, who: str) -> Tile:
    """The item as it is shown in its place; ``who`` is the account that shows it, by name."""
    item = placed.item
    pictures = [file for file in item.held if file.blob.mime in PICTURES]
    videos = [file for file in item.held if file.blob.mime in VIDEOS]
    others = tuple(Download(path_of(f), _about(f)) for f in item.held if f not in pictures + videos)
    facts = tuple(_facts(item, highlight))
    kind = "video" if videos else MEDIA_TYPE_NAMES.get(item.media_type, "photo" if pictures else "item")
    return Tile(
        item.pk,
        kind,
        _alternative(kind, item, who, facts),
        item.taken_at,
        placed.gone_at,
        picture_of(pictures[0]) if pictures else None,
        path_of(videos[0]) if videos else None,
        item.video_duration,
        others,
        facts,
        highlight,
    )


def _about(file: KeptFile) -> str:
    kind = names.extension(file.blob.mime)
    return f"{'unknown type' if kind == 'bin' else kind.upper()}, {words.size(file.blob.size)}"


def _alternative(kind: str, item: KeptItem, who: str, facts: tuple[Fact, ...]) -> str:
    """What is known of a picture that nobody has described: who, when, and what it carries."""
    when = f", {words.moment(item.taken_at)}" if item.taken_at is not None else ""
    told = [f"{kind.capitalize()} by {words.short(who, 40)}{when}."]
    told += [
        f"{fact.term}: {', '.join(words.short(entry.text, 40) for entry in fact.entries[:5])}."
        for fact in facts
        if fact.term in ("Mentions", "Places", "Hashtags")
    ]
    return " ".join(told)


def _facts(item: KeptItem, highlight: KeptHighlight) -> Iterator[Fact]:
    kinds: tuple[tuple[str, Iterator[Entry]], ...] = (
        ("Mentions", _each(item.mentions, lambda m: _name(m.username, m.user_pk, m.full_name))),
        ("Links", _links(item)),
        ("Hashtags", _each(item.hashtags, lambda h: Entry(f"#{h.name}") if h.name else None)),
        ("Places", _each(item.locations, _place)),
        ("Polls and stickers", _stickers(item.stickers)),
        ("Sponsors", _each(item.sponsors, lambda s: _name(s.username, s.user_pk))),
        ("Shares", _each(item.reshares, lambda r: Entry(f"post {r.media_code or r.media_pk or '?'}"))),
        ("Posted by", iter([Entry(f"account {item.user_pk}")] if item.user_pk != highlight.user_pk else [])),
    )
    for term, entries in kinds:
        found = tuple(dict.fromkeys(entries))
        if found:
            yield Fact(term, found)


def _each(things: tuple[T, ...], entry: Callable[[T], Entry | None]) -> Iterator[Entry]:
    return (found for thing in things if (found := entry(thing)) is not None)


def _name(username: str | None, pk: str | None, full_name: str | None = None) -> Entry:
    return Entry(f"@{username}" if username else f"account {pk or '?'}", full_name or "")


def _links(item: KeptItem) -> Iterator[Entry]:
    """Links under their title or address, beside it the host that they lead to; one that is not to be followed is text."""
    for link in item.web_links:
        where = words.address(link.url)
        text = link.title or (link.display_url if where is not None else None) or link.url
        yield (
            Entry(text, where.host, where.href)
            if where is not None
            else Entry(text, _plainly(link.url, text))
        )


def _plainly(url: str, text: str) -> str:
    return "" if url == text else url


def _place(place: Location) -> Entry | None:
    spot = f"{place.lat:.4f}, {place.lng:.4f}" if place.lat is not None and place.lng is not None else ""
    if place.name:
        return Entry(place.name, spot)
    return Entry(spot) if spot else None


def _stickers(stickers: tuple[Sticker, ...]) -> Iterator[Entry]:
    for sticker in stickers:
        if sticker.kind != "story_link":  # stands among the links
            yield _sticker(sticker)


def _sticker(sticker: Sticker) -> Entry:
    """What a sticker asks and what was answered, where its JSON says so in the way that polls do; else its kind."""
    try:
        extra = json.loads(sticker.extra)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        return Entry(sticker.kind)
    question = extra.get("question")
    options = extra.get("options")
    answers = [_answer(one) for one in options if isinstance(one, dict)] if isinstance(options, list) else []
    note = " · ".join(filter(None, answers))
    return Entry(question if isinstance(question, str) and question else sticker.kind, note)


def _answer(option: dict[str, object]) -> str:
    text, votes = option.get("text"), option.get("count")
    if not isinstance(text, str):
        return ""
    return f"{text}: {votes:,}" if isinstance(votes, int) else text
