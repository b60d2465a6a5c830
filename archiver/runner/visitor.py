"""What visits the targets of a run in this process: its threads, and all that they work with."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore
from archiver.blobs.store import BlobStore
from archiver.catalog import Catalog, record
from archiver.errors import ArchiverError, PayingEnded, StorageError
from archiver.hiker.client import HikerClient
from archiver.media.downloader import Downloader
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.account import OF_ONE_ACCOUNT, AccountRegister, AccountSync, RunServices
from archiver.runner.answer_cache import AnswerCache
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.downloads import FileDownloader
from archiver.runner.highlight import HighlightSync
from archiver.runner.metered_api import MeteredApi
from archiver.runner.promises import ACCOUNTS_AT_MOST, Turn
from archiver.runner.rate import CallRate
from archiver.runner.workers import Pool, for_each

_ACCOUNTS_AT_FIRST = 4
JOBS_AT_ONCE = 8

T = TypeVar("T")


class Resources(Struct, frozen=True):
    """What the caller of a run opens and closes for it."""

    client: HikerClient
    downloader: Downloader
    store: BlobStore
    answers: AnswerStore
    catalog: Catalog


class Visitor:
    """Visits targets of one run, several at a time. ``api``: the calls that it pays for."""

    def __init__(
        self,
        resources: Resources,
        context: RunContext,
        *,
        options: RunOptions,
        limits: RunLimits,
        may_spend: Callable[[], None],
        register: AccountRegister | None = None,
        rate: CallRate | None = None,
    ) -> None:
        """``may_spend``: see ``run``. ``register``: the accounts of the run; a new one if None.

        ``rate``: the rate of all calls; if None, it is one call a second until ``api.set_rate``.
        """
        catalog, clock, stop = resources.catalog, context.clock, context.stop
        self._catalog, self._stop, self._may_spend = catalog, stop, may_spend
        self._threads = limits.downloads
        self._answers = resources.answers.writer(context.run_id, clock())
        self.api = MeteredApi(
            resources.client, catalog, self._answers, context=context, limits=limits.units, rate=rate
        )
        self._downloads = FileDownloader(
            resources.downloader,
            resources.store,
            catalog,
            context=context,
            may_write=may_spend,
            threads=limits.downloads,
        )
        cache = AnswerCache(catalog, resources.answers, clock, options=options, run_id=context.run_id)
        self.jobs = Pool(
            JOBS_AT_ONCE,
            "job",
            stop,
            is_harmless=lambda error: isinstance(error, (PayingEnded, *OF_ONE_ACCOUNT)),
        )
        self._services = RunServices(
            context=context,
            options=replace(options, rules=resources.downloader.rules),
            catalog=catalog,
            store=resources.store,
            api=self.api,
            answers=cache,
            highlights=HighlightSync(self.api, self._downloads, catalog, cache, context=context),
            downloads=self._downloads,
            jobs=self.jobs,
            register=AccountRegister.read(catalog) if register is None else register,
        )

    def prepare(self) -> None:
        """Check that there is room for what will be paid for, and that the limits of the budget hold.

        Raises DiskFull, StorageError, ArchiveDamaged.
        """
        self._may_spend()
        self.api.budget.prepare()
        _require_descriptors(self._threads)
        self._answers.prepare()

    def visit_each(self, feed: Iterable[T], visit: Callable[[T], object]) -> None:
        """Call ``visit`` for each of ``feed``, several at a time; see ``for_each``."""
        for_each(feed, visit, threads=_ACCOUNTS_AT_FIRST, most=ACCOUNTS_AT_MOST, stop=self._stop)

    def visit(self, target: Target, turn: Turn) -> bool:
        """Visit a target, and return whether the visit came to an end.

        It does not if no more calls are paid for. Raises errors that stop the run.
        """
        try:
            with self._stop.stop_on_error():  # stop here, at once, so that the other workers stop too
                if self.api.paying_ended is not None:
                    return False
                self._may_spend()
                return AccountSync(self._services, target, turn).sync()
        finally:
            turn.end()

    def finish_jobs(self) -> None:
        """Wait for the highlights and downloads that have begun, and give up the others."""
        self.jobs.shutdown(wait=True, cancel_futures=True)
        self._downloads.close()

    def close(self, *, drop_trays: bool) -> Iterator[ArchiverError]:
        """End the writing of answers, and yield the errors.

        ``drop_trays``: drop the trays of a run if only pages of highlights are kept: rows first, then bytes.
        """
        try:
            if drop_trays:
                for segment in self._answers.tray_segments:
                    self._catalog.write(record.drop_trays, segment)
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
