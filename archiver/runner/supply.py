"""How many nights the units left at the API last. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

RECENT = timedelta(days=30)


def units_per_night(runs: Iterable[tuple[datetime, int]], now: datetime) -> int | None:
    """Return the median number of units per UTC day with a run, over the last 30 days, rounded up.

    ``runs``: the start and the units of each run. None if there were none. The median is
    hardly affected by a first night or one with ``--full``, which cost far more.
    """
    days: Counter[date] = Counter()
    for started_at, units in runs:
        if now - RECENT <= started_at <= now:
            days[started_at.astimezone(UTC).date()] += units
    if not days:
        return None
    from statistics import median  # slow, and a run does not forecast

    return math.ceil(median(days.values()))


def nights_left(units: int, per_night: int | None) -> int | None:
    """Return how many whole nights these units last; None if the rate is unknown or 0."""
    return max(0, units) // per_night if per_night else None
