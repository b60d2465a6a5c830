"""The steps of a run as frozen values. An Observer is told of each only after what it says is durable."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from archiver.model.archived import Failure, Owner
from archiver.model.identity import Pk, Role


@dataclass(frozen=True, slots=True)
class RunStarted:
    """``accounts`` is the number of targets, or None where nobody knows yet."""

    run_id: int
    command: str
    accounts: int | None


@dataclass(frozen=True, slots=True)
class UnitsSpent:
    """An attempt at a paid call was settled: so many units, 0 where it was free."""

    units: int


@dataclass(frozen=True, slots=True)
class AccountListed:
    """A tray was recorded: so many highlights, of which ``jobs`` are to be looked at tonight."""

    user_pk: Pk
    username: str | None
    highlights: int
    jobs: int


@dataclass(frozen=True, slots=True)
class AccountDone:
    """Nothing more is to be tried for this target tonight."""

    target: str


@dataclass(frozen=True, slots=True)
class HighlightRead:
    """A highlight's items are recorded. ``paid`` is False where a kept answer served; ``missing`` files are to be downloaded."""

    pk: Pk
    title: str | None
    items: int
    missing: int
    paid: bool


@dataclass(frozen=True, slots=True)
class FileStored:
    """A File is durable and its row committed. ``size`` in bytes; ``new_bytes`` is False where the blob was held already."""

    owner: Owner
    role: Role
    size: int
    new_bytes: bool


@dataclass(frozen=True, slots=True)
class FailureRecorded:
    """Something could not be had; the row that says so is committed."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Notice:
    """A fact that a person wants to know and that is no failure (renamed, private, a name that somebody else took).

    ``loud``: it is news that must be told even where nobody reads along, under cron.
    """

    text: str
    loud: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """The run waits before it asks again."""

    seconds: float
    why: str


Event = (
    RunStarted
    | UnitsSpent
    | AccountListed
    | AccountDone
    | HighlightRead
    | FileStored
    | FailureRecorded
    | Notice
    | Pause
)
Observer = Callable[[Event], None]
