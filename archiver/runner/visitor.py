"""What visits the targets of a run in this process: its threads, and all that they work with."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import record
from archiver.errors import ArchiverError, PayingEnded, StorageError
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.target import Target
from archiver.runner.account import OF_ONE_ACCOUNT, AccountSync, RunServices
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.balance import BalanceCheck
from archiver.runner.context import RunContext, RunLimits
from archiver.runner.downloads import FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import MeteredApi
from archiver.runner.promises import ACCOUNTS_AT_MOST, Turn
from archiver.runner.rate import CallRate
from archiver.runner.threads import Pool, for_each
from archiver.runner.visit import AccountRegister

_ACCOUNTS_AT_FIRST = 4
JOBS_AT_ONCE = 8

T = TypeVar("T")


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
        feed: Iterable[T],
        visit: Callable[[T], object],
        *,
        balance: BalanceCheck | None = None,
    ) -> list[BaseException]:
        """Call ``visit`` for each of ``feed``, several at a time, and return what ended that early.

        That is empty if all is done, or if only ``api.paying_ended`` has ended it. ``balance`` is recorded
        before and after.
        """
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

    def visit(self, target: Target, turn: Turn) -> bool:
        """Visit a target, and return whether the visit came to an end.

        It does not if no more calls are paid for. Raises errors that stop the run.
        """
        try:
            with self._work.stop.stop_on_error():  # stop here, at once, so that the other threads stop too
                if self.api.paying_ended is not None:
                    return False
                self._context.require_space()
                return AccountSync(self._services, target, turn).sync()
        finally:
            turn.end()

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
