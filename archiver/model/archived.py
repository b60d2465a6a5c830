"""What is in an archive, and what is known about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from archiver.errors import Reason
from archiver.model.api_calls import AnswerLocation
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.upstream import Hashtag, Location, Mention, Reshare, Sponsor, Sticker, WebLink


class Owner(Struct, frozen=True):
    """The owner of a File: a user (avatar), a highlight (cover) or an item (thumbnail, video)."""

    subject: Subject
    pk: Pk


class Blob(Struct, frozen=True):
    """Bytes stored under their SHA-256. ``size`` in bytes; ``width`` and ``height`` in pixels, if known."""

    sha256: Digest
    size: int
    mime: str
    width: int | None = None
    height: int | None = None


class File(Struct, frozen=True):
    """A stored file: (owner, role) → Blob.

    ``source_url`` has no query string; '' for a file that another tool downloaded, which ``source`` names.
    """

    owner: Owner
    role: Role
    blob: Blob
    source_url: str
    source: str | None = None


class Failure(Struct, frozen=True):
    """Something that could not be fetched or downloaded.

    ``host`` and ``size`` are as in ``DownloadFailed``.
    """

    subject: Subject
    subject_pk: str
    role: Role | None
    reason: Reason
    detail: str
    host: str | None = None
    size: int | None = None


class StoredBlob(Struct, frozen=True):
    """A row of ``blobs`` as ``verify`` reads it, with its owners as text (``item 123 video``).

    For a waiting file: the item for which it waits, its tool, and the account that its folder names.
    """

    sha256: Digest
    size: int
    lost_at: datetime | None
    verified_at: datetime | None
    owners: tuple[str, ...]


class StoredAnswer(Struct, frozen=True):
    """A row of ``answers`` as ``verify`` reads it. ``is_lost``: whether it is recorded as lost."""

    id: int
    location: AnswerLocation
    is_lost: bool


class Surplus(Struct, frozen=True):
    """Bytes of a segment (path below ``answers/``) that are not a record of this program."""

    segment: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The offset of the first byte after the surplus."""
        return self.offset + self.length


class Loss(Struct, frozen=True):
    """What can be fetched again for an account after a loss.

    ``highlights`` are those that show lost items, ``covers`` those whose cover is lost. ``was_listed``:
    whether the tray was read before; otherwise the highlights were fetched one by one.
    """

    user_pk: Pk
    highlights: frozenset[Pk]
    covers: frozenset[Pk]
    is_avatar_lost: bool
    was_listed: bool


class KeptFile(Struct, frozen=True):
    """A file that an account, highlight or item has or had.

    ``lost_at``: when its bytes were found to be missing. ``run_id``: the run that stored it. ``answer_id``:
    the answer that offered it, if that answer is still stored. ``source``: the tool that downloaded it, if
    it was adopted; None for a file that this program downloaded.
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
    source: str | None = None


class KeptAccount(Struct, frozen=True):
    """An account. ``usernames`` are all its usernames so far, latest first.

    ``gone_at``: when it was found not to exist any more.
    """

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
    def last_username(self) -> str | None:
        """The username now, or else the last one that is known: an adopted account has only had one."""
        return self.username or next(iter(self.usernames), None)

    @property
    def avatar(self) -> KeptFile | None:
        """The newest avatar whose bytes are not lost."""
        return newest(self.avatars, Role.AVATAR)


class KeptHighlight(Struct, frozen=True):
    """A highlight. ``position`` is its place in the last tray that listed it, from 0.

    ``media_count``: the number of items that the API states. ``gone_at``: when it was found to be no longer
    listed. ``completed_at``: when everything that it offered was stored; None while something is missing.
    ``source``: the tool that has seen it, if no answer has; then the dates are those of the adoption.
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
    source: str | None = None

    @property
    def cover(self) -> KeptFile | None:
        """The newest cover whose bytes are not lost."""
        return newest(self.covers, Role.COVER)


