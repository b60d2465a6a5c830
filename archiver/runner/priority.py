"""In which order accounts are kept: it counts when a run ends before all had their turn, by a limit or a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from enum import IntEnum

from archiver.catalog import Catalog
from archiver.catalog.query import account_state
from archiver.catalog.query.account_state import Progress
from archiver.model.identity import Pk
from archiver.model.target import Target
from archiver.runner import plan
from archiver.runner.context import RunOptions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Rank(IntEnum):
    """What comes first: accounts of which nothing is held, then those that were begun, then all others."""

    NEVER_LISTED = 0
    UNFINISHED = 1
    LISTED = 2


def in_order(targets: Sequence[Target], catalog: Catalog, options: RunOptions, now: datetime) -> list[Target]:
    """Never listed, then begun and unfinished, then listed longest ago; those of the same rank and time as they were given."""
    if len(targets) < 2:
        return list(targets)
    known = catalog.read(account_state.progress)
    return sorted(targets, key=lambda target: _turn(target, known, catalog, options, now))


def _turn(
    target: Target, known: Progress, catalog: Catalog, options: RunOptions, now: datetime
) -> tuple[_Rank, datetime]:
    if target.highlight_pk is not None:
        held = catalog.read(account_state.highlight, target.highlight_pk)
        if held is None or held.fetched_at is None:
            return _Rank.NEVER_LISTED, _EPOCH
        return (_Rank.LISTED if held.tried_at else _Rank.UNFINISHED), held.fetched_at
    pk = _pk(target, known, options)
    listed_at = known.listed_at.get(pk) if pk is not None else None
    if pk is None or listed_at is None:
        return _Rank.NEVER_LISTED, _EPOCH
    begun = pk in known.lacking and _has_jobs(target, pk, catalog, options, now)
    return (_Rank.UNFINISHED if begun else _Rank.LISTED), listed_at


def _pk(target: Target, known: Progress, options: RunOptions) -> Pk | None:
    if target.user_pk is not None or target.username is None:
        return target.user_pk
    bound = known.bound.get(target.username) if options.from_config else None
    return bound or known.named.get(target.username)


def _has_jobs(target: Target, pk: Pk, catalog: Catalog, options: RunOptions, now: datetime) -> bool:
    """Whether the last tray left something to do; highlights that no glob wants, and back-offs, are nothing."""
    held = {h.pk: h for h in catalog.read(account_state.held, pk)}
    listed = plan.last_listed(catalog.read(account_state.user, pk), held.values())
    policy = replace(plan.Policy.of(options, target), sweep_days=0, full=False)
    return bool(plan.make(listed, held, policy, now))
