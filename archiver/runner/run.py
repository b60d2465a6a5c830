"""One run: the straight line from targets to a Summary."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.answers.answer_store import AnswerStore
from archiver.answers.answer_writer import AnswerWriter
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, ledger, record
from archiver.errors import AnswerMalformed, ArchiverError, CallFailed, StorageError, outcome
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.events import Observer, RunStarted
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.runner.account import AccountSync
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.budget import Turn
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.downloads import FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import BalanceCheck, MeteredApi
from archiver.runner.priority import in_order
from archiver.runner.tally import Summary, Tally
from archiver.runner.workers import Pool, StopFlag, for_each

_ACCOUNTS_AT_ONCE = 4
_JOBS_AT_ONCE = 8

_RANK = (1, 9, 8, 11, 10, 2, 4, 5, 7, 12, 3, 6, 0)
"""Several causes: the first of these wins; a signal beats them all."""


_OF_ONE_ACCOUNT = (CallFailed, AnswerMalformed)
"""Errors that concern the account alone for which they were raised."""


@dataclass(frozen=True, slots=True)
class Resources:
    """The five edges of a run, opened and closed by whoever composes it."""

    client: HikerClient
    downloader: Downloader
    store: BlobStore
    answers: AnswerStore
    catalog: Catalog


def run(
    seams: Resources,
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
    """Keep every target, whatever happens to the others, and return what was done, with the exit code that it amounts to.

    ``may_spend`` is called before each target and each file, and raises what forbids to go on (a full disk). Errors of the tree end up in the
    Summary; any other exception is a bug: the run is recorded as ended by it, and the exception raised on.
    """
    run_id = seams.catalog.write(record.start_run, command, clock())
    tally = Tally(run_id, command, targets)
    options = replace(options, rules=seams.downloader.rules)
    observe(RunStarted(run_id, command, accounts))
    context = RunContext(run_id, stop, tally, observe, clock)
    answers = seams.answers.writer(run_id, clock())
    paid = MeteredApi(
        seams.client,
        seams.catalog,
        answers,
        context=context,
        limits=limits.units,
        privacy_check=options.privacy_check,
    )
    meter = BalanceCheck(paid, seams.catalog, run_id)
    files = FileDownloader(
        seams.downloader,
        seams.store,
        seams.catalog,
        context=context,
        may_write=may_spend,
        threads=limits.downloads,
    )
    kept = AnswerCache(seams.catalog, seams.answers, clock, sweep_days=options.sweep_days)
    highlights = HighlightSync(paid, files, seams.catalog, kept, context=context)
    jobs = Pool(
        _JOBS_AT_ONCE, "job", stop, harmless=lambda e: e is paid.closed or isinstance(e, _OF_ONE_ACCOUNT)
    )
    keeper = AccountSync(
        paid, highlights, files, seams.catalog, seams.store, kept, jobs=jobs, options=options, context=context
    )

    def in_turn() -> Iterator[tuple[Target, Turn]]:
        for target in in_order(targets, seams.catalog, options, clock()):
            yield target, paid.budget.turn()

    def keep(account: tuple[Target, Turn]) -> None:
        target, turn = account
        try:
            with stop.ending():  # at once, so that the other workers stop too
                if paid.closed is None:
                    may_spend()
                    keeper.keep(target, turn)
        finally:
            turn.end()

    error: BaseException | None = None
    try:
        with stop.ending():
            may_spend()
            _require_descriptors(limits.downloads)
            answers.prepare()
            meter.begin(limits.calls_per_second)
            for_each(in_turn(), keep, threads=_ACCOUNTS_AT_ONCE, stop=stop)
    except BaseException as cause:
        error = cause
    jobs.shutdown(wait=True, cancel_futures=True)
    try:
        meter.end(tally.summary()[0].api_calls)
    except BaseException as cause:
        error = error or cause
    files.close()
    causes = [error, stop.bug, stop.cause, paid.closed]
    try:
        if not keep_trays and not any(causes) and tally.nothing_failed():
            _drop_trays(seams.catalog, answers)
    except ArchiverError as cause:
        causes.append(cause)
    answers.close()
    return _finish(seams, run_id, tally, causes, meter, clock)


def _require_descriptors(downloads: int) -> None:
    """Raises StorageError where so few files may be open at once that connections would fail, each as if upstream were down.

    Measured: 44 at the most with 8 downloads at once, 74 with 32.
    """
    needed, allowed = 64 + 3 * downloads, resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if allowed != resource.RLIM_INFINITY and allowed < needed:
        raise StorageError(
            f"only {allowed} files may be open at once here, and a run with {downloads} downloads at once needs {needed}",
            f"ulimit -n {needed}, or lower download.concurrency",
        )


def _drop_trays(catalog: Catalog, answers: AnswerWriter) -> None:
    """The trays of a run that ended well, where only what was fetched is kept: rows first, then bytes."""
    for segment in answers.tray_segments:
        catalog.write(record.drop_trays, segment)
    answers.drop_trays()


def _finish(
    seams: Resources,
    run_id: int,
    tally: Tally,
    causes: Sequence[BaseException | None],
    meter: BalanceCheck,
    clock: Callable[[], datetime],
) -> Summary:
    summary, code = tally.summary()
    summary = replace(summary, exit_code=code, outcome=outcome(code))
    for cause in causes:
        summary = _weighed(summary, cause)
    bug = next((c for c in causes if c is not None and not isinstance(c, ArchiverError)), None)
    try:
        seams.catalog.write(record.finish_run, run_id, clock(), summary.outcome, summary.exit_code)
        units = seams.catalog.read(ledger.units_spent, run_id)
        summary = replace(summary, units=units, balance_mismatch=meter.mismatch(units))
    except ArchiverError as unrecorded:
        summary = _weighed(summary, unrecorded)  # a signal or a bug is not hidden by a database that is gone
    if bug is not None:
        raise bug
    return summary


def _weighed(summary: Summary, cause: BaseException | None) -> Summary:
    """The summary as this cause leaves it: a graver one is what the run ended by."""
    if cause is None:
        return summary
    if not isinstance(cause, ArchiverError):
        return replace(summary, exit_code=1, outcome="bug", message=repr(cause), slug=ArchiverError.slug)
    if _rank(cause.exit_code) >= _rank(summary.exit_code):
        return summary
    return replace(
        summary,
        exit_code=cause.exit_code,
        outcome=outcome(cause.exit_code),
        message=str(cause),
        hint=cause.hint,
        slug=cause.slug,
    )


def _rank(code: int) -> int:
    return -1 if code > 128 else _RANK.index(code)
