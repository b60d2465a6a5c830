"""An Atom feed (RFC 4287) of the items and accounts that are new in the archive."""

from __future__ import annotations

from datetime import UTC, datetime

from archiver.catalog import Catalog
from archiver.catalog.query import page_contents
from archiver.model.archived import KeptAccount, ShownItem
from archiver.pages import html_pages, page_text
from archiver.pages.cards import media_path
from archiver.pages.view_model import AtomFeed, FeedEntry, FeedFile
from archiver.web import page_parts
from archiver.web.page_parts import Page, PageRequest

FEED_PATH = "/feed.atom"
ENTRIES = 60
MEDIA_TYPE = "application/atom+xml; charset=utf-8"
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def show_feed(catalog: Catalog, request: PageRequest) -> Page:
    """Return the feed. Its links begin with the origin of the request, its ids with that of the archive."""
    with catalog.snapshot() as snapshot:
        items = snapshot.read(page_contents.new_items, ENTRIES)
        shown = snapshot.read(page_contents.shown_items, [place.pk for place in items])
        new = snapshot.read(page_contents.new_accounts, ENTRIES)
        accounts = page_parts.read_accounts(snapshot, [place.pk for place in new])
    urn = f"urn:archiver:{catalog.archive_id}"
    entries = [_item_entry(urn, place.at, shown[place.pk]) for place in items if place.pk in shown]
    entries += [_account_entry(urn, place.at, accounts[place.pk]) for place in new]
    entries = sorted(entries, key=lambda entry: entry.updated, reverse=True)[:ENTRIES]
    updated = entries[0].updated if entries else _NEVER
    feed = AtomFeed(f"{urn}:items", request.origin, updated, tuple(entries))
    return Page(html_pages.atom_feed(feed).encode(), MEDIA_TYPE)


def _item_entry(urn: str, updated: datetime, shown: ShownItem) -> FeedEntry:
    tile, item = page_parts.make_shown_tile(shown), shown.placed.item
    return FeedEntry(
        f"{urn}:item:{item.pk}",
        updated,
        tile.alt,
        page_parts.account_link(shown.account),
        f"item/{item.pk}",
        tile.taken_at,
        tile.picture,
        (
            page_text.shorten(shown.highlight.title or "") or "Untitled",
            *(f"{of.heading}: {', '.join(detail.text for detail in of.details)}" for of in tile.detail_lists),
        ),
        tuple(FeedFile(media_path(file), file.blob.mime, file.blob.size) for file in item.held),
    )


def _account_entry(urn: str, updated: datetime, account: KeptAccount) -> FeedEntry:
    author = page_parts.account_link(account)
    title = f"New in the archive: {author.name}"
    text = "What it showed on that day is no news: it is on the page of the account, not in this feed."
    return FeedEntry(
        f"{urn}:account:{account.pk}",
        updated,
        title,
        author,
        page_parts.account_href(account),
        paragraphs=(text,),
    )
