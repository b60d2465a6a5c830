"""One run: what visits its targets, their order, the balance before and after, and the summary.

The order matters if a limit or a kill ends a run early.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from enum import IntEnum

from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.query import adoptions, totals
from archiver.catalog.query.account_state import Progress, account_state, highlight_state, progress
from archiver.errors import ArchiverError, KeyRejected, PayingEnded, StorageError, UpstreamDown
from archiver.exit_codes import is_graver, outcome
from archiver.hiker import endpoints, wire
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.api_calls import Meaning
from archiver.model.events import RunStarted
from archiver.model.identity import EPOCH
from archiver.model.target import Target
from archiver.model.upstream import Balance
from archiver.model.values import replace
from archiver.runner.account import OF_ONE_ACCOUNT, AccountSync, RunServices
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.decide import jobs_due
from archiver.runner.downloads import FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import MeteredApi
from archiver.runner.promises import ACCOUNTS_AT_MOST, Turn
from archiver.runner.rate import CallRate
from archiver.runner.tally import Summary, Tally
from archiver.runner.threads import Pool, for_each
from archiver.runner.visit import AccountRegister, Visit
from archiver.work import Work

_BALANCE_LEAD = 0.1
"""Seconds that the first paid calls wait for the balance; it has usually come by then."""

_ACCOUNTS_AT_FIRST = 4
JOBS_AT_ONCE = 8


def read_balance(client: HikerClient) -> Balance:
    """Return the units left at the API, by one free call outside of any run.

    Raises KeyRejected, UpstreamDown if the API answers with an error, CallFailed if it does not answer,
    AnswerMalformed.
    """
    answer = client.send(endpoints.balance_call())
    document = wire.read_document(answer)
    outcome = wire.parse_outcome(document)
    if outcome.meaning is Meaning.KEY_REJECTED:
        raise KeyRejected(f"the API rejected the key: {outcome.detail}", "check HIKERAPI_TOKEN")
    if outcome.meaning is not Meaning.OK:
        raise UpstreamDown(f"the API did not return the balance: {outcome.detail or outcome.meaning.value}")
    return wire.parse_balance(document)


class BalanceCheck:
    """Records the API's balance before and after the paid calls of a run.

    Both calls for the balance are free; a missing answer is null. ``RunCost.mismatch`` compares the balance
    with the ledger.
    """

    def __init__(self, context: RunContext, api: MeteredApi, *, is_known: bool = False) -> None:
        """``is_known``: the balance before the run is recorded already."""
        self._catalog, self._run_id = context.catalog, context.run_id
        self._api = api
        self.is_known = is_known
        """Whether the balance before the run is recorded."""

    def begin(self, per_second: float | None, pool: Pool) -> None:
        """Set the rate of calls and record the units left.

        If ``per_second`` is None, the rate is what the API states with the balance, or 1: then this waits for
        its answer, and raises the errors of ``MeteredApi.ask_balance``. Otherwise a thread of ``pool`` waits
        for it, while the first paid calls are made, which then raise such errors themselves.
        """
        if per_second is None:
            balance = self._api.ask_balance()
            self._api.set_rate(float(balance.rate) if balance is not None and balance.rate else 1.0)
            self._record_before(balance.units if balance is not None else None)
            return
        self._api.set_rate(per_second)
        call_id = self._api.reserve_balance()  # before any paid call is
        with suppress(TimeoutError):
            pool.submit(lambda: self._record_before(self._api.ask_units_left(call_id))).result(_BALANCE_LEAD)

    def _record_before(self, units: int | None) -> None:
        if units is not None:
            self._catalog.write(record.record_balance_before, self._run_id, units)
            self.is_known = True

    def end(self, api_calls: int) -> None:
        """Record the units left, if any of ``api_calls`` were paid for. Never fails a run.

        The threads that pay must have ended.
        """
        if not api_calls or not self.is_known:
            return
        units = self._api.ask_units_left(self._api.reserve_balance())
        if units is not None:
            # An unusable database is reported when the run is recorded as ended.
            with suppress(ArchiverError):
                self._catalog.write(record.record_balance_after, self._run_id, units)


class Visitor:
    """Visits targets of one run, several at a time. ``api``: all paid calls go through it."""

    def __init__(
        self,
        context: RunContext,
        client: HikerClient,
        downloader: Downloader,
        store: BlobStore,
        answers: AnswerStore,
        *,
        limits: RunLimits,
        register: AccountRegister | None = None,
        rate: CallRate | None = None,
    ) -> None:
        """The caller closes what it passes. ``register``: the accounts of the run; a new one if None.

        ``rate``: the rate of all calls; if None, it is one call a second until ``api.set_rate``.
        """
        self._context, self._work, self._limits = context, context.work, limits
        self._answers = answers.writer(context.run_id, context.work.clock())
        self.api = MeteredApi(context, client, self._answers, limits=limits.units, rate=rate)
        cache = AnswerCache(
            context.catalog, answers, context.work.clock, options=context.options, run_id=context.run_id
        )
        downloads = FileDownloader(context, downloader, store, threads=limits.downloads)
        self._services = RunServices(
            context=context,
            store=store,
            api=self.api,
            answers=cache,
            downloads=downloads,
            highlights=HighlightSync(context, self.api, downloads, cache),
            pool=Pool(
                JOBS_AT_ONCE,
                "job",
                context.work.stop,
                is_harmless=lambda error: isinstance(error, (PayingEnded, *OF_ONE_ACCOUNT)),
            ),
            register=AccountRegister.read(context.catalog) if register is None else register,
        )

    def visit_each(
        self,
        feed: Iterable[tuple[Target, Turn]],
        *,
        balance: BalanceCheck | None = None,
        on_end: Callable[[Target, bool], None] = lambda target, is_complete: None,
    ) -> list[BaseException]:
        """Visit each target of ``feed``, several at a time, and return what ended that early.

        That is empty if all is done, or if only ``api.paying_ended`` has ended it. ``balance`` is recorded
        before and after. ``on_end`` is called after each visit, in its thread, with whether it came to its
        end: it does not if it raises, or if no more calls are paid for.
        """

        def visit(target_and_turn: tuple[Target, Turn]) -> None:
            self._visit(*target_and_turn, on_end)

        stop, services = self._work.stop, self._services
        error: BaseException | None = None
        try:
            with stop.stop_on_error():
                self._prepare()
                if balance is not None:
                    balance.begin(self._limits.calls_per_second, services.pool)
                for_each(feed, visit, threads=_ACCOUNTS_AT_FIRST, most=ACCOUNTS_AT_MOST, stop=stop)
        except BaseException as cause:
            error = cause
        services.pool.shutdown(wait=True, cancel_futures=True)
        services.downloads.close()
        try:
            if balance is not None:
                balance.end(self._context.tally.summary().api_calls)
        except BaseException as cause:
            error = error or cause
        causes = [cause for cause in (stop.bug, error, stop.cause) if cause is not None]
        is_well = not causes and self.api.paying_ended is None and self._context.tally.has_succeeded()
        # The run after a plan uses the trays of the plan.
        keep_trays = self._answers.keeps_trays or self._context.options.list_only
        return [*causes, *self._close_answers(drop_trays=is_well and not keep_trays)]

    def _visit(self, target: Target, turn: Turn, on_end: Callable[[Target, bool], None]) -> None:
        """Visit a target, and call ``on_end``. Raises errors that stop the run."""
        is_complete = False
        try:
            with self._work.stop.stop_on_error():  # stop here, at once, so that the other threads stop too
                if self.api.paying_ended is None:
                    self._context.require_space()
                    is_complete = AccountSync(self._services, target, turn).sync()
        finally:
            turn.end()
            on_end(target, is_complete)

    def _prepare(self) -> None:
        """Check that there is room for what will be paid for, and that the limits of the budget hold.

        Raises DiskFull, StorageError, ArchiveDamaged.
        """
        self._context.require_space()
        self.api.budget.prepare()
        _require_descriptors(self._limits.downloads)
        self._answers.prepare()

    def _close_answers(self, *, drop_trays: bool) -> Iterator[ArchiverError]:
        """End the writing of answers, and yield the errors.

        ``drop_trays``: drop the trays of a run if only pages of highlights are kept: rows first, then bytes.
        """
        try:
            if drop_trays:
                for segment in self._answers.tray_segments:
                    self._context.catalog.write(record.drop_trays, segment)
                self._answers.drop_trays()
        except ArchiverError as cause:
            yield cause
        try:
            self._answers.close()
        except ArchiverError as cause:
            yield cause


def _require_descriptors(downloads: int) -> None:
    """Raise StorageError if too few files may be open at once.

    Otherwise connections would fail as if the API were down.

    Measured: at most 44 files with 8 downloads at once, 74 with 32.
    """
    needed, allowed = 64 + 3 * downloads, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise StorageError(
            f"only {allowed} files may be open at once here,"
            f" and a run with {downloads} downloads at once needs {needed}",
            f"ulimit -n {needed}, or lower download.concurrency",
        )


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
        *visitor.visit_each(feed(), balance=BalanceCheck(context, visitor.api)),
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
            return _Rank.NEVER_LISTED, EPOCH
        return (_Rank.LISTED if stored.tried_at else _Rank.UNFINISHED), stored.fetched_at
    pk = account_progress.pk_of(target, from_config=options.from_config)
    listed_at = account_progress.listed_at.get(pk) if pk is not None else None
    if pk is None or listed_at is None:
        return _Rank.NEVER_LISTED, EPOCH
    is_begun = pk in account_progress.unfinished and _has_jobs(target, catalog, options, now)
    return (_Rank.UNFINISHED if is_begun else _Rank.LISTED), listed_at


def _has_jobs(target: Target, catalog: Catalog, options: RunOptions, now: datetime) -> bool:
    """Return whether the last tray left something to fetch that the target wants and that is due."""
    state = catalog.read(account_state, target, from_config=options.from_config)
    # A worker may have other rules than the process that orders the targets.
    unfinished = replace(options, sweep_days=0, full=False, rules=None)
    return bool(jobs_due(Visit(state, state), unfinished, now))
