"""What the API says of the world, read from its answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from urllib.parse import urlsplit

from archiver.model.identity import Pk, Role


@dataclass(frozen=True, slots=True)
class Link:
    """Where bytes may be had for a while: never an identity. ``expires_at`` is read from the URL's signature, if it has one."""

    role: Role
    url: str = field(repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class User:
    """The owner of highlights as one answer shows it; None is «not said», which never overwrites what is known."""

    pk: Pk
    username: str | None = None
    full_name: str | None = None
    is_private: bool | None = None
    is_verified: bool | None = None
    avatar: Link | None = None
    avatar_name: str | None = None  # basename of the avatar's path: the same picture keeps it


@dataclass(frozen=True, slots=True)
class TrayFacts:
    """What decides whether a highlight is fetched: the tray's own numbers. None is «not said» and differs from nothing."""

    latest_reel_media: int | None = None  # Unix seconds
    media_count: int | None = None

    def differs(self, other: TrayFacts) -> bool:
        """Whether both sides state a number and the numbers differ."""
        pairs = (
            (self.latest_reel_media, other.latest_reel_media),
            (self.media_count, other.media_count),
        )
        return any(a is not None and b is not None and a != b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class Highlight:
    """One highlight without its items, as a tray or its own page shows it."""

    pk: Pk
    user: User
    title: str | None = None
    created_at: datetime | None = None
    facts: TrayFacts = TrayFacts()
    is_pinned: bool | None = None
    cover: Link | None = None
    cover_name: str | None = None


@dataclass(frozen=True, slots=True)
class RejectedEntry:
    """An element of an answer that could not be read; the others stand. ``pk`` is '' where not even that
    could be read. ``count``: how many elements, where they are the rest of a list that was not read."""

    pk: str
    detail: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Tray:
    """A user's list of highlights, in the tray's order, without items. ``user`` is the richest owner that it
    shows.

    ``unsupported``: ids of entries that are no highlights of stories, and that nothing fetches (``shop:…``).
    """

    user: User | None
    highlights: tuple[Highlight, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    unsupported: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many entries the answer listed, readable or not."""
        return len(self.highlights) + len(self.unsupported) + sum(one.count for one in self.rejected)


@dataclass(frozen=True, slots=True)
class TrayPage:
    """One page of a paged tray. ``next_page_id`` asks for the page after it; None: this is the last one."""

    tray: Tray
    next_page_id: str | None


@dataclass(frozen=True, slots=True)
class Mention:
    username: str | None
    user_pk: Pk | None = None
    full_name: str | None = None
    x: float | None = None
    y: float | None = None
    width: float | None = None
    height: float | None = None
    rotation: float | None = None


@dataclass(frozen=True, slots=True)
class WebLink:
    """A link that an item carries for its viewers. ``source``: ``link`` (links[].webUri) or ``sticker`` (stickers[].story_link)."""

    url: str
    title: str | None = None
    display_url: str | None = None
    source: Literal["link", "sticker"] = "link"

    @property
    def domain(self) -> str | None:
        """The host of an http or https address in lower case, None of anything else."""
        try:
            parts = urlsplit(self.url)
            return (parts.hostname or "").rstrip(".") or None if parts.scheme in ("http", "https") else None
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Hashtag:
    name: str | None
    hashtag_pk: Pk | None = None


@dataclass(frozen=True, slots=True)
class Location:
    name: str | None
    location_pk: Pk | None = None
    lat: float | None = None
    lng: float | None = None


@dataclass(frozen=True, slots=True)
class Sticker:
    """A sticker or poll. ``extra`` is its JSON text as the API gave it, keys sorted."""

    kind: str
    extra: str


@dataclass(frozen=True, slots=True)
class Reshare:
    media_pk: Pk | None
    media_code: str | None = None
    user_pk: Pk | None = None
    product_type: str | None = None


@dataclass(frozen=True, slots=True)
class Sponsor:
    username: str | None
    user_pk: Pk | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One story item with everything that the API tells about it.

    ``cut``: lists of it that are longer than what is read of a list, by the API's name, with their lengths.
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
    cut: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class HighlightPage:
    """One highlight with its items, oldest first, as by/url gives it. A pk appears once (the first entry of a
    pk wins).

    ``repeated``: entries of the list that repeat an item before them.
    """

    highlight: Highlight
    items: tuple[Item, ...]
    rejected: tuple[RejectedEntry, ...] = ()
    repeated: int = 0

    @property
    def length(self) -> int:
        """How many entries the answer listed, readable or not, each as often as it was listed."""
        return len(self.items) + self.repeated + sum(one.count for one in self.rejected)


@dataclass(frozen=True, slots=True)
class Balance:
    """What ``/sys/balance`` says: units left, and the calls per second that the account allows."""

    units: int
    rate: int | None = None
