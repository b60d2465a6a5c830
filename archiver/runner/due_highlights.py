"""When a highlight is due to be fetched, and why. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase

from msgspec import Struct

from archiver import retry
from archiver.catalog.query.account_state import FailureState, HighlightState
from archiver.errors import NOT_RETRIED, Reason
from archiver.hiker import endpoints
from archiver.model.identity import EPOCH, Pk
from archiver.model.upstream import TrayNumbers
from archiver.runner.context import RunOptions

_CLOCK_TOLERANCE = timedelta(days=1)


class Why(StrEnum):
    """Why a highlight is fetched (public: ``plan --json`` shows these values)."""

    NEW = "new"  # never fetched
    CHANGED = "changed"  # the tray's numbers differ from those of the last fetch
    INCOMPLETE = "incomplete"  # something that was offered is missing
    SHRUNK = "shrunk"  # the last fetch lost more than half of the items: a second one decides
    SWEEP = "sweep"  # the periodic re-fetch of what looks unchanged
    FULL = "full"  # --full
    ASKED = "asked"  # the highlight itself is a target
    LOST = "lost"  # stored bytes were lost, and a repair fetches them again


class Job(Struct, frozen=True):
    """One highlight to fetch.

    ``numbers`` are the tray's numbers, stored with the answer; ``units`` is 0 if a stored answer serves.
    """

    pk: Pk
    title: str | None
    numbers: TrayNumbers
    reason: Why
    units: int = endpoints.HIGHLIGHT_UNITS


def why_fetch(highlight: HighlightState, options: RunOptions, now: datetime) -> Why | None:
    """Return why a stored highlight is to be fetched now; None if it is not.

    The back-off of a page that was not found also holds when the tray's numbers change, or the page would
    cost a unit every night. The back-off of a file never hides a change.
    """
    if options.full:
        return Why.FULL
    page_waits = highlight.page_retry_at is not None and not retry.is_due(highlight.page_retry_at, now)
    if options.repair is not None:
        return Why.LOST if highlight.pk in options.repair.highlights and not page_waits else None
    if page_waits:
        return None
    if highlight.fetched_at is None:
        return Why.NEW if _is_missing_due(highlight, options, now) else None
    if highlight.numbers.differs(highlight.fetched_numbers):
        return Why.CHANGED
    if highlight.shrunk_to is not None:
        return Why.SHRUNK
    if highlight.completed_at is None and _is_missing_due(highlight, options, now):
        return Why.INCOMPLETE
    if _waits_for_host(highlight, options):
        return None
    return Why.SWEEP if is_swept(highlight, highlight.fetched_at, options, now) else None


def next_fetch_at(highlight: HighlightState, options: RunOptions) -> datetime | None:
    """Return when a highlight that is on the tray and not due yet is fetched again, unless it changes first.

    None: never, or not until a setting changes.
    """
    failures = highlight.failures if highlight.completed_at is None else ()
    dates = [highlight.page_retry_at, *(failure.next_try_at for failure in failures)]
    is_sweep_next = highlight.page_retry_at is None and not _waits_for_host(highlight, options)
    if options.sweep_days > 0 and is_sweep_next and highlight.fetched_at is not None:
        interval = sweep_interval(highlight, highlight.fetched_at, options)
        dates.append(next_sweep_at(highlight.pk, highlight.fetched_at, interval))
    return min((date for date in dates if date is not None), default=None)


def sweep_interval(highlight: HighlightState, fetched_at: datetime, options: RunOptions) -> timedelta:
    """Return how long after a fetch an unchanged highlight is fetched again at the latest; zero: never.

    It is as long as the highlight had shown no change when it was fetched, within the limits of ``options``.
    A highlight that lacks something, or that shows no date, is fetched at the shortest interval.
    """
    least, most = timedelta(days=options.sweep_days), timedelta(days=options.sweep_days_max)
    if not least or highlight.failures or highlight.lacks_items or highlight.changed_at is None:
        return least
    return max(least, min(fetched_at - highlight.changed_at, most))


def is_swept(highlight: HighlightState, fetched_at: datetime, options: RunOptions, now: datetime) -> bool:
    """Return whether the sweep of a highlight has come since it was fetched."""
    return is_sweep_due(highlight.pk, fetched_at, sweep_interval(highlight, fetched_at, options), now)


def is_sweep_due(pk: Pk, last: datetime, interval: timedelta, now: datetime) -> bool:
    """Return whether a sweep date has come since ``last``; never if the interval is zero.

    A date in the future comes from a wrong clock and counts as past.
    """
    return bool(interval) and (last > now + _CLOCK_TOLERANCE or now >= next_sweep_at(pk, last, interval))


def next_sweep_at(pk: Pk, last: datetime, interval: timedelta) -> datetime:
    """Return the first sweep date after ``last``, at most ``interval`` later.

    These dates are one interval apart, at an offset derived from the pk, so that what was fetched in one
    night is fetched again over many.
    """
    phase = int.from_bytes(hashlib.sha256(pk.encode()).digest()[:6], "big") / 2**48
    number = math.floor((last - EPOCH) / interval - phase) + 1
    return EPOCH + (number + phase) * interval


def is_title_wanted(title: str | None, globs: tuple[str, ...]) -> bool:
    """Return whether a title matches one of the globs (case-sensitive), or there are none."""
    return not globs or any(fnmatchcase(title or "", glob) for glob in globs)


def unmatched_globs(globs: tuple[str, ...], titles: Iterable[str | None]) -> dict[str, str | None]:
    """Return the globs that match none of the titles.

    Each comes with a title that it would match if case were ignored, or None.
    """
    known = [title or "" for title in titles]
    unmatched = [glob for glob in globs if known and not any(is_title_wanted(t, (glob,)) for t in known)]
    return {
        glob: next((title for title in known if fnmatchcase(title.casefold(), glob.casefold())), None)
        for glob in unmatched
    }


def _is_missing_due(highlight: HighlightState, options: RunOptions, now: datetime) -> bool:
    """Return whether something that a highlight lacks is due.

    If its last page was not processed to the end (a kill, lost bytes), what is missing is unknown: the
    highlight is due, unless the page itself failed and waits for its retry. Otherwise each missing file has
    a failure with its own date.
    """
    has_page_failed = any(failure.role is None for failure in highlight.failures)
    if not highlight.failures or (highlight.tried_at is None and not has_page_failed):
        return True
    return any(_is_failure_due(failure, options, now) for failure in highlight.failures)


def _is_failure_due(failure: FailureState, options: RunOptions, now: datetime) -> bool:
    """Return whether the date of a failure has come, or the settings now allow what they refused."""
    if failure.reason in NOT_RETRIED:
        return _is_allowed(failure, options)
    return failure.next_try_at is not None and retry.is_due(failure.next_try_at, now)


def _waits_for_host(highlight: HighlightState, options: RunOptions) -> bool:
    """Return whether files of a highlight wait until their host is allowed.

    Until then no unit is spent on it, unless it changes.
    """
    return any(
        failure.reason is Reason.HOST_NOT_ALLOWED and not _is_allowed(failure, options)
        for failure in highlight.failures
    )


def _is_allowed(failure: FailureState, options: RunOptions) -> bool:
    return options.rules is not None and options.rules.allows(failure.host, failure.size)
