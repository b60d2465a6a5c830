"""What people are shown of a run that workers share."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct


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
