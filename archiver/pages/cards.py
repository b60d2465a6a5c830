"""How accounts, highlights and items are shown, by an export and the server: as cards, covers and tiles.

Of the files of an item, those are shown that a browser can show; its details are put in words. The paths of
pages and media are relative to the first page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from msgspec import Struct

from archiver.media.formats import extension_for
from archiver.model.archived import KeptAccount, KeptFile, KeptHighlight, KeptItem, Placed
from archiver.model.identity import MEDIA_TYPE_NAMES, Pk, Role
from archiver.model.upstream import Location, Sticker
from archiver.pages import html_pages, page_text
from archiver.pages.view_model import (
    AccountCard,
    DetailList,
    DownloadLink,
    HighlightCover,
    ItemDetail,
    ItemTile,
    Picture,
)
from archiver.text_format import format_size

T = TypeVar("T")

# What every browser shows. Only one of them shows HEIC.
_PICTURES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/avif"})
_VIDEOS = frozenset({"video/mp4", "video/quicktime"})


def account_directory(account: KeptAccount) -> str:
    """Return the directory of an account's pages: its name, in characters that a URL can have, and its pk."""
    name = re.sub(r"[^a-z0-9._-]+", "_", (account.username or "").lower()).strip("._-")[:60]
    return f"accounts/{name or 'account'}-{account.pk}"


def media_path(file: KeptFile) -> str:
    """Return the path of a file: its digest and type, and nothing that a stranger chose."""
    digest = file.blob.sha256
    return f"media/{digest[:2]}/{digest}.{extension_for(file.blob.mime)}"


def to_picture(file: KeptFile | None) -> Picture | None:
    """Return the file as a picture; None if there is no file, or some browsers could not show it."""
    if file is None or file.blob.mime not in _PICTURES:
        return None
    return Picture(media_path(file), file.blob.width, file.blob.height)


def make_tile(placed: Placed, highlight: KeptHighlight, account_name: str) -> ItemTile:
    """Return the tile of an item in a highlight."""
    item = placed.item
    pictures = [file for file in item.held if file.blob.mime in _PICTURES]
    videos = [file for file in item.held if file.blob.mime in _VIDEOS]
    others = [file for file in item.held if file not in pictures + videos]
    detail_lists = tuple(_detail_lists(item, highlight))
    kind = "video" if videos else MEDIA_TYPE_NAMES.get(item.media_type, "photo" if pictures else "item")
    return ItemTile(
        item.pk,
        kind,
        _alternative_text(kind, item, account_name, detail_lists),
        item.taken_at,
        placed.gone_at,
        to_picture(pictures[0]) if pictures else None,
        media_path(videos[0]) if videos else None,
        item.video_duration,
        tuple(DownloadLink(media_path(file), _type_and_size(file)) for file in others),
        detail_lists,
        highlight,
        page_text.item_address(item) if placed.gone_at is None and highlight.gone_at is None else None,
        source=placed.source,
    )


def _type_and_size(file: KeptFile) -> str:
    extension = extension_for(file.blob.mime)
    kind = "unknown type" if extension == "bin" else extension.upper()
    return f"{kind}, {format_size(file.blob.size)}"


def _alternative_text(
    kind: str, item: KeptItem, account_name: str, detail_lists: tuple[DetailList, ...]
) -> str:
    """Describe a picture: whose it is, when it was taken, and its mentions, places and hashtags."""
    when = f", {page_text.format_moment(item.taken_at)}" if item.taken_at is not None else ""
    sentences = [f"{kind.capitalize()} by {page_text.shorten(account_name, 40)}{when}."]
    sentences += [
        f"{shown.heading}: {', '.join(page_text.shorten(detail.text, 40) for detail in shown.details[:5])}."
        for shown in detail_lists
        if shown.heading in ("Mentions", "Places", "Hashtags")
    ]
    return " ".join(sentences)


