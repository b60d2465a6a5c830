"""How long the units last. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from statistics import median

RECENT = timedelta(days=30)


def units_per_night(runs: Iterable[tuple[datetime, int]], now: datetime) -> int | None:
    """The recent rate: the median of what was spent on each UTC day of the last 30 on which a run began, rounded up.

    ``runs``: when each began, and its units. None where there was none: then nobody knows. A first night, which is dear, or one with
    ``--full`` moves a median little.
    """
    days: Counter[date] = Counter()
    for started_at, units in runs:
        if now - RECENT <= started_at <= now:
            days[started_at.astimezone(UTC).date()] += units
    return math.ceil(median(days.values())) if days else None


def nights(units: int, per_night: int | None) -> int | None:
    """How many whole nights so many units last at that rate; None where there is no rate, or nothing is spent."""
    return max(0, units) // per_night if per_night else None
