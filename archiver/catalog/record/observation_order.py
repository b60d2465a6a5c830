"""The order of observations: what was seen last is current, whatever the clocks said.

``last_seen_at`` has that order. A stored date may be later than the present time, because one of the two
clocks was wrong, and nothing says which. Then only the order is kept: later dates are set to just before the
present time. The journal keeps what they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

T = TypeVar("T")

JUST_BEFORE = timedelta(microseconds=1)


def dates_before(seen: Sequence[tuple[T, datetime]], now: datetime) -> list[tuple[T, datetime]]:
    """Return the new dates of what was seen before ``now``, and is dated ``now`` or later. Pure.

    ``seen``: in their order, with their dates; they keep it. The newest comes first in the result.
    """
    earlier: list[tuple[T, datetime]] = []
    for what, at in reversed(seen):
        if at < now:
            break
        now -= JUST_BEFORE
        earlier.append((what, now))
    return earlier
