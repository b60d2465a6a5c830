"""What the archive holds, and what it knows about that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from archiver.errors import Reason
from archiver.model.identity import Digest, Pk, Role, Subject
from archiver.model.paid import KeptAnswer
from archiver.model.upstream import TrayFacts


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
class HeldBlob:
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
    kept: KeptAnswer
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


ALL = 10**9
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
