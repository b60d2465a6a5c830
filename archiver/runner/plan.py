"""What a run would do and cost: pure. Which highlights are fetched and why; when absence is evidence."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from archiver import retry
from archiver.errors import NOT_RETRIED, Reason
from archiver.hiker.endpoints import PAGED_TRAY
from archiver.model.archived import HeldFailure, HeldHighlight, HeldUser
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.model.upstream import Highlight, TrayFacts
from archiver.runner.context import RepairScope, RunOptions

if TYPE_CHECKING:  # a command that only reads does not load what downloads
    from archiver.media.egress import DownloadRules

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEEDED_DAYS = (
    30  # until pages that an account needs, and that failed, have their turn where the sweep is off
)
_A_CLOCK_THAT_WAS_AHEAD = timedelta(days=1)


class Why(StrEnum):
    """Why a highlight is fetched."""

    NEW = "new"
    CHANGED = "changed"
    INCOMPLETE = "incomplete"
    SHRUNK = "shrunk"  # its page lost more than half: believed when a second look says the same
    SWEEP = "sweep"
    FULL = "full"
    ASKED = "asked"  # named as a target itself
    LOST = "lost"  # bytes of it were, and are to be had again


@dataclass(frozen=True, slots=True)
class Policy:
    """What decides beside the facts. ``sweep_days`` 0 turns the sweep off; ``globs`` are title patterns, () for all.

    ``only``: nothing but what a repair is after, whatever else is due; None for the usual plan. ``rules``: what the
    settings allow to be downloaded; None: what they refused is not looked at again before the sweep.
    """

    sweep_days: int = 30
    full: bool = False
    globs: tuple[str, ...] = ()
    only: RepairScope | None = None
    rules: DownloadRules | None = None

    @classmethod
    def of(cls, options: RunOptions, target: Target) -> Policy:
        """Return what decides which highlights of a target are fetched."""
        return cls(options.sweep_days, options.full, target.highlights, options.repair, options.rules)


@dataclass(frozen=True, slots=True)
class Job:
    """One highlight to look at, and its price. ``facts`` are the tray's, under which it is asked for."""

    pk: Pk
    title: str | None
    facts: TrayFacts
    reason: Why
    units: int = 1


def make(
    listed: Iterable[Highlight | HeldHighlight],
    held: Mapping[Pk, HeldHighlight],
    policy: Policy,
    now: datetime,
) -> tuple[Job, ...]:
    """The jobs of one account in the tray's order: ``listed`` is what its tray shows, ``held`` what the archive has of it.

    Every job is priced at one unit; a kept answer that serves makes it free (the runner knows that, not the plan).
    """
    jobs = []
    for entry in listed:
        known = held.get(entry.pk)
        title = entry.title if entry.title is not None or known is None else known.title
        if not matches(title, policy.globs):
            continue
        reason = why(entry.facts, known, policy, now, entry.pk)
        if reason is not None:
            jobs.append(Job(entry.pk, title, entry.facts, reason))
    return tuple(jobs)


def last_listed(account: HeldUser | None, held: Iterable[HeldHighlight]) -> list[HeldHighlight]:
    """The highlights that the last tray of an account listed."""
    listed_at = account.listed_at if account is not None else None
    return [h for h in held if h.gone_at is None and listed_at is not None and h.listed_at == listed_at]


def why(facts: TrayFacts, held: HeldHighlight | None, policy: Policy, now: datetime, pk: Pk) -> Why | None:
    """Why this highlight is to be fetched now, or None: it then costs nothing."""
    if policy.full:
        return Why.FULL
    missing = held is not None and held.page_try_at is not None and not retry.is_due(held.page_try_at, now)
    if policy.only is not None:
        return Why.LOST if pk in policy.only.highlights and not missing else None
    if held is None:
        return Why.NEW
    if missing:
        return None
    if held.fetched_at is None:
        return Why.NEW if _is_due(held, policy, now) else None
    if facts.differs(held.fetched_facts):
        return Why.CHANGED
    if held.shrunk_to is not None:
        return Why.SHRUNK
    if held.completed_at is None and _is_due(held, policy, now):
        return Why.INCOMPLETE
    if not policy.sweep_days or waits_for_host(held, policy):
        return None
    return Why.SWEEP if is_swept(pk, held.fetched_at, policy.sweep_days, now) else None


