"""The site of a walk through the archive: media as they are met, each page when all that it shows is placed, the first page last.

Memory holds one highlight at a time, and of each account what its own page and the first page tell.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from archiver.export.site import items, pages
from archiver.export.site.model import Album, Card, Cover, Picture, Tile
from archiver.model import KeptAccount, KeptFile, KeptHighlight, Pk, Placed

LATEST = 24
"""How many items an account's own page shows: the latest ones."""

Titles = Callable[[Pk], Mapping[Pk, tuple[str, ...]]]
"""What the highlights of an account were called before, the latest first."""


class Target(Protocol):
    """Where a site goes. Paths are relative to its directory, with ``/``."""

    def put(self, file: KeptFile, path: str) -> None:
        """Place the bytes of a file."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file of these bytes."""


def build(
    steps: Iterable[KeptAccount | KeptHighlight | Placed],
    target: Target,
    titles: Titles,
    directory: Callable[[KeptAccount], str],
) -> None:
    """Write the site of these steps, which come as ``query.walk`` gives them. ``directory`` names the place of an account's pages."""
    for name in pages.ASSETS:
        target.write(f"assets/{name}", pages.asset(name))
    cards: list[Card] = []
    account: _Account | None = None
    for step in steps:
        if isinstance(step, KeptAccount):
            if account is not None:
                cards.append(account.end())
            account = _Account(step, directory(step), target, titles(step.pk))
            continue
        assert account is not None  # a walk tells whose a highlight is before it shows one
        if isinstance(step, KeptHighlight):
            account.begin(step)
        else:
            account.add(step)
    if account is not None:
        cards.append(account.end())
    cards.sort(key=lambda card: (pages.who(card.account).lstrip("@").casefold(), card.account.pk))
    target.write("index.html", pages.index(cards).encode())


@dataclass(slots=True)
class _Span:
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
    directory: str
    target: Target
    titles: Mapping[Pk, tuple[str, ...]]
    span: _Span = field(default_factory=_Span)
    seen: set[Pk] = field(default_factory=set)
    covers: list[Cover] = field(default_factory=list)
    latest: list[tuple[datetime, Pk, Tile]] = field(default_factory=list)
    highlight: KeptHighlight | None = None
    tiles: list[Tile] = field(default_factory=list)

    def begin(self, highlight: KeptHighlight) -> None:
        self._turn(highlight)

    def add(self, placed: Placed) -> None:
        assert self.highlight is not None
        tile = items.tile(placed, self.highlight, pages.who(self.account))
        for file in placed.item.held:
            self.target.put(file, items.path_of(file))
        self.tiles.append(tile)
        if placed.item.pk in self.seen:
            return
        self.seen.add(placed.item.pk)
        self.span.add(tile.taken_at)
        if tile.taken_at is not None and tile.shows:
            add = heapq.heappush if len(self.latest) < LATEST else heapq.heappushpop
            add(self.latest, (tile.taken_at, tile.pk, tile))

    def end(self) -> Card:
        """Write what is left of the account, its own page last; returns what the first page says of it."""
        self._turn(None)
        account = self.account
        card = Card(
            account,
            self.directory,
            self._picture(account.avatar),
            len(self.covers),
            len(self.seen),
            self.span.first,
            self.span.last,
        )
        latest = [tile for _, _, tile in sorted(self.latest, reverse=True, key=lambda entry: entry[:2])]
        self._write("index", pages.account(card, self.covers, latest))
        return card

    def _turn(self, after: KeptHighlight | None) -> None:
        """The highlight at hand is told whole: its page is written, and the next one begins."""
        highlight = self.highlight
        if highlight is not None:
            before = self.covers[-1].highlight if self.covers else None
            album = Album(self._cover(highlight), tuple(self.tiles))
            self.covers.append(album.cover)
            self._write(highlight.pk, pages.highlight(self.account, album, before, after))
        self.highlight, self.tiles = after, []

    def _cover(self, highlight: KeptHighlight) -> Cover:
        """As upstream shows it: where no cover is held, the first picture of its items stands for it."""
        span = _Span()
        for tile in self.tiles:
            span.add(tile.taken_at)
        picture = self._picture(highlight.cover) or next((t.picture for t in self.tiles if t.picture), None)
        former = self.titles.get(highlight.pk, ())
        return Cover(highlight, picture, len(self.tiles), span.first, span.last, former)

    def _picture(self, file: KeptFile | None) -> Picture | None:
        if file is not None:
            self.target.put(file, items.path_of(file))
        return items.picture_of(file)

    def _write(self, name: str, page: str) -> None:
        self.target.write(f"{self.directory}/{name}.html", page.encode())
