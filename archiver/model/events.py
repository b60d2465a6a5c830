"""The steps of a run as values. An Observer gets each of them only after it is durable."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from archiver.model.archived import Failure, Owner
from archiver.model.identity import Pk, Role


class RunStarted(Struct, frozen=True):
    """A run began. ``accounts`` is the number of targets."""

    run_id: int
    command: str
    accounts: int


class UnitsSpent(Struct, frozen=True):
    """An attempt at a paid call was settled. ``units`` is 0 if it was free."""

    units: int


class AccountListed(Struct, frozen=True):
    """A tray was recorded. Of its highlights, ``jobs`` are due in this run."""

    user_pk: Pk
    username: str | None
    highlights: int
    jobs: int


class AccountDone(Struct, frozen=True):
    """The run has finished a target."""

    target: str


class HighlightRead(Struct, frozen=True):
    """The items of a highlight were recorded; ``missing`` files are to be downloaded.

    ``is_paid`` is False if a stored answer was used.
    """

    pk: Pk
    title: str | None
    items: int
    missing: int
    is_paid: bool


class FileStored(Struct, frozen=True):
    """A File is durable and its row committed. ``size`` in bytes.

    ``is_new`` is False if the blob was stored already.
    """

    owner: Owner
    role: Role
    size: int
    is_new: bool


class FailureRecorded(Struct, frozen=True):
    """Something could not be fetched or downloaded; the row that says so is committed."""

    failure: Failure


class Notice(Struct, frozen=True):
    """Something worth knowing that is not a failure.

    For example, an account was renamed or is private, or a name has a new owner. ``is_loud``: whether it is
    shown under cron too.
    """

    text: str
    is_loud: bool = False


class Pause(Struct, frozen=True):
    """The run waits before the next attempt."""

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
