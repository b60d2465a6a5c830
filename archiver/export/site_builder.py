"""The files of a site, from a walk through the archive.

A page comes after the media that it shows; the first page comes last. Memory holds the items of one
highlight, what the page of each account and the first page show, and the digests of the media so far.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from msgspec import Struct, field

from archiver.export.export_entry import ExportEntry
from archiver.model.archived import KeptAccount, KeptFile, KeptHighlight, Placed
from archiver.model.identity import Digest, Pk
from archiver.pages import cards, html_pages, item_tiles
from archiver.pages.cards import TimeSpan
from archiver.pages.page_paths import account_directory, media_path
from archiver.pages.view_model import AccountCard, HighlightCover, ItemTile

LATEST_ITEMS = 24
"""How many items the page of an account shows."""

FormerTitles = Callable[[Pk], Mapping[Pk, tuple[str, ...]]]
"""The former titles of each highlight of an account, the latest first."""


def site_entries(
    steps: Iterable[KeptAccount | KeptHighlight | Placed],
    former_titles: FormerTitles,
    *,
    with_gone: bool = True,
) -> Iterator[ExportEntry]:
    """Yield the files of the site, from what ``query.walk`` yields.

    Without ``with_gone`` everything that upstream no longer shows is left out. No file has alternative names,
    because the pages link to each other by these names.
    """
    for name in html_pages.ASSETS:
        yield _text_entry(f"asset {name}", f"assets/{name}", html_pages.asset(name))
    seen: set[Digest] = set()
    for file in _SiteWalk(former_titles, with_gone).files(steps):
        if isinstance(file, ExportEntry):
            yield file
        elif file.blob.sha256 not in seen:
            seen.add(file.blob.sha256)
            path = tuple(media_path(file).split("/"))
            yield ExportEntry(f"media {file.blob.sha256}", path, file.blob.sha256, file.blob.size)


def _text_entry(id_: str, path: str, content: bytes) -> ExportEntry:
    return ExportEntry.of_text(id_, tuple(path.split("/")), content)


class _SiteWalk:
    def __init__(self, former_titles: FormerTitles, with_gone: bool) -> None:
        self._former_titles, self._with_gone = former_titles, with_gone
        self._cards: list[AccountCard] = []

    def files(
        self, steps: Iterable[KeptAccount | KeptHighlight | Placed]
    ) -> Iterator[ExportEntry | KeptFile]:
        account: _AccountPages | None = None
        shows_highlight = True
        for step in steps:
            if isinstance(step, KeptAccount):
                if account is not None:
                    yield from self._finish(account)
                account = _AccountPages(step, self._former_titles(step.pk))
                continue
            assert account is not None  # a walk yields an account before its highlights
            is_shown = self._with_gone or step.gone_at is None
            if isinstance(step, KeptHighlight):
                shows_highlight = is_shown
                if is_shown:
                    yield from account.begin_highlight(step)
            elif shows_highlight and is_shown:
                yield from account.add_item(step)
        if account is not None:
            yield from self._finish(account)
        shown = sorted(self._cards, key=lambda card: cards.by_name(card.account))
        yield _text_entry("page index", "index.html", html_pages.index_page(shown).encode())

    def _finish(self, account: _AccountPages) -> Iterator[ExportEntry | KeptFile]:
        yield from account.finish()
        self._cards.append(account.card())


class _AccountPages(Struct):
    """The pages of one account, made while the walk goes through its highlights."""

    account: KeptAccount
    former_titles: Mapping[Pk, tuple[str, ...]]
    span: TimeSpan = field(default_factory=TimeSpan)
    changes: TimeSpan = field(default_factory=TimeSpan)
    seen: set[Pk] = field(default_factory=set)
    covers: list[HighlightCover] = field(default_factory=list)
    latest: list[tuple[datetime, Pk, ItemTile]] = field(default_factory=list)
    highlight: KeptHighlight | None = None
    tiles: list[ItemTile] = field(default_factory=list)

    def begin_highlight(self, highlight: KeptHighlight) -> Iterator[ExportEntry | KeptFile]:
        """Yield the page of the previous highlight, and the cover of this one."""
        yield from self._finish_highlight(highlight)
        self.changes.add(highlight.first_seen_at)
        self.changes.add(highlight.gone_at)
        if highlight.cover is not None:
            yield highlight.cover

    def add_item(self, placed: Placed) -> Iterator[KeptFile]:
        """Add an item to the highlight, and yield its files."""
        assert self.highlight is not None
        yield from placed.item.held
        tile = item_tiles.make_tile(placed, self.highlight, html_pages.account_name(self.account))
        self.tiles.append(tile)
        self.changes.add(placed.first_seen_at)
        self.changes.add(placed.gone_at)
        if tile.pk in self.seen:
            return
        self.seen.add(tile.pk)
        self.span.add(tile.taken_at)
        if tile.taken_at is not None and tile.is_shown:
            add = heapq.heappush if len(self.latest) < LATEST_ITEMS else heapq.heappushpop
            add(self.latest, (tile.taken_at, tile.pk, tile))

    def finish(self) -> Iterator[ExportEntry | KeptFile]:
        """Yield the page of the last highlight, the avatar, and the page of the account."""
        yield from self._finish_highlight(None)
        self.changes.add(self.account.gone_at)
        if self.account.avatar is not None:
            yield self.account.avatar
        latest = [tile for _, _, tile in sorted(self.latest, reverse=True, key=lambda entry: entry[:2])]
        page = html_pages.account_page(self.card(), self.covers, latest)
        yield self._page_entry(f"account {self.account.pk}", "index", page)

    def card(self) -> AccountCard:
        """Return what the first page shows of the account."""
        return cards.make_card(self.account, len(self.covers), len(self.seen), self.span, self.changes.last)

    def _finish_highlight(self, following: KeptHighlight | None) -> Iterator[ExportEntry]:
        """Yield the page of the current highlight, if there is one, and begin the next."""
        highlight = self.highlight
        if highlight is not None:
            before = self.covers[-1].highlight if self.covers else None
            cover = self._cover(highlight)
            self.covers.append(cover)
            page = html_pages.highlight_page(self.account, cover, self.tiles, before, following)
            yield self._page_entry(f"highlight {highlight.pk}", highlight.pk, page)
        self.highlight, self.tiles = following, []

    def _cover(self, highlight: KeptHighlight) -> HighlightCover:
        span = TimeSpan()
        for tile in self.tiles:
            span.add(tile.taken_at)
        first = next((tile.picture for tile in self.tiles if tile.picture is not None), None)
        former = self.former_titles.get(highlight.pk, ())
        return cards.make_cover(highlight, first, len(self.tiles), span, former)

    def _page_entry(self, id_: str, name: str, page: str) -> ExportEntry:
        return _text_entry(f"page {id_}", f"{account_directory(self.account)}/{name}.html", page.encode())
