"""The metrics of an archive."""

from __future__ import annotations

import math
from collections import Counter

from archiver import metrics
from archiver.archive.archive_status import read_status
from archiver.archive.reports import read_gaps, read_units_per_night
from archiver.archive.session import Session
from archiver.catalog.query import totals
from archiver.model.run_status import LatestRecords
from archiver.runner import supply


def read_metrics(session: Session, *, by_account: bool) -> str:
    """Return the numbers of the archive in the text format of Prometheus."""
    gaps = Counter(gap.user_pk for gap in read_gaps(session, None))
    latest = session.catalog.read(totals.latest_records)
    nights = _nights_left(latest, read_units_per_night(session))
    gauges = list(metrics.archive_gauges(read_status(session), latest, gaps.total(), nights))
    if by_account:
        gauges += metrics.account_gauges(session.catalog.read(totals.accounts_in_numbers), gaps)
    return metrics.format_gauges(gauges)


def _nights_left(latest: LatestRecords, per_night: int | None) -> float:
    if latest.balance is None or per_night is None:
        return math.nan
    nights = supply.nights_left(latest.balance, per_night)
    return math.inf if nights is None else nights
