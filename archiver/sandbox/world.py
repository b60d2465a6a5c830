"""The world that the stand-in shows: its accounts, and what upstream would find under a pk or a name.

A world is made of the two accounts of the vendor's example answers, or of any number of similar accounts.
``examples/*.json`` are the answers as the vendor's documentation prints them, with URLs cut to ``...``. They
show natgeo's three highlights without items; we add 12, 11 and 11 items, which together have one example of
every detail.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal, Self, TypedDict, cast

from archiver.sandbox import item_factory, media_files
from archiver.sandbox.world_objects import Json, LazyList, SandboxAccount, SandboxHighlight, SandboxItem

_EXAMPLES = Path(__file__).with_name("examples")


class _User(TypedDict):
    pk: str
    username: str
    full_name: str
    is_private: bool
    is_verified: bool


class _Cover(TypedDict):
    crop_rect: list[float] | None
    media_id: str | None


class _Item(TypedDict):
    pk: str
    taken_at: str
    video_duration: float


class _Highlight(TypedDict):
    pk: str
    user: _User
    title: str
    created_at: str
    latest_reel_media: int
    is_pinned_highlight: bool
    media_count: int
    cover_media: _Cover
    items: list[_Item]


def example(name: str) -> Json:
    """Return an answer of the documentation by the name of its file in ``examples/``."""
    return cast(Json, json.loads((_EXAMPLES / f"{name}.json").read_text(encoding="utf-8")))


def example_accounts() -> list[SandboxAccount]:
    """Return natgeo and salwaaa_ki, with all their highlights and items."""
    return [_natgeo(), _salwaaa_ki()]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _account(user: _User, biography: str) -> SandboxAccount:
    return SandboxAccount(
        user["pk"],
        user["username"],
        user["full_name"],
        item_factory.avatar(user["pk"]),
        user["is_private"],
        user["is_verified"],
        biography=biography,
    )


def _highlight(answer: _Highlight) -> SandboxHighlight:
    cover = answer["cover_media"]
    return SandboxHighlight(
        answer["pk"],
        answer["user"]["pk"],
        answer["title"],
        _seconds(answer["created_at"]),
        answer["latest_reel_media"],
        item_factory.cover(answer["pk"]),
        is_pinned=answer["is_pinned_highlight"],
        crop_rect=cover["crop_rect"],
        cover_media_pk=cover["media_id"].partition("_")[0] if cover["media_id"] else None,
    )


def _salwaaa_ki() -> SandboxAccount:
    answer = cast(_Highlight, example("highlight_by_url"))
    account = _account(answer["user"], "🦋")
    highlight = _highlight(answer)
    for number, one in enumerate(answer["items"]):
        item = item_factory.item(one["pk"], account.pk, _seconds(one["taken_at"]), "video", number)
        item.duration = one["video_duration"]
        highlight.items.append(item)
    highlight.uncounted = answer["media_count"] - len(highlight.items)
    account.highlights.append(highlight)
    return account


def _natgeo() -> SandboxAccount:
    tray = cast(list[_Highlight], example("user_highlights"))
    account = _account(
        tray[0]["user"], "Step into wonder and find your inner explorer with National Geographic 🌎"
    )
    for answer in tray:
        highlight = _highlight(answer)
        newest = answer["latest_reel_media"]
        for place in range(answer["media_count"]):
            taken_at = newest - 5400 * (answer["media_count"] - 1 - place)
            kind: item_factory.Kind = "video" if place % 3 == 1 else "photo"
            highlight.items.append(
                item_factory.item(item_factory.media_pk(taken_at, place), account.pk, taken_at, kind, place)
            )
        highlight.crop_rect = [0.0, 0.21875, 1.0, 0.78125]
        highlight.cover_media_pk = highlight.items[0].pk
        account.highlights.append(highlight)
    gifts, books, limitless = (list(h.items) for h in account.highlights)
    account.highlights[0].items[0] = books[-1]  # one item, two highlights
    _add_details(gifts)
    _set_misleading_names(books)
    _make_duplicates(limitless)
    return account


def _add_details(items: list[SandboxItem]) -> None:
    """Add one example of every detail that an item can have, spread over the items."""
    for item, details in zip(items, cast(list[dict[str, list[Json]]], example("item_details")), strict=False):
        for name, entries in details.items():
            setattr(item, name, entries)


def _set_misleading_names(items: list[SandboxItem]) -> None:
    """Give files misleading names, as upstream does: a WebP, a JPEG called .heic, a WebP called .jpg."""
    for place, base, suffix in (
        (0, media_files.WEBP, "webp"),
        (2, media_files.PHOTOS[0], "heic"),
        (3, media_files.WEBP, "jpg"),
    ):
        items[place].thumbnail = item_factory.file("thumbnail", items[place].pk, base, suffix=suffix)


def _make_duplicates(items: list[SandboxItem]) -> None:
    """Give two items the same bytes under different names."""
    first, second = items[2].thumbnail, items[3].thumbnail
    if first is not None and second is not None:
        second.base, second.mark = first.base, first.mark


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


PrivateWithForce = Literal["empty", "403", "404"]


def _nobody(_highlight_pk: str) -> str | None:
    return None


class World:
    """Accounts by pk and by current username, highlights by pk. To read several at once, hold ``lock``.

    ``v1_page``: entries after which the v1 tray is cut off. ``v2_page``: entries on a page of the v2 tray.
    ``v2_prefixed``: whether the v2 tray writes ``pk`` as ``highlight:<pk>`` (both have been reported).
    ``private_with_force``: what the tray of a private account answers when the privacy check is skipped: an
    empty list, 403 or 404 (it is not known which).
    """

    def __init__(
        self, accounts: Iterable[SandboxAccount] = (), owner_of: Callable[[str], str | None] = _nobody
    ) -> None:
        self.lock = threading.RLock()
        self.v1_page = 60
        self.v2_page = 30
        self.v2_prefixed = True
        self.private_with_force: PrivateWithForce = "empty"
        self._accounts: dict[str, SandboxAccount] = {}
        self._names: dict[str, str] = {}
        self._highlights: dict[str, SandboxHighlight] = {}
        self._owner_of = owner_of
        for account in accounts:
            self.add_account(account)

    @classmethod
    def seed(cls) -> Self:
        """Return a world of the vendor's two example accounts: natgeo (787132), salwaaa_ki (75885841119)."""
        return cls(example_accounts())

    @classmethod
    def generate(
        cls,
        accounts: int = 10,
        highlights: int = 5,
        items: int = 10,
        *,
        thumbnail_size: Size = None,
        video_size: Size = None,
    ) -> Self:
        """Return a world of many similar accounts, whose parts are made when they are first needed.

        Usernames are ``account0000``, ``account0001``...; a pk depends only on the position in the world.
        Photos and videos alternate. A size is None (small), a number of bytes, or ``(least, most)``.
        """
        world = GeneratedWorld(accounts, highlights, items, thumbnail_size, video_size)
        return cls(world.accounts(), world.owner_of)

    def add_account(self, account: SandboxAccount) -> SandboxAccount:
        """Add an account. Raises ``ValueError`` if its pk or username is taken."""
        with self.lock:
            if account.pk in self._accounts:
                raise ValueError(f"an account with pk {account.pk} exists")
            self._claim(account.username, account.pk)
            self._accounts[account.pk] = account
            if not isinstance(account.highlights, LazyList):
                self._highlights.update((h.pk, h) for h in account.highlights)
        return account

    @property
    def accounts(self) -> list[SandboxAccount]:
        """All accounts, also deleted ones, in the order in which they were added."""
        with self.lock:
            return list(self._accounts.values())

    def highlight(self, pk: str) -> SandboxHighlight:
        """Return the highlight with this pk, removed or not. Raises ``LookupError``."""
        with self.lock:
            if pk not in self._highlights and (owner := self._owner_of(pk)) is not None:
                self._highlights.update((h.pk, h) for h in self._accounts[owner].highlights)
            if pk not in self._highlights:
                raise LookupError(f"no highlight {pk!r} in this world")
            return self._highlights[pk]

    def find_account(self, *, pk: str = "", username: str = "") -> SandboxAccount | None:
        """Return the account that upstream finds under this pk or current username; None if there is none."""
        with self.lock:
            account = self._accounts.get(pk or self._names.get(username.lower(), ""))
            return None if account is None or account.is_deleted else account

    def find_page(self, pk: str) -> tuple[SandboxAccount, SandboxHighlight] | None:
        """Return the highlight that upstream finds under this pk, with its owner; None if either is gone."""
        with self.lock:
            try:
                highlight = self.highlight(pk)
            except LookupError:
                return None
            owner = self.find_account(pk=highlight.user_pk)
            return (
                None
                if owner is None or highlight.is_removed or highlight.is_page_lost
                else (owner, highlight)
            )

    def _claim(self, username: str, pk: str) -> None:
        holder = self._names.setdefault(username.lower(), pk)
        if holder != pk:
            raise ValueError(f"the username {username!r} belongs to {holder}")
