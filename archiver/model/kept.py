"""What the archive holds, as a reader sees it: accounts, their highlights, the items in these, and the files of all three.

Every fact is the last one that was told; None is «never said». ``files``, ``covers`` and ``avatars`` stand newest first: the current
one, then those that it replaced. Times are aware and UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from archiver.model.held import Blob, Owner
from archiver.model.identity import Pk, Role
from archiver.model.paid import KeptAnswer
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file that an account, highlight or item has or had. ``lost_at``: since when its bytes are known to be missing.

    ``run_id`` is the run that kept it, ``answer_id`` the answer that offered it, where that is still kept.
    """

    owner: Owner
    role: Role
    blob: Blob
    source_url: str
    kept_at: datetime
    last_seen_at: datetime
    lost_at: datetime | None = None
    run_id: int | None = None
    answer_id: int | None = None


@dataclass(frozen=True, slots=True)
class KeptAccount:
    """An account. ``usernames`` are all that it was seen with, the latest first; ``gone_at``: since when it does not exist."""

    pk: Pk
    username: str | None
    full_name: str | None
    is_private: bool | None
    is_verified: bool | None
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None = None
    usernames: tuple[str, ...] = ()
    avatars: tuple[KeptFile, ...] = ()

    @property
    def avatar(self) -> KeptFile | None:
        """The newest avatar whose bytes are held."""
        return newest(self.avatars, Role.AVATAR)


@dataclass(frozen=True, slots=True)
class KeptHighlight:
    """A highlight. ``position`` is its place in the last tray that listed it, from 0; ``media_count`` the number that upstream tells.

    ``gone_at``: since when it is not listed. ``completed_at``: when nothing that it offers was missing, None while something is.
    """

    pk: Pk
    user_pk: Pk
    title: str | None
    position: int | None
    created_at: datetime | None
    is_pinned: bool | None
    media_count: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    fetched_at: datetime | None = None
    completed_at: datetime | None = None
    gone_at: datetime | None = None
    covers: tuple[KeptFile, ...] = ()

    @property
    def cover(self) -> KeptFile | None:
        """The newest cover whose bytes are held."""
        return newest(self.covers, Role.COVER)


@dataclass(frozen=True, slots=True)
class KeptItem:
    """A story item with what it carries. ``media_type``: 1 photo, 2 video; ``video_duration`` in seconds.

    ``user_pk`` is whom the item itself names, which may be another account than the one whose highlight shows it. ``answer_id`` is the
    answer that showed it first.
    """

    pk: Pk
    user_pk: Pk
    code: str | None
    taken_at: datetime | None
    media_type: int | None
    product_type: str | None
    video_duration: float | None
    first_seen_at: datetime
    files: tuple[KeptFile, ...] = ()
    mentions: tuple[Mention, ...] = ()
    web_links: tuple[WebLink, ...] = ()
    hashtags: tuple[Hashtag, ...] = ()
    locations: tuple[Location, ...] = ()
    stickers: tuple[Sticker, ...] = ()
    reshares: tuple[Reshare, ...] = ()
    sponsors: tuple[Sponsor, ...] = ()
    answer_id: int | None = None

    def file(self, role: Role) -> KeptFile | None:
        """The newest file of that role whose bytes are held."""
        return newest(self.files, role)

    @property
    def held(self) -> tuple[KeptFile, ...]:
        """The newest file of each role whose bytes are held: the picture, then the video."""
        picture, video = self.file(Role.THUMBNAIL), self.file(Role.VIDEO)
        return tuple(file for file in (picture, video) if file is not None)


class PlacedFile(NamedTuple):
    """A file that an item in its place holds, with no more of the item than what names and dates it: there are millions."""

    highlight_pk: Pk
    position: int
    gone_at: datetime | None
    item_pk: Pk
    code: str | None
    media_type: int | None
    at: datetime
    """When the item was taken; when the file was kept, where nobody knows that: then it is not ``is_dated``."""
    is_dated: bool
    role: str
    sha256: str
    size: int
    mime: str


@dataclass(frozen=True, slots=True)
class Placed:
    """An item in its place in a highlight, from 0. ``gone_at``: since when the highlight does not show it any more."""

    highlight_pk: Pk
    position: int
    item: KeptItem
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None = None

    @property
    def files(self) -> Iterator[PlacedFile]:
        """What the item holds, the picture before the video."""
        item = self.item
        place = self.highlight_pk, self.position, self.gone_at
        of = item.pk, item.code, item.media_type
        for file in item.held:
            at, is_dated = item.taken_at or file.kept_at, item.taken_at is not None
            yield PlacedFile(
                *place, *of, at, is_dated, file.role, file.blob.sha256, file.blob.size, file.blob.mime
            )


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an account or a highlight holds: ``items``, of which ``gone`` are not shown any more, and distinct ``blobs`` with their
    ``bytes``, both without the ``lost`` ones."""

    items: int = 0
    gone: int = 0
    blobs: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class BorneName:
    """A username that an account was seen with, from when to when."""

    username: str
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Renaming:
    """What a thing was called before: ``field`` is ``username``, ``full_name`` or ``title``."""

    at: datetime
    field: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """The answer that something came with: the run that paid for it, the endpoint, and where it is kept. ``lost``: it cannot be read."""

    answer_id: int
    run_id: int
    endpoint: str
    kept: KeptAnswer
    lost: bool = False


MEDIA_TYPES = {"photo": 1, "video": 2}
"""The words for ``media_type``, as the API numbers them."""
MEDIA_WORDS: dict[int | None, str] = {number: word for word, number in MEDIA_TYPES.items()}
"""And back; of what the API may show besides, or has not said, nothing."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of an archive: what is left out (``()``, None) does not narrow it.

    ``user_pks``, ``highlight_pks`` and ``item_pks`` name accounts, highlights and items, ``titles`` are globs of present titles
    (fnmatchcase); items are narrowed by when they were taken (``taken_from`` ≤ ``taken_at`` < ``taken_before``), by ``media_types`` (1 photo, 2 video), and by
    what came since (``new_since`` ≤ first seen, or a file of theirs kept since). An item without ``taken_at`` is in no span of time.
    """

    user_pks: tuple[Pk, ...] = ()
    highlight_pks: tuple[Pk, ...] = ()
    titles: tuple[str, ...] = ()
    taken_from: datetime | None = None
    taken_before: datetime | None = None
    media_types: frozenset[int] = field(default_factory=frozenset)
    new_since: datetime | None = None
    item_pks: tuple[Pk, ...] = ()

    @property
    def narrows_highlights(self) -> bool:
        """Whether some highlights may be left out by what they are, not by what they hold."""
        return bool(self.highlight_pks or self.titles)

    @property
    def narrows_items(self) -> bool:
        """Whether some items of a highlight may be left out."""
        spans = (self.taken_from, self.taken_before, self.new_since)
        return bool(self.media_types or self.item_pks) or any(moment is not None for moment in spans)


EVERYTHING = Selection()


def newest(files: Iterable[KeptFile], role: Role) -> KeptFile | None:
    """The first of these files, which stand newest first, that has this role and whose bytes are not lost."""
    for file in files:
        if file.role is role and file.lost_at is None:
            return file
    return None