class KeptItem(Struct, frozen=True):
    """A story item with everything attached to it.

    ``media_type``: 1 photo, 2 video; ``video_duration`` in seconds. ``user_pk`` is the account that the item
    itself names, which may differ from the highlight's. ``answer_id``: the first answer that showed the item.
    ``source``: as for a highlight.
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
    source: str | None = None

    def file(self, role: Role) -> KeptFile | None:
        """Return the newest file of this role whose bytes are not lost."""
        return newest(self.files, role)

    @property
    def held(self) -> tuple[KeptFile, ...]:
        """The newest file of each role whose bytes are not lost: the picture, then the video."""
        picture, video = self.file(Role.THUMBNAIL), self.file(Role.VIDEO)
        return tuple(file for file in (picture, video) if file is not None)


class PlacedFile(NamedTuple):
    """A file of an item at a position. It has only the fields to name and date it: there can be millions.

    ``at``: when the item was taken; if that is unknown, when the file was stored, and ``is_dated`` is False.
    """

    highlight_pk: Pk
    position: int
    gone_at: datetime | None
    item_pk: Pk
    code: str | None
    media_type: int | None
    at: datetime
    is_dated: bool
    role: str
    sha256: str
    size: int
    mime: str


class Placed(Struct, frozen=True):
    """An item at a position of a highlight, from 0.

    ``gone_at``: when it was found to be no longer shown there. ``source``: as for a highlight.
    """

    highlight_pk: Pk
    position: int
    item: KeptItem
    first_seen_at: datetime
    last_seen_at: datetime
    gone_at: datetime | None = None
    source: str | None = None

    @property
    def files(self) -> Iterator[PlacedFile]:
        """The files of the item, the picture before the video."""
        item = self.item
        place = self.highlight_pk, self.position, self.gone_at
        of = item.pk, item.code, item.media_type
        for file in item.held:
            at, is_dated = item.taken_at or file.kept_at, item.taken_at is not None
            yield PlacedFile(
                *place, *of, at, is_dated, file.role, file.blob.sha256, file.blob.size, file.blob.mime
            )


class ShownItem(Struct, frozen=True):
    """An item in one of the highlights that show or showed it, and the account of that highlight."""

    account: KeptAccount
    highlight: KeptHighlight
    placed: Placed


class DatedPk(NamedTuple):
    """A time and a pk: a place in a list that is in this order."""

    at: datetime
    pk: Pk


class ContentSize(Struct, frozen=True):
    """The size of an account or a highlight.

    ``items`` includes the ``gone`` ones, which are no longer shown. ``blobs`` counts distinct blobs; neither
    it nor ``bytes`` includes the ``lost`` ones.
    """

    items: int = 0
    gone: int = 0
    blobs: int = 0
    bytes: int = 0
    lost: int = 0


class DatedUsername(Struct, frozen=True):
    """A username of an account, and when it was first and last seen."""

    username: str
    first_seen_at: datetime
    last_seen_at: datetime


class NameChange(Struct, frozen=True):
    """A change of a name. ``field`` is ``username``, ``full_name`` or ``title``."""

    at: datetime
    field: str
    old: str | None
    new: str | None


class Provenance(Struct, frozen=True):
    """The answer that something came from, and the run that paid for it.

    ``is_lost``: whether it can no longer be read.
    """

    answer_id: int
    run_id: int
    endpoint: str
    location: AnswerLocation
    is_lost: bool = False


class Selection(Struct, frozen=True):
    """A part of an archive. A field that is empty or None does not narrow the selection.

    ``titles`` are globs (fnmatchcase) for the current titles of highlights. The fields after it select items:
    by time (``taken_from`` ≤ ``taken_at`` < ``taken_before``, which excludes items without ``taken_at``), by
    ``media_types`` (1 photo, 2 video), by ``new_since`` (first seen, or with a file stored, at or after this
    time), and by pk.
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
        """Whether highlights are selected by their own pk or title, not only by their items."""
        return bool(self.highlight_pks or self.titles)

    @property
    def narrows_items(self) -> bool:
        """Whether some items of a highlight may be left out."""
        spans = (self.taken_from, self.taken_before, self.new_since)
        return bool(self.media_types or self.item_pks) or any(bound is not None for bound in spans)


EVERYTHING = Selection()


def newest(files: Iterable[KeptFile], role: Role) -> KeptFile | None:
    """Return the first file of this role whose bytes are not lost. ``files`` are sorted, the newest first."""
    for file in files:
        if file.role is role and file.lost_at is None:
            return file
    return None


class GapReason(StrEnum):
    """Why something is missing although nothing failed. A gap has either this or a ``Reason``."""

    NEVER_OFFERED = "never_offered"  # the highlight shows the item, but without a link for this role
    FEWER_THAN_COUNTED = "fewer_than_counted"  # a highlight showed fewer items than the number it states
    NOT_YET = "not_yet"  # no run has finished it yet, because of a budget, a signal or a kill


class Gap(Struct, frozen=True):
    """One thing that is missing from the archive.

    ``highlight_pk`` and ``title`` are those of one highlight that shows or showed it. ``attempts``: the
    number of failed attempts; None if there was none. If ``next_try_at`` is None, the next run tries it if it
    is lost or was not reached; otherwise the sweep does. ``gone``: whether it is no longer shown; then it is
    not tried again. ``present`` and ``counted``: how many items the highlight shows, and how many it states.
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


class NamedChange(Struct, frozen=True):
    """A row of ``changes`` with the current names of the account and the highlight.

    ``user_pk`` is the account of the highlight or item, None if unknown. ``title`` is the highlight's, None
    for an account or an item.
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
