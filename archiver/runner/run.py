"""One run: from its targets to its summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from archiver.catalog import Catalog, record
from archiver.catalog.query import adoptions, costs
from archiver.errors import ArchiverError
from archiver.exit_codes import is_graver, outcome
from archiver.hiker import endpoints
from archiver.model.events import Observer, RunStarted
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.balance import BalanceCheck
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.priority import by_priority
from archiver.runner.promises import Turn
from archiver.runner.tally import Summary, Tally
from archiver.runner.visitor import Resources, Visitor
from archiver.runner.workers import StopFlag


def run(
    resources: Resources,
    targets: Sequence[Target],
    *,
    command: str,
    options: RunOptions,
    limits: RunLimits,
    observe: Observer,
    stop: StopFlag,
    accounts: int | None = None,
    keep_trays: bool = True,
    may_spend: Callable[[], None] = lambda: None,
    clock: Callable[[], datetime] = utcnow,
) -> Summary:
    """Archive every target, whatever happens to the others, and return what was done, with its exit code.

    ``accounts``: the number of targets, if known. ``keep_trays``: whether answers with trays stay stored.
    ``may_spend`` is called before each target and each file, and raises if the run must end (a full disk).
    An ArchiverError ends up in the summary. Any other exception is a bug: the run is recorded as ended by it,
    and the exception is raised.
    """
    catalog = resources.catalog
    run_id = catalog.write(record.start_run, command, clock())
    waiting = catalog.read(adoptions.count_waiting)
    tally = Tally(run_id, command, targets)
    observe(RunStarted(run_id, command, accounts))
    context = RunContext(run_id, stop, tally, observe, clock)
    visitor = Visitor(resources, context, options=options, limits=limits, may_spend=may_spend)
    balance = BalanceCheck(visitor.api, catalog, run_id)

    def in_turn() -> Iterator[tuple[Target, Turn]]:
        for target in by_priority(targets, catalog, options, clock()):
            yield target, visitor.api.budget.turn()

    error: BaseException | None = None
    try:
        with stop.stop_on_error():
            visitor.prepare()
            balance.begin(limits.calls_per_second, visitor.jobs)
            visitor.visit_each(in_turn(), lambda target_and_turn: visitor.visit(*target_and_turn))
    except BaseException as cause:
        error = cause
    visitor.finish_jobs()
    try:
        balance.end(tally.summary()[0].api_calls)
    except BaseException as cause:
        error = error or cause
    causes = [error, stop.bug, stop.cause, visitor.api.paying_ended]
    causes += visitor.close(drop_trays=not keep_trays and not any(causes) and tally.has_succeeded())
    return finish(catalog, tally, causes, waiting, clock)


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
    summary, code = tally.summary()
    summary = replace(summary, exit_code=code, outcome=outcome(code))
    for cause in causes:
        summary = _weigh(summary, cause)
    bug = next((c for c in causes if c is not None and not isinstance(c, ArchiverError)), None)
    try:
        catalog.write(record.finish_run, summary.run_id, clock(), summary.outcome, summary.exit_code)
        cost = catalog.read(costs.run_cost, summary.run_id, free_path=endpoints.BALANCE)
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
