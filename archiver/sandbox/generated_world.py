"""Worlds of any size, whose parts are made when first needed. The same arguments make the same world."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from archiver.sandbox import item_factory
from archiver.sandbox.world_objects import LazyList, SandboxAccount, SandboxHighlight, SandboxItem

Size = int | tuple[int, int] | None

_ACCOUNT = 70_000_000_000
_HIGHLIGHT = 17_800_000_000_000_000
_PER_ACCOUNT = 10_000
_START = 1_735_689_600  # 2025-01-01


def _choose_size(size: Size, key: str) -> int | None:
    if not isinstance(size, tuple):
        return size
    least, most = size
    return least + zlib.crc32(key.encode()) % (most - least + 1)


@dataclass(frozen=True, slots=True)
class GeneratedWorld:
    """``count`` accounts, each with ``highlights`` highlights of ``items`` items.

    Raises ``ValueError`` for more than 10,000 highlights, or a negative count.
    """

    count: int
    highlights: int
    items: int
    thumbnail_size: Size = None
    video_size: Size = None

    def __post_init__(self) -> None:
        if not (0 <= self.highlights <= _PER_ACCOUNT and self.count >= 0 and self.items >= 0):
            raise ValueError(
                "a generated world has at most 10,000 highlights for each account, and no negative counts"
            )

    def accounts(self) -> Iterator[SandboxAccount]:
        """Yield the accounts. Their highlights are made later."""
        for number in range(self.count):
            pk = str(_ACCOUNT + number)
            yield SandboxAccount(
                pk,
                f"account{number:04}",
                f"Account {number}",
                item_factory.avatar(pk),
                highlights=LazyList(partial(self._tray, number), self.highlights),
            )

    def owner_of(self, highlight_pk: str) -> str | None:
        """Return the pk of the account that owns a highlight of this world; None for any other pk."""
        if not highlight_pk.isdigit():
            return None
        account, place = divmod(int(highlight_pk) - _HIGHLIGHT, _PER_ACCOUNT)
        return str(_ACCOUNT + account) if 0 <= account < self.count and place < self.highlights else None

    def _tray(self, account: int) -> Iterator[SandboxHighlight]:
        for place in range(self.highlights):
            number = account * _PER_ACCOUNT + place
            pk = str(_HIGHLIGHT + number)
            created = _START + 86_400 * (self.highlights - place)
            yield SandboxHighlight(
                pk,
                str(_ACCOUNT + account),
                f"Highlight {place}",
                created,
                self._taken_at(place, self.items - 1) if self.items else None,
                item_factory.cover(pk),
                LazyList(partial(self._items, account, place), self.items),
            )

    def _taken_at(self, place: int, item: int) -> int:
        return _START + 86_400 * (self.highlights - place) + 600 * item

    def _items(self, account: int, place: int) -> Iterator[SandboxItem]:
        for number in range(self.items):
            taken_at = self._taken_at(place, number)
            pk = item_factory.media_pk(taken_at, account)
            yield item_factory.item(
                pk,
                str(_ACCOUNT + account),
                taken_at,
                "video" if number % 2 else "photo",
                number,
                thumbnail_size=_choose_size(self.thumbnail_size, f"t{pk}"),
                video_size=_choose_size(self.video_size, f"v{pk}"),
            )