def _detail_lists(item: KeptItem, highlight: KeptHighlight) -> Iterator[DetailList]:
    is_repost = item.user_pk != highlight.user_pk
    kinds: tuple[tuple[str, Iterator[ItemDetail]], ...] = (
        ("Mentions", _map(lambda m: _account(m.username, m.user_pk, m.full_name), item.mentions)),
        ("Links", _links(item)),
        ("Hashtags", _map(lambda h: ItemDetail(f"#{h.name}") if h.name else None, item.hashtags)),
        ("Places", _map(_place, item.locations)),
        ("Polls and stickers", _map(_sticker, item.stickers)),
        ("Sponsors", _map(lambda s: _account(s.username, s.user_pk), item.sponsors)),
        ("Shares", _map(lambda r: ItemDetail(f"post {r.media_code or r.media_pk or '?'}"), item.reshares)),
        ("Adopted from", _map(_adopted_from, item.held)),
        ("Posted by", iter([ItemDetail(f"account {item.user_pk}")] if is_repost else [])),
    )
    for heading, details in kinds:
        unique = tuple(dict.fromkeys(details))
        if unique:
            yield DetailList(heading, unique)


def _map(to_detail: Callable[[T], ItemDetail | None], values: tuple[T, ...]) -> Iterator[ItemDetail]:
    return (detail for value in values if (detail := to_detail(value)) is not None)


def _account(username: str | None, pk: str | None, full_name: str | None = None) -> ItemDetail:
    return ItemDetail(f"@{username}" if username else f"account {pk or '?'}", full_name or "")


def _adopted_from(file: KeptFile) -> ItemDetail | None:
    """Return which tool downloaded a file, if it was not this program."""
    what = "video" if file.role is Role.VIDEO else "picture"
    return ItemDetail(file.source, f"the {what}") if file.source is not None else None


def _links(item: KeptItem) -> Iterator[ItemDetail]:
    """Yield each link under its title or address, with the host that it leads to; an unsafe one as text."""
    for link in item.web_links:
        address = page_text.web_address(link.url)
        if address is None:
            text = link.title or link.url
            yield ItemDetail(text, "" if link.url == text else link.url)
        else:
            yield ItemDetail(link.title or link.display_url or link.url, address.host, address.href)


def _place(place: Location) -> ItemDetail | None:
    point = f"{place.lat:.4f}, {place.lng:.4f}" if place.lat is not None and place.lng is not None else ""
    if place.name:
        return ItemDetail(place.name, point)
    return ItemDetail(point) if point else None


def _sticker(sticker: Sticker) -> ItemDetail | None:
    """Return the question and answers of a poll, or the kind of another sticker; None for a link."""
    if sticker.kind == "story_link":  # one of ``_links``
        return None
    try:
        extra = json.loads(sticker.extra)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        return ItemDetail(sticker.kind)
    question = extra.get("question")
    options = extra.get("options")
    answers = [_answer(one) for one in options if isinstance(one, dict)] if isinstance(options, list) else []
    note = " · ".join(filter(None, answers))
    return ItemDetail(question if isinstance(question, str) and question else sticker.kind, note)


def _answer(option: dict[str, object]) -> str:
    text, votes = option.get("text"), option.get("count")
    if not isinstance(text, str):
        return ""
    return f"{text}: {votes:,}" if isinstance(votes, int) else text


class TimeSpan(Struct):
    """When the first and the last item were taken, as far as that is known."""

    first: datetime | None = None
    last: datetime | None = None

    def add(self, at: datetime | None) -> None:
        """Take in when one more item was taken."""
        if at is not None:
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)


def make_card(
    account: KeptAccount, highlights: int, items: int, span: TimeSpan, changed_at: datetime | None = None
) -> AccountCard:
    """Return the card of an account with that many highlights and items."""
    avatar = to_picture(account.avatar)
    directory = account_directory(account)
    return AccountCard(account, directory, avatar, highlights, items, span.first, span.last, changed_at)


def make_cover(
    highlight: KeptHighlight,
    first_picture: Picture | None,
    items: int,
    span: TimeSpan,
    former_titles: Sequence[str] = (),
) -> HighlightCover:
    """Return the cover of a highlight. ``first_picture`` of its items is used if its own is not archived."""
    picture = to_picture(highlight.cover) or first_picture
    return HighlightCover(highlight, picture, items, span.first, span.last, tuple(former_titles))


def by_name(account: KeptAccount) -> tuple[str, Pk]:
    """Return the key by which accounts are sorted: the name that is shown, whatever its case."""
    return html_pages.account_name(account).lstrip("@").casefold(), account.pk
