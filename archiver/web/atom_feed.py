"""An Atom feed (RFC 4287) of the items that the archive saw last for the first time."""

from __future__ import annotations

from datetime import UTC, datetime

from archiver.catalog import Catalog
from archiver.catalog.query import newest_items
from archiver.model.archived import ShownItem
from archiver.pages import html_pages
from archiver.pages.page_paths import media_path
from archiver.pages.view_model import AtomFeed, FeedEntry, FeedFile
from archiver.web import page_parts
from archiver.web.view import Page, PageRequest

FEED_PATH = "/feed.atom"
ENTRIES = 60
MEDIA_TYPE = "application/atom+xml; charset=utf-8"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def show_feed(catalog: Catalog, request: PageRequest) -> Page:
    """Return the feed. Its links begin with the origin of the request, its ids with that of the archive."""
    with catalog.snapshot() as snapshot:
        newest = snapshot.read(newest_items.newest_seen, ENTRIES)
        shown = snapshot.read(newest_items.shown_items, [place.pk for place in newest])
    urn = f"urn:archiver:{catalog.archive_id}"
    entries = tuple(_entry(urn, place.at, shown[place.pk]) for place in newest if place.pk in shown)
    updated = newest[0].at if newest else _NEVER
    feed = AtomFeed(f"{urn}:items", request.origin, updated, entries)
    return Page(html_pages.atom_feed(feed).encode(), MEDIA_TYPE)


def _entry(urn: str, updated: datetime, shown: ShownItem) -> FeedEntry:
    files = tuple(
        FeedFile(media_path(file), file.blob.mime, file.blob.size) for file in shown.placed.item.held
    )
    return FeedEntry(f"{urn}:item:{shown.placed.item.pk}", updated, page_parts.make_shown_tile(shown), files)
