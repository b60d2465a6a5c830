"""What the archive knows that it lacks, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from archiver.errors import Reason
from archiver.model.identity import Pk, Role, Subject


class Lack(StrEnum):
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

    reason: Reason | Lack
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
