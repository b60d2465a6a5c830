"""The archive in numbers, its runs, and the workers that share one."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from archiver.model.identity import Pk


class WorkerStatus(Struct, frozen=True):
    """A worker. ``is_run``: it is the ``archiver run`` that waits for the others.

    ``expires_in``: the seconds until its lease ends; less than 0 if it has ended. ``visits``: the accounts
    that it visits now.
    """

    name: str
    is_run: bool
    started_at: datetime
    expires_in: float
    visits: int


class VisitCounts(Struct, frozen=True):
    """The visits of a shared run: all, those that have ended, and those that workers make now.

    ``workers``: how many workers have a lease.
    """

    run_id: int
    visits: int
    ended: int
    begun: int
    workers: int

    @property
    def waiting(self) -> int:
        """Those that no worker has begun."""
        return self.visits - self.ended - self.begun


class Run(Struct, frozen=True):
    """A row of ``runs``. ``finished_at`` is None if the run was killed or is still running."""

    id: int
    command: str
    started_at: datetime
    finished_at: datetime | None
    outcome: str | None
    exit_code: int | None
    units: int


class MissingTarget(Struct, frozen=True):
    """A name, an id or a highlight that does not exist and never did.

    ``target``: its text without a prefix. ``since``: when a run first found that.
    """

    target: str
    since: datetime


class Status(Struct, frozen=True):
    """The archive in numbers.

    ``bytes`` is the size of all distinct blobs. ``units`` is the total ever spent, ``units_this_month`` the
    total since the start of the month in UTC. ``hosts_not_allowed``: hosts that ``download.allowed_hosts``
    does not list now, each with the number of files that wait for it. ``missing_targets``: those of
    the list that do not exist, the earliest first. ``waiting``: the number of adopted files that wait for
    their items. ``shared_run``: the open run whose accounts workers visit, and
    ``workers``: those at work. Of the last runs without an end, ``running`` is the one that goes on, and
    ``killed`` those that do not; on PostgreSQL, where another machine may be at work, those of which neither
    is certain are in neither.
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
    missing_targets: tuple[MissingTarget, ...] = ()
    waiting: int = 0
    shared_run: VisitCounts | None = None
    workers: tuple[WorkerStatus, ...] = ()
    running: int | None = None
    killed: tuple[int, ...] = ()


class LatestRecords(Struct, frozen=True):
    """What was last recorded of each: None if it never was.

    ``started_at``: the last ``run``, ``backup`` or ``demo``, which may be under way. ``finished_at`` and
    ``exit_code``: the last of them that has ended. ``balance``: the units that the API stated last.
    ``verified_at``: when the bytes of a blob were last read and found to be sound.
    """

    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    balance: int | None
    verified_at: datetime | None


class AccountNumbers(Struct, frozen=True):
    """An account in numbers. ``listed_at``: when its highlights were last listed; None: never."""

    pk: Pk
    username: str | None
    listed_at: datetime | None
    items: int
