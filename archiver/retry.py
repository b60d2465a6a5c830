"""Whether and when to try again. Pure: the caller waits.

No retry library is used, because the runner waits on its stop flag: a signal must end a pause at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAX_WAIT = 300.0
"""Seconds. A longer ``Retry-After`` ends the run: it does not sleep that long."""

# float() alone would accept 1_000 and digits of any script.
_SECONDS = re.compile(r"\d+(\.\d*)?([eE]\d+)?", re.ASCII)
_IMMEDIATE_TRIES = 2
_FILE_DAYS = (1, 3, 7, 30)
_VERDICT_DAYS = (1, 3, 7, 14, 30)

LONGEST_BACKOFF = timedelta(days=max(*_FILE_DAYS, *_VERDICT_DAYS))
"""A due date further away than this was set by a wrong clock."""


def backoff(attempt: int, random: Callable[[], float], base: float = 1.0) -> float:
    """Return the seconds to wait after a failed attempt (the first is 1): exponential, at most 30 s.

    ``random`` returns a float in [0, 1), which shortens the wait by up to half.
    """
    ceiling = min(30.0, base * 2.0 ** min(attempt - 1, 10))
    return ceiling * (0.5 + 0.5 * random())


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for, or None if it is absent or not usable.

    The header states seconds or an HTTP date. A date in the past gives 0. NaN, infinity and negative numbers
    are not usable.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())


def next_try(attempts: int, now: datetime) -> datetime:
    """Return when a file, page or name is due again after ``attempts`` failed runs.

    It is due at once after the first two, then after 1, 3, 7 and 30 days.
    """
    if attempts <= _IMMEDIATE_TRIES:
        return now
    return now + _nights(_FILE_DAYS[min(attempts - _IMMEDIATE_TRIES, len(_FILE_DAYS)) - 1])


def next_check(checks: int, now: datetime) -> datetime:
    """Return when the verdict on an account is checked again: after 1, 3, 7, 14 and then every 30 days.

    ``checks``: how many times in a row the verdict was the same.
    """
    return now + _nights(_VERDICT_DAYS[min(max(checks, 1), len(_VERDICT_DAYS)) - 1])


def is_due(at: datetime, now: datetime) -> bool:
    """Return whether a date of ``next_try`` or ``next_check`` has come.

    A date further away than the longest back-off is due too: the clock was wrong when it was set, or is wrong
    now, and that must not delay anything.
    """
    return at <= now or at - now > LONGEST_BACKOFF


def _nights(days: int) -> timedelta:
    # A few hours less: cron never starts at the same second, and 1 day means the next night, not the one
    # after.
    return timedelta(days=days, hours=-3)
