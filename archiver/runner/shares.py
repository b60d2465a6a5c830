"""Which of an account's blobs a visit looks for: one sixteenth for each day. Pure."""

from __future__ import annotations

from datetime import datetime

_DIGITS = "0123456789abcdef"
DAYS = len(_DIGITS)
"""After so many days, every blob of an account has had its turn."""


def digits_due(listed_at: datetime | None, now: datetime) -> str | None:
    """Return the first digits of the digests whose turn is today or came after ``listed_at``; None: all.

    ``listed_at``: when the account was last listed, and its blobs looked for. Since missed turns are made up
    for, no blob waits longer than ``DAYS``, or than until the account is next listed. All are due at the
    first listing, after ``DAYS``, and if a wrong clock has written a date in the future.
    """
    today = now.toordinal()
    last = listed_at.toordinal() if listed_at is not None else 0
    if not 0 <= today - last < DAYS:
        return None
    return "".join(_DIGITS[day % DAYS] for day in range(min(last + 1, today), today + 1))
