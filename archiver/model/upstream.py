"""Accounts, highlights and items as an answer of the API shows them. None means not stated."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from archiver.model.identity import Pk, Role
from archiver.model.values import repr_without


class Link(Struct, frozen=True):
    """A signed URL that works for a limited time. It never identifies a file.

    ``expires_at`` is read from the signature, if there is one.
    """

    role: Role
    url: str
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return repr_without(self, "url")


class User(Struct, frozen=True):
    """An owner of highlights. None never overwrites what is known."""

    pk: Pk
    username: str | None = None
    full_name: str | None = None
    is_private: bool | None = None
    is_verified: bool | None = None
    avatar: Link | None = None
    avatar_name: str | None = None  # basename of the avatar's path: the same picture keeps it


class TrayNumbers(Struct, frozen=True):
    """The numbers in a tray that decide whether a highlight is fetched."""

    latest_reel_media: int | None = None  # Unix seconds
    media_count: int | None = None

    def differs(self, other: TrayNumbers) -> bool:
        """Return whether both sides state a number and the numbers differ."""
        pairs = (
            (self.latest_reel_media, other.latest_reel_media),
            (self.media_count, other.media_count),
        )
        return any(a is not None and b is not None and a != b for a, b in pairs)


class Highlight(Struct, frozen=True):
    """A highlight without its items, from a tray or its own page."""

    pk: Pk
    user: User
    title: str | None = None
    created_at: datetime | None = None
    numbers: TrayNumbers = TrayNumbers()
    is_pinned: bool | None = None
    cover: Link | None = None
    cover_name: str | None = None


class RejectedEntry(Struct, frozen=True):
    """An entry of an answer that could not be read although others could. ``pk`` is '' if it is unknown.

    ``count`` is 1, or the number of entries if this stands for the whole rest of a list that was not read.
    """

    pk: str
    detail: str
    count: int = 1


class Tray(Struct, frozen=True):
    """A user's list of highlights, in the tray's order, without items.

    ``user`` is the owner, from the entry that states most about it. ``unsupported``: ids of entries that are
    not highlights of stories (``shop:…``), which are never fetched.
    """

    user: User | None
    highlights: tuple[Highlight, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    unsupported: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The number of entries that the answer listed, readable or not."""
        return len(self.highlights) + len(self.unsupported) + sum(one.count for one in self.rejected)

    @property
    def has_left_out(self) -> bool:
        """Whether the answer listed entries that are not among ``highlights``."""
        return bool(self.rejected or self.unsupported)


class TrayPage(Struct, frozen=True):
    """One page of a tray.

    ``next_page_id`` is for the call for the next page; None means that this is the last.
    """

    tray: Tray
    next_page_id: str | None


class Mention(Struct, frozen=True):
    username: str | None
    user_pk: Pk | None = None
    full_name: str | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None


class WebLink(Struct, frozen=True):
    """A web link on an item.

    ``source``: ``link`` (links[].webUri) or ``sticker`` (stickers[].story_link).
    """

    url: str
    title: str | None = None
    display_url: str | None = None
    source: Literal["link", "sticker"] = "link"

    @property
    def domain(self) -> str | None:
        """The host of an http or https address in lower case, None for anything else."""
        try:
            parts = urlsplit(self.url)
            return (parts.hostname or "").rstrip(".") or None if parts.scheme in ("http", "https") else None
        except ValueError:
            return None


class Hashtag(Struct, frozen=True):
    name: str | None
    hashtag_pk: Pk | None = None


class Location(Struct, frozen=True):
    name: str | None
    location_pk: Pk | None = None
    lat: float | None = None
    lng: float | None = None


class Sticker(Struct, frozen=True):
    """A sticker or poll. ``extra`` is its JSON text from the API, with sorted keys."""

    kind: str
    extra: str


class Reshare(Struct, frozen=True):
    media_pk: Pk | None
    media_code: str | None = None
    user_pk: Pk | None = None
    product_type: str | None = None


class Sponsor(Struct, frozen=True):
    username: str | None
    user_pk: Pk | None = None


class Item(Struct, frozen=True):
    """A story item.

    ``cut_lists``: the lists that were too long to be read completely, by the names that the API gives them,
    with their lengths.
    """

    pk: Pk
    user_pk: Pk | None = None
    code: str | None = None
    taken_at: datetime | None = None
    media_type: int | None = None  # 1 photo, 2 video; others may appear
    product_type: str | None = None
    video_duration: float | None = None  # seconds
    links: tuple[Link, ...] = ()  # at most one of each role
    mentions: tuple[Mention, ...] = ()
    web_links: tuple[WebLink, ...] = ()
    hashtags: tuple[Hashtag, ...] = ()
    locations: tuple[Location, ...] = ()
    stickers: tuple[Sticker, ...] = ()
    reshares: tuple[Reshare, ...] = ()
    sponsors: tuple[Sponsor, ...] = ()
    cut_lists: tuple[tuple[str, int], ...] = ()


class HighlightPage(Struct, frozen=True):
    """A highlight with its items, oldest first. Each pk appears once: its first entry counts.

    ``repeat_count``: how many entries of the list repeated an item.
    """

    highlight: Highlight
    items: tuple[Item, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    repeat_count: int = 0

    @property
    def length(self) -> int:
        """The number of entries that the answer listed, readable or not, repetitions included."""
        return len(self.items) + self.repeat_count + sum(one.count for one in self.rejected)


class Balance(Struct, frozen=True):
    """The answer of ``/sys/balance``: units left, and the calls per second that are allowed."""

    units: int
    rate: int | None = None
