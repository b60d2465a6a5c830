"""What the archive holds, and what it knows about that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from archiver.errors import Reason
from archiver.model.billing import AnswerLocation
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, TrayFacts, WebLink


@dataclass(frozen=True, slots=True)
class Owner:
    """To whom a File belongs: a user (avatar), a highlight (cover) or an item (thumbnail, video)."""

    subject: Subject
    pk: Pk


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes kept under their SHA-256. ``size`` in bytes; ``width`` and ``height`` in pixels where the header tells."""

    sha256: Digest
    size: int
    mime: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class File:
    """What is held for ever: (owner, role) → Blob. ``source_url`` without its query."""

    owner: Owner
    role: Role
    blob: Blob
    source_url: str


@dataclass(frozen=True, slots=True)
class Failure:
    """A thing that could not be had, as it is told and recorded. ``host`` and ``size`` as in ``DownloadFailed``."""

    subject: Subject
    subject_pk: str
    role: Role | None
    reason: Reason
    detail: str
    host: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class HeldUser:
    """A stored account. ``verdict`` is why its tray shows nothing (private, gone, empty), asked again at ``verdict_due_at``.

    ``tray_length`` entries came with the last tray; ``tray_endpoint`` is the path by which it is listed, and ``paged_at`` when its
    paged tray was asked for last, ``pages_failed_at`` since when that brings nothing though it is billed. ``shrunk_to`` is the fingerprint of a tray that lost more than half and
    waits for a second run that says the same. ``avatar_name`` is the basename of the avatar that is held.
    """

    pk: Pk
    username: str | None
    is_private: bool | None = None
    first_seen_at: datetime | None = None
    listed_at: datetime | None = None
    tray_length: int | None = None
    tray_endpoint: str | None = None
    paged_at: datetime | None = None
    pages_failed_at: datetime | None = None
    gone_at: datetime | None = None
    verdict: Reason | None = None
    verdict_at: datetime | None = None
    verdict_due_at: datetime | None = None
    shrunk_to: str | None = None
    avatar_name: str | None = None


@dataclass(frozen=True, slots=True)
class HeldFailure:
    """An open failure of a highlight's page (``role`` None) or of a file of its items, and what decides when it is due."""

    role: Role | None
    reason: Reason
    next_try_at: datetime | None = None
    host: str | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class HeldHighlight:
    """A stored highlight as the plan sees it. ``facts`` are the tray's now, ``fetched_facts`` those at its last fetch; ``listed_at``
    is the time of the last tray that listed it.

    ``completed_at``: nothing that its last page offers is missing. ``tried_at``: that page was worked through, so that
    what is missing has a failure. ``cover_name`` is the basename of the cover that is held (None if its bytes are lost).
    """

    pk: Pk
    title: str | None
    facts: TrayFacts
    fetched_facts: TrayFacts
    created_at: datetime | None = None
    listed_at: datetime | None = None
    fetched_at: datetime | None = None
    completed_at: datetime | None = None
    tried_at: datetime | None = None
    gone_at: datetime | None = None
    failures: tuple[HeldFailure, ...] = ()
    shrunk_to: str | None = None
    cover_name: str | None = None

    @property
    def page_try_at(self) -> datetime | None:
        """When its page, which was not found (404), is asked for again; None: it was not missing."""
        found = (f.next_try_at for f in self.failures if f.role is None and f.reason is Reason.NOT_FOUND)
        return next(found, None)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution as ``runs`` keeps it. ``finished_at`` is None for one that was killed or is still on."""

    id: int
    command: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    exit_code: int | None
    units: int


@dataclass(frozen=True, slots=True)
class Status:
    """The archive in numbers. Bytes are those of distinct blobs; units are all ever spent, and those of this UTC month.

    ``hosts_not_allowed``: hosts that ``download.allowed_hosts`` does not list now, each with how many files wait for it.
    """

    accounts: int
    highlights: int
    items: int
    files: int
    blobs: int
    bytes: int
    lost: int
    open_failures: int
    units: int
    units_this_month: int
    last_runs: tuple[Run, ...]
    last_success_at: datetime | None
    hosts_not_allowed: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob as ``verify`` reads it, with those who own it, as text («item 123 video»)."""

    sha256: Digest
    size: int
    lost_at: datetime | None
    verified_at: datetime | None
    owners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A kept answer as ``verify`` reads it: the id of its row, where it lies, and whether it is recorded as lost."""

    id: int
    location: AnswerLocation
    lost: bool


@dataclass(frozen=True, slots=True)
class Surplus:
    """Bytes in a segment of kept answers (its path below ``answers/``) that are no record of this program."""

    segment: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset of the first byte after them."""
        return self.offset + self.length