def waits_for_host(held: HeldHighlight, policy: Policy) -> bool:
    """Whether files of a highlight wait until their host is allowed. No unit is spent on it meanwhile, unless it changes."""
    return any(f.reason is Reason.HOST_NOT_ALLOWED and not _is_allowed(f, policy) for f in held.failures)


def is_paged(held: HeldUser | None, sweep_days: int, now: datetime, *, full: bool = False) -> bool:
    """Whether an account is listed page by page tonight: the other tray lacks some of its highlights, its turn in the sweep has
    come (counted from the last time, else from its first day), or everything is asked for. Never on first contact. Pages that
    were paid for in vain wait for the turn too.
    """
    if held is None or held.listed_at is None:
        return False
    needed = held.tray_endpoint == PAGED_TRAY
    if full or (needed and held.pages_failed_at is None):
        return True
    last = held.paged_at or held.first_seen_at or held.listed_at
    days = sweep_days or (_NEEDED_DAYS if needed else 0)
    return days > 0 and is_swept(held.pk, last, days, now)


def matches(title: str | None, globs: tuple[str, ...]) -> bool:
    """Whether a title is wanted: it matches one of the globs (case counts), or there are none."""
    return not globs or any(fnmatchcase(title or "", glob) for glob in globs)


def unmatched(globs: tuple[str, ...], titles: Iterable[str | None]) -> dict[str, str | None]:
    """Return the globs that match none of the titles, each with a title that it would match if case did not
    count."""
    known = [title or "" for title in titles]
    lost = [glob for glob in globs if known and not any(matches(title, (glob,)) for title in known)]
    return {
        glob: next((title for title in known if fnmatchcase(title.casefold(), glob.casefold())), None)
        for glob in lost
    }


def sweep_at(pk: Pk, fetched_at: datetime, sweep_days: int) -> datetime:
    """The first moment after ``fetched_at`` at which (days since the epoch − u × sweep_days) is a multiple of ``sweep_days``.

    u is a fixed fraction drawn from the pk, so sweeps spread evenly from the first night and none is later than ``sweep_days``.
    """
    u = int.from_bytes(hashlib.sha256(pk.encode()).digest()[:6], "big") / 2**48
    days = (fetched_at - _EPOCH) / timedelta(days=1)
    turns = math.floor(days / sweep_days - u) + 1
    return _EPOCH + timedelta(days=(turns + u) * sweep_days)


def believed_gone(
    present: Collection[Pk], seen: Collection[Pk], shrunk_to: str | None
) -> tuple[tuple[Pk, ...], str | None]:
    """Which of the ``present`` are gone, now that a list known to be whole shows only ``seen``; and what to remember.

    Losing everything, or more than half, is believed only when a second run says the same: the first returns a fingerprint of the
    loss (kept as ``shrunk_to``) and nothing gone (I15).
    """
    absent = tuple(sorted(set(present) - set(seen)))
    if not absent:
        return (), None
    if len(absent) * 2 > len(present):
        fingerprint = hashlib.sha256(",".join(absent).encode()).hexdigest()
        if fingerprint != shrunk_to:
            return (), fingerprint
    return absent, None


def new_picture(offered: str | None, held: str | None) -> bool:
    """Whether a cover or avatar is to be downloaded: a name is offered, and it is not the one held."""
    return offered is not None and offered != held


def is_swept(pk: Pk, last: datetime, sweep_days: int, now: datetime) -> bool:
    """Whether a turn of the sweep has come since ``last``."""
    return last > now + _A_CLOCK_THAT_WAS_AHEAD or now >= sweep_at(pk, last, sweep_days)


def _is_due(held: HeldHighlight, policy: Policy, now: datetime) -> bool:
    """Whether something that a highlight lacks is due.

    If its last page was not worked through (a kill, lost bytes), nothing says yet what is missing: it is due, unless
    the page itself failed and waits. Else each missing file is due by its own failure.
    """
    page_failed = any(f.role is None for f in held.failures)
    if not held.failures or (held.tried_at is None and not page_failed):
        return True
    return any(_is_failure_due(f, policy, now) for f in held.failures)


def _is_failure_due(failure: HeldFailure, policy: Policy, now: datetime) -> bool:
    """The one rule for when a missing file is due again: when its date has come, or when the settings allow it now."""
    if failure.reason in NOT_RETRIED:
        return _is_allowed(failure, policy)
    return failure.next_try_at is not None and retry.is_due(failure.next_try_at, now)


def _is_allowed(failure: HeldFailure, policy: Policy) -> bool:
    return policy.rules is not None and policy.rules.allow(failure.host, failure.size)
