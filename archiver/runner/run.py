"""One run: from its targets to its summary."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from msgspec import Struct

from archiver.answers.answer_storage import AnswerWriter
from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.catalog.query import adoptions, costs
from archiver.errors import AnswerMalformed, ArchiverError, CallFailed, StorageError
from archiver.exit_codes import is_graver, outcome
from archiver.hiker import endpoints
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.events import Observer, RunStarted
from archiver.model.identity import utcnow
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.account import AccountRegister, AccountSync, RunServices
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.budget import ACCOUNTS_AT_MOST, Turn
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.downloads import FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import BalanceCheck, MeteredApi
from archiver.runner.priority import by_priority
from archiver.runner.tally import Summary, Tally
from archiver.runner.workers import Pool, StopFlag, for_each

_ACCOUNTS_AT_FIRST = 4
JOBS_AT_ONCE = 8


_OF_ONE_ACCOUNT = (CallFailed, AnswerMalformed)
"""Errors that concern only one account."""


class Resources(Struct, frozen=True):
    """What the caller of a run opens and closes for it."""

    client: HikerClient
    downloader: Downloader
    store: BlobStore
    answers: AnswerStore
    catalog: Catalog


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
    run_id = resources.catalog.write(record.start_run, command, clock())
    waiting = resources.catalog.read(adoptions.count_waiting)
    tally = Tally(run_id, command, targets)
    options = replace(options, rules=resources.downloader.rules)
    observe(RunStarted(run_id, command, accounts))
    context = RunContext(run_id, stop, tally, observe, clock)
    answers = resources.answers.writer(run_id, clock())
    api = MeteredApi(resources.client, resources.catalog, answers, context=context, limits=limits.units)
    balance = BalanceCheck(api, resources.catalog, run_id)
    downloads = FileDownloader(
        resources.downloader,
        resources.store,
        resources.catalog,
        context=context,
        may_write=may_spend,
        threads=limits.downloads,
    )
    cache = AnswerCache(resources.catalog, resources.answers, clock, sweep_days=options.sweep_days)
    jobs = Pool(
        JOBS_AT_ONCE,
        "job",
        stop,
        is_harmless=lambda e: e is api.closing_error or isinstance(e, _OF_ONE_ACCOUNT),
    )
    services = RunServices(
        context=context,
        options=options,
        catalog=resources.catalog,
        store=resources.store,
        api=api,
        answers=cache,
        highlights=HighlightSync(api, downloads, resources.catalog, cache, context=context),
        downloads=downloads,
        jobs=jobs,
        register=AccountRegister.read(resources.catalog),
    )

    def in_turn() -> Iterator[tuple[Target, Turn]]:
        for target in by_priority(targets, resources.catalog, options, clock()):
            yield target, api.budget.turn()

    def visit(target_and_turn: tuple[Target, Turn]) -> None:
        target, turn = target_and_turn
        try:
            with stop.stop_on_error():  # stop here, at once, so that the other workers stop too
                if api.closing_error is None:
                    may_spend()
                    AccountSync(services, target, turn).sync()
        finally:
            turn.end()

    error: BaseException | None = None
    try:
        with stop.stop_on_error():
            may_spend()
            _require_descriptors(limits.downloads)
            answers.prepare()
            balance.begin(limits.calls_per_second, jobs)
            for_each(in_turn(), visit, threads=_ACCOUNTS_AT_FIRST, most=ACCOUNTS_AT_MOST, stop=stop)
    except BaseException as cause:
        error = cause
    jobs.shutdown(wait=True, cancel_futures=True)
    try:
        balance.end(tally.summary()[0].api_calls)
    except BaseException as cause:
        error = error or cause
    downloads.close()
    causes = [error, stop.bug, stop.cause, api.closing_error]
    must_drop = not keep_trays and not any(causes) and tally.has_succeeded()
    causes += _end_answers(resources.catalog, answers, drop_trays=must_drop)
    return _finish(resources.catalog, run_id, tally, causes, waiting, clock)


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


def _end_answers(catalog: Catalog, answers: AnswerWriter, *, drop_trays: bool) -> Iterator[ArchiverError]:
    """End the writing of answers, and yield the errors.

    ``drop_trays``: drop the trays of a run if only pages of highlights are kept: rows first, then bytes.
    """
    try:
        if drop_trays:
            for segment in answers.tray_segments:
                catalog.write(record.drop_trays, segment)
            answers.drop_trays()
    except ArchiverError as cause:
        yield cause
    try:
        answers.close()
    except ArchiverError as cause:
        yield cause


def _finish(
    catalog: Catalog,
    run_id: int,
    tally: Tally,
    causes: Sequence[BaseException | None],
    waiting: int,
    clock: Callable[[], datetime],
) -> Summary:
    summary, code = tally.summary()
    summary = replace(summary, exit_code=code, outcome=outcome(code))
    for cause in causes:
        summary = _weigh(summary, cause)
    bug = next((c for c in causes if c is not None and not isinstance(c, ArchiverError)), None)
    try:
        catalog.write(record.finish_run, run_id, clock(), summary.outcome, summary.exit_code)
        cost = catalog.read(costs.run_cost, run_id, free_path=endpoints.BALANCE)
        summary = replace(summary, units=cost.units, balance_mismatch=cost.mismatch)
        if found := waiting - catalog.read(adoptions.count_waiting):
            note = f"adopted files that have found their items: {found:,}"
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