@dataclass(frozen=True, slots=True)
class Loss:
    """What of an account may be had again after a loss: ``highlights`` that show lost items, highlights whose ``covers`` are lost,
    and whether its avatar is. ``listed``: its tray was read before; else its highlights were asked for one by one."""

    user_pk: Pk
    highlights: frozenset[Pk]
    covers: frozenset[Pk]
    avatar: bool
    listed: bool


NO_LIMIT = 10**9
"""The limit of who wants all: more than memory holds, and less than a database takes for a limit."""

Value = str | int | float | None
"""What a parameter of a query may be."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query brought: column names, and rows of plain values (str, int, float, bool, None, bytes, datetime, dict, list)."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class RowStream:
    """As ``Rows``, but the rows come as they are read, once."""

    columns: tuple[str, ...]
    rows: Iterator[tuple[object, ...]]


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
class ContentSize:
    """How much an account or a highlight holds: ``items``, of which ``gone`` are not shown any more, and distinct ``blobs`` with their
    ``bytes``, both without the ``lost`` ones."""

    items: int = 0
    gone: int = 0
    blobs: int = 0
    bytes: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class DatedUsername:
    """A username that an account was seen with, from when to when."""

    username: str
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class NameChange:
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
    location: AnswerLocation
    lost: bool = False


MEDIA_TYPES = {"photo": 1, "video": 2}
"""The words for ``media_type``, as the API numbers them."""
MEDIA_TYPE_NAMES: dict[int | None, str] = {number: word for word, number in MEDIA_TYPES.items()}
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


class GapReason(StrEnum):
    """Why something is lacking although nothing failed: stands beside ``Reason`` where gaps are told."""

    NEVER_OFFERED = "never_offered"  # the page of its highlight shows the item, and no link for this role
    FEWER_THAN_COUNTED = "fewer_than_counted"  # a page brought fewer items than its highlight is said to have
    NOT_YET = "not_yet"  # wanted, and not come to, or not to its end: a budget, a signal or a kill


@dataclass(frozen=True, slots=True)
class Gap:
    """One thing that the archive lacks. ``gone``: it is not shown any more, so that it is not tried again.

    ``user_pk`` and ``username`` are the account's, ``highlight_pk`` and ``title`` those of one highlight that shows or showed it. ``attempts``
    is None where nothing was tried in vain. ``next_try_at`` None: at the sweep, or for what is not yet had or lost in the next run.
    ``present`` and ``counted`` are items that a highlight has and is said to have.
    """

    reason: Reason | GapReason
    subject: Subject
    subject_pk: str
    role: Role | None = None
    user_pk: Pk | None = None
    username: str | None = None
    highlight_pk: Pk | None = None
    title: str | None = None
    code: str | None = None
    detail: str = ""
    attempts: int | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None
    next_try_at: datetime | None = None
    gone: bool = False
    present: int | None = None
    counted: int | None = None


@dataclass(frozen=True, slots=True)
class NamedChange:
    """A row of ``changes`` with the names that a person needs, as they are now: whose it is, and what the highlight is called.

    ``user_pk`` is the account of the highlight or item, None where nobody knows; ``title`` that of the highlight, None for
    an account or an item.
    """

    id: int
    run_id: int
    at: datetime
    subject: Subject
    subject_pk: Pk
    field: str
    old: str | None
    new: str | None
    user_pk: Pk | None
    username: str | None
    title: str | None
