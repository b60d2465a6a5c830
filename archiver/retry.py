"""Retry or stop, and how long: pure decisions. Who waits, and how a wait ends early, is the runner's business.

Waits are counted here and slept on the runner's stop flag, so that a signal never waits for them: the reason why no retry
library does it for us.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAX_WAIT = 300.0
"""Seconds: a ``Retry-After`` beyond this stops the run instead of making it sleep."""

# float() alone would take «1_000» and the digits of any script.
_SECONDS = re.compile(r"\d+(\.\d*)?([eE]\d+)?", re.ASCII)
_AT_ONCE = 2
_FILE_DAYS = (1, 3, 7, 30)
_VERDICT_DAYS = (1, 3, 7, 14, 30)
FURTHEST = timedelta(days=max(*_FILE_DAYS, *_VERDICT_DAYS))
"""The longest back-off: a due date beyond it was set by a clock that was wrong."""


def backoff(attempt: int, random: Callable[[], float], base: float = 1.0) -> float:
    """Seconds to wait before try ``attempt + 1`` (attempt ≥ 1): exponential, at most 30 s, up to half of it taken off by chance.

    ``random`` returns a float in [0, 1).
    """
    ceiling = min(30.0, base * 2.0 ** min(attempt - 1, 10))
    return ceiling * (0.5 + 0.5 * random())


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, or None if it says nothing usable.

    Takes seconds or an HTTP date; a past date is 0. NaN, infinity, negative numbers and other text are nothing usable.
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
    """When a failed thing is due again after its ``attempts``-th failed run: at once twice, then 1, 3, 7, 30 days."""
    if attempts <= _AT_ONCE:
        return now
    return now + _night(_FILE_DAYS[min(attempts - _AT_ONCE, len(_FILE_DAYS)) - 1])


def next_check(checks: int, now: datetime) -> datetime:
    """When an account's verdict (private, gone, empty) is asked again after ``checks`` equal verdicts: 1, 3, 7, 14, 30 days."""
    return now + _night(_VERDICT_DAYS[min(max(checks, 1), len(_VERDICT_DAYS)) - 1])


def is_due(at: datetime, now: datetime) -> bool:
    """Whether a date of ``next_try`` or ``next_check`` has come. One further off than the longest of them was set by a clock that was
    wrong then, or is now: due, since nothing may be passed over for that.
    """
    return at <= now or at - now > FURTHEST


def _night(days: int) -> timedelta:
    # A few hours short: cron never starts at the same second, and «1 day» means the next night, not the one after.
    return timedelta(days=days, hours=-3)
