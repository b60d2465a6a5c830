"""One run: the order of its targets, and its way from them to its summary.

The order matters if a limit or a kill ends a run early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import IntEnum

from archiver.catalog import Catalog, record
from archiver.catalog.query import adoptions, totals
from archiver.catalog.query.account_state import Progress, account_state, highlight_state, progress
from archiver.errors import ArchiverError
from archiver.exit_codes import is_graver, outcome
from archiver.hiker import endpoints
from archiver.model.events import RunStarted
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.balance import BalanceCheck
from archiver.runner.context import RunContext, RunOptions
from archiver.runner.decide import jobs_due
from archiver.runner.promises import Turn
from archiver.runner.tally import Summary, Tally
from archiver.runner.visit import Visit
from archiver.runner.visitor import Visitor
from archiver.work import Work

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def begin_run(
    catalog: Catalog,
    targets: Sequence[Target],
    *,
    command: str,
    options: RunOptions,
    work: Work,
    require_space: Callable[[], None],
) -> RunContext:
    """Record that a run begins, report it, and return what its parts share. See ``RunContext``."""
    run_id = catalog.write(record.start_run, command, work.clock())
    work.observe(RunStarted(run_id, command, len(targets)))
    return RunContext(run_id, catalog, options, Tally(run_id, command, targets), work, require_space)


def run(context: RunContext, visitor: Visitor, targets: Sequence[Target]) -> Summary:
    """Archive every target, whatever happens to the others, and return what was done, with its exit code.

    An ArchiverError ends up in the summary. Any other exception is a bug: the run is recorded as ended by it,
    and the exception is raised.
    """
    catalog, budget = context.catalog, visitor.api.budget
    waiting = catalog.read(adoptions.count_waiting)

    def feed() -> Iterator[tuple[Target, Turn]]:
        for target in by_priority(targets, catalog, context.options, context.work.clock()):
            yield target, budget.take_turn()

    causes: list[BaseException | None] = [
        *visitor.visit_each(
            feed(),
            lambda target_and_turn: visitor.visit(*target_and_turn),
            balance=BalanceCheck(context, visitor.api),
        ),
        visitor.api.paying_ended,
    ]
    return finish(catalog, context.tally, causes, waiting, context.work.clock)


def finish(
    catalog: Catalog,
    tally: Tally,
    causes: Sequence[BaseException | None],
    waiting: int,
    clock: Callable[[], datetime],
) -> Summary:
    """Record the end of a run, and return its summary, with the gravest of ``causes``.

    ``waiting``: how many adopted files waited for their items when it began. Raises a cause that is a bug.
    """
    summary = tally.summary()
    for cause in causes:
        summary = _weigh(summary, cause)
    bug = next((c for c in causes if c is not None and not isinstance(c, ArchiverError)), None)
    try:
        catalog.write(record.finish_run, summary.run_id, clock(), summary.outcome, summary.exit_code)
        cost = catalog.read(totals.run_cost, summary.run_id, free_path=endpoints.BALANCE)
        summary = replace(summary, units=cost.units, balance_mismatch=cost.mismatch)
        if found := waiting - catalog.read(adoptions.count_waiting):
            note = f"adopted files that have found their items: {found:,}"
            summary = replace(summary, notes=(*summary.notes, note))
        if waiting and (found := catalog.write(record.settle_all_waiting, summary.run_id, clock())):
            note = f"adopted files of items that Instagram no longer shows: {found:,}"
            summary = replace(summary, notes=(*summary.notes, note))
    except ArchiverError as unrecorded:
        summary = _weigh(summary, unrecorded)  # an unusable database must not hide a signal or a bug
    if bug is not None:
        raise bug
    return summary


def _weigh(summary: Summary, cause: BaseException | None) -> Summary:
    """Return the summary with this cause, unless it already has a more severe one."""
    if cause is None:
        return summary
    if not isinstance(cause, ArchiverError):
        return replace(summary, exit_code=1, outcome="bug", message=repr(cause), slug=ArchiverError.slug)
    if not is_graver(cause.exit_code, than=summary.exit_code):
        return summary
    return replace(
        summary,
        exit_code=cause.exit_code,
        outcome=outcome(cause.exit_code),
        message=str(cause),
        hint=cause.hint,
        slug=cause.slug,
    )


# --- the order of targets


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
