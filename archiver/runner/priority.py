"""The order in which targets are visited.

It matters if a limit or a kill ends a run early.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum

from archiver.catalog import Catalog
from archiver.catalog.query.account_state import Progress, account_state, highlight_state, progress
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.context import RunOptions
from archiver.runner.decide import jobs_due
from archiver.runner.visit import Visit

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Rank(IntEnum):
    """What comes first: accounts of which nothing is stored, then those that were begun, then all others."""

    NEVER_LISTED = 0
    UNFINISHED = 1
    LISTED = 2


def by_priority(
    targets: Sequence[Target], catalog: Catalog, options: RunOptions, now: datetime
) -> list[Target]:
    """Return the targets: never listed ones first, then unfinished ones, then those listed longest ago.

    Targets of the same rank and time keep their order.
    """
    if len(targets) < 2:
        return list(targets)
    account_progress = catalog.read(progress)
    return sorted(targets, key=lambda target: _priority(target, account_progress, catalog, options, now))


def _priority(
    target: Target, account_progress: Progress, catalog: Catalog, options: RunOptions, now: datetime
) -> tuple[_Rank, datetime]:
    if target.highlight_pk is not None:
        stored = catalog.read(highlight_state, target.highlight_pk)
        if stored is None or stored.fetched_at is None:
            return _Rank.NEVER_LISTED, _EPOCH
        return (_Rank.LISTED if stored.tried_at else _Rank.UNFINISHED), stored.fetched_at
    pk = account_progress.pk_of(target, from_config=options.from_config)
    listed_at = account_progress.listed_at.get(pk) if pk is not None else None
    if pk is None or listed_at is None:
        return _Rank.NEVER_LISTED, _EPOCH
    is_begun = pk in account_progress.unfinished and _has_jobs(target, catalog, options, now)
    return (_Rank.UNFINISHED if is_begun else _Rank.LISTED), listed_at


def _has_jobs(target: Target, catalog: Catalog, options: RunOptions, now: datetime) -> bool:
    """Return whether the last tray left something to fetch that the target wants and that is due."""
    state = catalog.read(account_state, target, from_config=options.from_config)
    # A worker may have other rules than the process that orders the targets.
    unfinished = replace(options, sweep_days=0, full=False, rules=None)
    return bool(jobs_due(Visit(state, state), unfinished, now))
