"""The files of a site, from a walk through the archive.

A page comes after the media that it shows; the first page comes last. Memory holds the items of one page,
what the page of each account and the first page show, the digests of the media so far, and the pk, date and
place of each item of one account, whose items wait in a temporary file for the pages of their years.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime

from msgspec import Struct, field, msgpack
from msgspec.structs import replace

from archiver.export.export_entry import ExportEntry
from archiver.model.archived import KeptAccount, KeptFile, KeptHighlight, Placed
from archiver.model.identity import Digest, Pk
from archiver.pages import cards, html_pages, page_text
from archiver.pages.cards import TimeSpan, account_directory, media_path
from archiver.pages.view_model import AccountCard, DetailList, HighlightCover, ItemDetail, ItemsPage, ItemTile

LATEST_ITEMS = 24
"""How many items the page of an account shows."""

ITEMS_PER_PAGE = 500
"""How many items each of the further pages of an account shows at most."""

_IN_MEMORY = 1 << 20
_UNDATED = 0  # in place of a year

FormerTitles = Callable[[Pk], Mapping[Pk, tuple[str, ...]]]
"""The former titles of each highlight of an account, the latest first."""


def site_entries(
    steps: Iterable[KeptAccount | KeptHighlight | Placed],
    former_titles: FormerTitles,
    *,
    with_gone: bool = True,
) -> Iterator[ExportEntry]:
    """Yield the files of the site, from what ``content.walk`` yields.

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


class _TileFile:
    """The tiles of an account in a temporary file, to be read year by year."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._places: dict[int, list[tuple[float, Pk, int, int]]] = {}

    def add(self, tile: ItemTile) -> None:
        """Add a tile. Its texts are kept as pages show them, its highlight as far as they name it."""
        details = tuple(DetailList(one.heading, tuple(map(_clean, one.details))) for one in tile.detail_lists)
        shown = replace(tile.highlight, title=page_text.clean(tile.highlight.title or ""), covers=())
        content = msgpack.encode(replace(tile, detail_lists=details, highlight=shown))
        at = tile.taken_at.astimezone(UTC) if tile.taken_at is not None else None
        places = self._places.setdefault(at.year if at else _UNDATED, [])
        places.append((at.timestamp() if at else 0, tile.pk, self._file.tell(), len(content)))
        self._file.write(content)

    def pages(self) -> list[tuple[ItemsPage, list[tuple[float, Pk, int, int]]]]:
        """Return the pages, the latest first, with the places of their items.

        A year with many items is divided from its first item on, so that later ones change few pages.
        """
        pages = []
        for year in sorted(self._places):
            places = sorted(self._places[year])
            title = str(year) if year != _UNDATED else "Undated"
            for part, start in enumerate(range(0, len(places), ITEMS_PER_PAGE), 1):
                name, more = f"items-{title.lower()}", len(places) > ITEMS_PER_PAGE
                page = ItemsPage(
                    name if part == 1 else f"{name}-{part}",
                    f"{title}, part {part}" if more else title,
                    len(places[start : start + ITEMS_PER_PAGE]),
                )
                pages.append((page, places[start : start + ITEMS_PER_PAGE]))
        return pages[::-1]

    def read(self, places: Iterable[tuple[float, Pk, int, int]]) -> Iterator[ItemTile]:
        """Yield the tiles at these places."""
        for _, _, offset, length in places:
            self._file.seek(offset)
            yield msgpack.decode(self._file.read(length), type=ItemTile)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def _clean(detail: ItemDetail) -> ItemDetail:
    return replace(detail, text=page_text.clean(detail.text), note=page_text.clean(detail.note))


class _AccountPages(Struct):
    """The pages of one account, made while the walk goes through its highlights."""

    account: KeptAccount
    former_titles: Mapping[Pk, tuple[str, ...]]
    span: TimeSpan = field(default_factory=TimeSpan)
    changes: TimeSpan = field(default_factory=TimeSpan)
    seen: set[Pk] = field(default_factory=set)
    covers: list[HighlightCover] = field(default_factory=list)
    latest: list[tuple[datetime, Pk, ItemTile]] = field(default_factory=list)
    everything: _TileFile = field(default_factory=_TileFile)
    highlight: KeptHighlight | None = None
    tiles: list[ItemTile] = field(default_factory=list)

    def begin_highlight(self, highlight: KeptHighlight) -> Iterator[ExportEntry | KeptFile]:
        """Yield the page of the previous highlight, and the cover of this one."""
        yield from self._finish_highlight(highlight)
        if highlight.source is None:
            self.changes.add(highlight.first_seen_at)
            self.changes.add(highlight.gone_at)
        if highlight.cover is not None:
            yield highlight.cover

    def add_item(self, placed: Placed) -> Iterator[KeptFile]:
        """Add an item to the highlight, and yield its files."""
        assert self.highlight is not None
        yield from placed.item.held
        tile = cards.make_tile(placed, self.highlight, html_pages.account_name(self.account))
        self.tiles.append(tile)
        if placed.source is None:
            self.changes.add(placed.first_seen_at)
            self.changes.add(placed.gone_at)
        if tile.pk in self.seen:
            return
        self.seen.add(tile.pk)
        self.everything.add(tile)
        self.span.add(tile.taken_at)
        if tile.taken_at is not None and tile.is_shown:
            add = heapq.heappush if len(self.latest) < LATEST_ITEMS else heapq.heappushpop
            add(self.latest, (tile.taken_at, tile.pk, tile))

    def finish(self) -> Iterator[ExportEntry | KeptFile]:
        """Yield the page of the last highlight, the avatar, and the pages of the account."""
        yield from self._finish_highlight(None)
        self.changes.add(self.account.gone_at)
        if self.account.avatar is not None:
            yield self.account.avatar
        latest = [tile for _, _, tile in sorted(self.latest, reverse=True, key=lambda entry: entry[:2])]
        pages = self.everything.pages() if len(self.seen) > len(latest) else []
        links = [page for page, _ in pages]
        for link, places in pages:
            tiles = list(self.everything.read(reversed(places)))
            text = html_pages.items_page(self.account, link, links, tiles)
            yield self._page_entry(f"items {self.account.pk} {link.name}", link.name, text)
        self.everything.close()
        page = html_pages.account_page(self.card(), self.covers, latest, pages=links)
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
