"""The files of a site, from a walk through the archive: media as they are met, each page behind all that it shows, the first page last.

Memory holds one highlight at a time, of each account what its own page and the first page tell, and the digests met so far. Pure.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from archiver.export.site import items, pages
from archiver.export.site.model import Album, Card, Cover, Tile
from archiver.export.wanted import Wanted
from archiver.model.archived import KeptAccount, KeptFile, KeptHighlight, Placed
from archiver.model.identity import Digest, Pk

LATEST = 24
"""How many items an account's own page shows: the latest ones."""

Titles = Callable[[Pk], Mapping[Pk, tuple[str, ...]]]
"""What the highlights of an account were called before, the latest first."""


def wanted(
    steps: Iterable[KeptAccount | KeptHighlight | Placed], titles: Titles, *, gone: bool = True
) -> Iterator[Wanted]:
    """The files that the site consists of, of what ``query.walk`` yields; without ``gone`` what upstream shows no more is left out.

    No file has a second name to fall back on: pages lead to each other by these.
    """
    for name in pages.ASSETS:
        yield _text(f"asset {name}", f"assets/{name}", pages.asset(name))
    met: set[Digest] = set()
    for file in _Walk(titles, gone).through(steps):
        if isinstance(file, Wanted):
            yield file
        elif file.blob.sha256 not in met:
            met.add(file.blob.sha256)
            path = tuple(items.path_of(file).split("/"))
            yield Wanted(f"media {file.blob.sha256}", path, file.blob.sha256, file.blob.size)


def directory(account: KeptAccount) -> str:
    """Where the pages of an account are: a name for people, of letters that no system and no address has to write otherwise, and the pk."""
    name = re.sub(r"[^a-z0-9._-]+", "_", (account.username or "").lower()).strip("._-")[:60]
    return f"accounts/{name or 'account'}-{account.pk}"


def _text(id_: str, path: str, content: bytes) -> Wanted:
    return Wanted.text(id_, tuple(path.split("/")), content)


class _Walk:
    def __init__(self, titles: Titles, gone: bool) -> None:
        self._titles, self._gone = titles, gone
        self._cards: list[Card] = []

    def through(self, steps: Iterable[KeptAccount | KeptHighlight | Placed]) -> Iterator[Wanted | KeptFile]:
        account: _Account | None = None
        shows = True
        for step in steps:
            if isinstance(step, KeptAccount):
                if account is not None:
                    yield from self._end(account)
                account = _Account(step, self._titles(step.pk))
                continue
            assert account is not None  # a walk tells whose a highlight is before it shows one
            is_shown = self._gone or step.gone_at is None
            if isinstance(step, KeptHighlight):
                shows = is_shown
                if shows:
                    yield from account.begin(step)
            elif shows and is_shown:
                yield from account.add(step)
        if account is not None:
            yield from self._end(account)
        cards = sorted(
            self._cards, key=lambda card: (pages.who(card.account).lstrip("@").casefold(), card.account.pk)
        )
        yield _text("page index", "index.html", pages.index(cards).encode())

    def _end(self, account: _Account) -> Iterator[Wanted | KeptFile]:
        yield from account.end()
        self._cards.append(account.card())


@dataclass(slots=True)
class _Span:
    """From when to when."""

    first: datetime | None = None
    last: datetime | None = None

    def add(self, at: datetime | None) -> None:
        if at is not None:
            self.first = min(self.first or at, at)
            self.last = max(self.last or at, at)


@dataclass(slots=True)
class _Account:
    """An account whose highlights are being told."""

    account: KeptAccount
    titles: Mapping[Pk, tuple[str, ...]]
    span: _Span = field(default_factory=_Span)
    seen: set[Pk] = field(default_factory=set)
    covers: list[Cover] = field(default_factory=list)
    latest: list[tuple[datetime, Pk, Tile]] = field(default_factory=list)
    highlight: KeptHighlight | None = None
    tiles: list[Tile] = field(default_factory=list)

    def begin(self, highlight: KeptHighlight) -> Iterator[Wanted | KeptFile]:
        """A highlight; the one before it is told whole."""
        yield from self._turn(highlight)
        if highlight.cover is not None:
            yield highlight.cover

    def add(self, placed: Placed) -> Iterator[KeptFile]:
        """An item of that highlight."""
        assert self.highlight is not None
        yield from placed.item.held
        tile = items.tile(placed, self.highlight, pages.who(self.account))
        self.tiles.append(tile)
        if tile.pk in self.seen:
            return
        self.seen.add(tile.pk)
        self.span.add(tile.taken_at)
        if tile.taken_at is not None and tile.shows:
            add = heapq.heappush if len(self.latest) < LATEST else heapq.heappushpop
            add(self.latest, (tile.taken_at, tile.pk, tile))

    def end(self) -> Iterator[Wanted | KeptFile]:
        """What is left of the account, its own page last."""
        yield from self._turn(None)
        if self.account.avatar is not None:
            yield self.account.avatar
        latest = [tile for _, _, tile in sorted(self.latest, reverse=True, key=lambda entry: entry[:2])]
        yield self._page(
            f"account {self.account.pk}", "index", pages.account(self.card(), self.covers, latest)
        )

    def card(self) -> Card:
        """What the first page says of the account."""
        return Card(
            self.account,
            directory(self.account),
            items.picture_of(self.account.avatar),
            len(self.covers),
            len(self.seen),
            self.span.first,
            self.span.last,
        )

    def _turn(self, after: KeptHighlight | None) -> Iterator[Wanted]:
        """The highlight at hand is told whole: its page, and the next one begins."""
        highlight = self.highlight
        if highlight is not None:
            before = self.covers[-1].highlight if self.covers else None
            album = Album(self._cover(highlight), tuple(self.tiles))
            self.covers.append(album.cover)
            page = pages.highlight(self.account, album, before, after)
            yield self._page(f"highlight {highlight.pk}", highlight.pk, page)
        self.highlight, self.tiles = after, []

    def _cover(self, highlight: KeptHighlight) -> Cover:
        """As upstream shows it: where no cover is held, the first picture of its items stands for it."""
        span = _Span()
        for tile in self.tiles:
            span.add(tile.taken_at)
        first = next((tile.picture for tile in self.tiles if tile.picture is not None), None)
        return Cover(
            highlight,
            items.picture_of(highlight.cover) or first,
            len(self.tiles),
            span.first,
            span.last,
            self.titles.get(highlight.pk, ()),
        )

    def _page(self, id_: str, name: str, page: str) -> Wanted:
        return _text(f"page {id_}", f"{directory(self.account)}/{name}.html", page.encode())
