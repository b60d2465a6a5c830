"""``archiver run`` with workers: opens a run, waits until workers have visited its accounts, and ends it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress

from archiver.archive.database import find_database
from archiver.archive.nightly_run import drop_corrected_targets, make_client, require_key, run_limits
from archiver.archive.session import (
    WritableSession,
    open_for_writing,
    require_blobs,
    require_current_list,
    with_settings,
)
from archiver.archive.worker import (
    OutageWait,
    join_archive,
    new_worker_id,
    require_cluster,
    worker_name,
)
from archiver.blobs import marker
from archiver.catalog import Catalog, leases, ledger, record, visits
from archiver.catalog.query import adoptions, change_history
from archiver.cluster.heartbeat import remove_expired
from archiver.cluster.shared_visits import Orders, SharedRate, WorkerReport, decode, encode
from archiver.config import Config
from archiver.errors import (
    ArchiveLocked,
    ArchiverError,
    KeyRejected,
    OutOfUnits,
    SchemaOld,
    UpstreamDown,
)
from archiver.model.api_calls import Limits
from archiver.model.archived import NamedChange
from archiver.model.events import AccountDone, Notice, RunStarted, UnitsSpent
from archiver.model.run_status import VisitCounts
from archiver.model.target import Target
from archiver.model.values import replace
from archiver.runner.context import RunContext, RunOptions
from archiver.runner.metered_api import MeteredApi
from archiver.runner.run import BalanceCheck, by_priority, finish
from archiver.runner.tally import AccountEnd, Summary, Tally
from archiver.runner.threads import Pool
from archiver.work import StopFlag, Work

_LOOK_SECONDS = 1.0
_RETRY_SECONDS = 0.2
_LEAVING_SECONDS = 10.0
"""The longest time between the end of a worker's lease and that of its lock on the database."""
_REPORT_AFTER = 60.0
"""Seconds without a worker after which the run says so."""
_GIVE_UP_AFTER = 600.0
"""Seconds without a worker after which the run ends."""
_GIVE_UP_AFTER_ERROR = 30.0
"""The same if an error has ended a worker. Within it, those that had no account to visit take up the work."""


def run_targets(
    config: Config,
    targets: Sequence[Target],
    *,
    command: str,
    options: RunOptions,
    max_units: int | None,
    work: Work,
    on_changes: Callable[[Iterator[NamedChange]], None] | None,
) -> Summary:
    """Let workers visit the targets, and return the summary of the whole run; see ``Archive.run``."""
    require_cluster(config)
    require_key(config)
    removals = marker.read(config.archive.directory).removals
    clock = work.clock
    _close_earlier_run(config, work)
    orders = Orders(with_settings(config, options), run_limits(config, max_units).units)
    worker_id = new_worker_id()

    def begin(session: WritableSession) -> SharedRunWatch:
        require_current_list(session, removals)
        require_blobs(session)
        catalog = session.catalog
        drop_corrected_targets(session, options, clock())
        _require_no_run(catalog)  # again: another may have begun since, and share the lock by now
        ordered = by_priority(targets, catalog, with_settings(config, options), clock())
        accounts = [encode(target) for target in ordered if target.highlight_pk is None]
        highlights = [encode(target) for target in ordered if target.highlight_pk is not None]
        rate, name, lease = config.api.requests_per_second or 1.0, worker_name(), config.cluster.lease
        run_id = catalog.write(
            record.together,
            lambda rows: visits.begin_run(rows, command, clock(), encode(orders), accounts, highlights, rate),
            lambda rows: leases.join(rows, worker_id, name, lease, is_run=True, replaces=None),
        )
        waiting = catalog.read(adoptions.count_waiting)
        return SharedRunWatch(
            config,
            lambda: Tally(run_id, command, targets),
            waiting,
            worker_id,
            work,
        )

    watch = _write_alone(config, command, begin, work)
    work.observe(RunStarted(watch.run_id, command, len(targets)))
    summary = watch.wait(on_changes)
    _write_due_snapshot(config, command, work)
    return summary


def _close_earlier_run(config: Config, work: Work) -> None:
    """Let no more visits begin of a run that was killed. Raises ArchiveLocked if another run goes on."""
    while True:
        try:
            with Catalog.join(find_database(config), new_worker_id()) as catalog:
                own = marker.read(config.archive.directory)
                work.require(catalog.archive_id, config.archive.directory)
                own.require(catalog.archive_id, config.archive.directory, catalog.removals)
                remove_expired(catalog)
                _require_no_run(catalog)
                if catalog.coordinate(visits.close_all):
                    work.observe(Notice("an earlier run was killed: its workers finish what they have begun"))
                return
        except SchemaOld:
            return  # it has no workers; it is upgraded next
        except ArchiveLocked:
            if not work.wait:
                raise
        work.stop.wait(_LOOK_SECONDS)


def _require_no_run(catalog: Catalog) -> None:
    """Raise ArchiveLocked if another run goes on."""
    for worker in catalog.read(leases.status):
        if worker.is_run:
            raise ArchiveLocked(
                f"another run goes on: {worker.name}, since {worker.started_at:%Y-%m-%d %H:%M:%S} UTC",
                f"wait for it to end, or use --wait; if it was killed, in {worker.expires_in:.0f} s",
            )


def _write_alone(
    config: Config, command: str, begin: Callable[[WritableSession], SharedRunWatch], work: Work
) -> SharedRunWatch:
    """Call ``begin`` with the archive open for this process alone.

    It waits for workers of an earlier run to finish what they have begun, and with ``wait`` for other
    commands too.
    """
    is_said, seen_at = False, time.monotonic()
    while True:
        try:
            with open_for_writing(config, command, work) as session:
                return begin(session)
        except ArchiveLocked:
            with Catalog.open(find_database(config), write=False) as catalog:
                workers = catalog.read(leases.status)
            if any(worker.expires_in < 0 for worker in workers):
                _remove_lost_workers(config)
            if workers:
                seen_at = time.monotonic()
            is_other = (
                any(worker.is_run for worker in workers) or time.monotonic() > seen_at + _LEAVING_SECONDS
            )
            if is_other and not work.wait:
                raise
        if workers and not is_said:
            work.observe(Notice("waiting for the workers of an earlier run to finish what they have begun"))
            is_said = True
        work.stop.wait(_LOOK_SECONDS)


def _remove_lost_workers(config: Config) -> None:
    """Remove workers whose lease has ended: one that is stopped would hold the lock as long as it is."""
    with suppress(ArchiveLocked), Catalog.join(find_database(config), new_worker_id()) as catalog:
        remove_expired(catalog)


def _write_due_snapshot(config: Config, command: str, work: Work) -> None:
    """Write a snapshot of the journal if one is due and nobody else writes. The next run may do it too.

    Only a process that writes alone may: entries that another ships meanwhile would get the same numbers. So
    it waits until the workers have left.
    """
    end = time.monotonic() + _LEAVING_SECONDS
    while work.stop.cause is None:
        try:
            with open_for_writing(config, command, replace(work, wait=False)) as session:
                session.journal.write_due_snapshot()
        except ArchiveLocked:
            if time.monotonic() < end:
                time.sleep(_RETRY_SECONDS)
                continue
        except ArchiverError as error:
            work.observe(Notice(f"a snapshot of the journal could not be written: {error}", is_loud=True))
        return


class SharedRunWatch:
    """Waits for the workers of one run, and ends it."""

    def __init__(
        self,
        config: Config,
        new_tally: Callable[[], Tally],
        waiting: int,
        worker_id: str,
        work: Work,
    ) -> None:
        """``new_tally`` returns a tally of the run without counts.

        ``waiting``: how many adopted files waited for their items when the run began. ``worker_id``: the id
        under which this process has a lease already, so that no other run begins.
        """
        self.run_id = new_tally().summary().run_id
        self._config, self._new_tally, self._waiting = config, new_tally, waiting
        self._worker_id = worker_id
        self._work, self._observe, self._stop, self._clock = work, work.observe, work.stop, work.clock
        self._is_metered = self._knows_balance = False
        self._given_up: list[str] = []
        self._causes: list[BaseException] = []
        self._ended: set[int] = set()
        self._units = 0
        self._alone_since: float | None = None
        self._is_said = False
        self._is_replaced = False

    def wait(self, on_changes: Callable[[Iterator[NamedChange]], None] | None) -> Summary:
        """Return the summary once all visits have ended or no more may begin.

        A database or store that cannot be used is borne for ten minutes. Raises ArchiveLocked if another run
        has begun meanwhile.
        """
        outage = OutageWait(self._work)
        previous, has_read_changes = self._worker_id, False
        while True:
            worker_id, work = new_worker_id(), replace(self._work, stop=StopFlag(), wait=False)
            try:
                with join_archive(
                    self._config,
                    "run",
                    work,
                    worker_id=worker_id,
                    replaces=previous,
                    is_run=True,
                ) as session:
                    self._watch(session, work, outage)
                    summary = self._end(session)
                    if on_changes is not None and not has_read_changes:
                        has_read_changes = True
                        on_changes(session.catalog.stream(change_history.changes, run_id=self.run_id))
                return summary
            except ArchiverError as error:
                if self._is_replaced:  # that does not pass
                    raise
                previous = worker_id
                outage.wait(error)

    def _watch(self, session: WritableSession, work: Work, outage: OutageWait) -> None:
        """Return once the run is over. ``work.stop``: set if this process has lost its lease."""
        catalog = session.catalog
        with self._balance(session, work) as balance:
            while True:
                self._close_if_stopped(catalog)
                # Before the counts: these notice that another run has taken the place of this one.
                is_open = catalog.read(visits.is_open, self.run_id)
                counts = self._counts(catalog)
                outage.reset()
                is_over = counts.ended == counts.visits or not is_open
                if is_over and not counts.begun:
                    break
                self._watch_workers(catalog, counts)
                session.journal.notify()
                work.stop.wait(_LOOK_SECONDS)
            catalog.coordinate(visits.close_run, self.run_id)
            balance.end(catalog.read(ledger.units_of, self.run_id))

    @contextmanager
    def _balance(self, session: WritableSession, work: Work) -> Iterator[BalanceCheck]:
        """Meter the balance of the API, once in a run, and set the rate of calls. It spends nothing."""
        config, catalog = self._config, session.catalog
        with ExitStack() as stack:
            client = stack.enter_context(closing(make_client(config, self._clock)))
            answers = stack.enter_context(session.answers.writer(self.run_id, self._clock()))
            pool = stack.enter_context(Pool(1, "job", work.stop, is_harmless=lambda _: True))
            context = RunContext(self.run_id, catalog, RunOptions(), self._new_tally(), work)
            api = MeteredApi(context, client, answers, limits=Limits(), rate=SharedRate(catalog, work.stop))
            balance = BalanceCheck(context, api, is_known=self._knows_balance)
            if not self._is_metered:
                try:
                    balance.begin(config.api.requests_per_second, pool)
                except (KeyRejected, OutOfUnits) as error:
                    self._causes.append(error)
                    catalog.coordinate(visits.close_run, self.run_id)
                self._is_metered = True
            try:
                yield balance
            finally:
                self._knows_balance = balance.is_known

    def _counts(self, catalog: Catalog) -> VisitCounts:
        """Return how far the run has come, and report what has ended since the last look."""
        for target in catalog.coordinate(visits.give_up, self.run_id):
            lost = f"{visits.MOST_ATTEMPTS} workers were lost while they visited it"
            self._given_up.append(f"{decode(target, Target).text}: {lost}; the next run tries again")
        counts = catalog.read(visits.counts, self.run_id)
        if counts is None:
            self._is_replaced = True
            raise ArchiveLocked("another run has taken the place of this one", "wait for it to end")
        ended = catalog.read(visits.ended_lately, self.run_id)
        for position in ended.keys() - self._ended:
            self._observe(AccountDone(decode(ended[position], Target).text))
        self._ended |= ended.keys()
        units = catalog.read(ledger.units_of, self.run_id)
        if units > self._units:
            self._observe(UnitsSpent(units - self._units))
            self._units = units
        return counts

    def _close_if_stopped(self, catalog: Catalog) -> None:
        """After a signal, let no more visits begin."""
        if self._stop.cause is not None and self._stop.cause not in self._causes:
            self._causes.append(self._stop.cause)
            catalog.coordinate(visits.close_run, self.run_id)
            self._observe(Notice("the workers finish the accounts that they have begun"))

    def _watch_workers(self, catalog: Catalog, counts: VisitCounts) -> None:
        """Report that no worker runs, and end the run if none comes."""
        if counts.workers:
            self._alone_since = None
            return
        now = time.monotonic()
        self._alone_since = now if self._alone_since is None else self._alone_since
        alone = now - self._alone_since
        has_failed = any(report.error is not None for report in self._reports(catalog))
        if alone > (_GIVE_UP_AFTER_ERROR if has_failed else _GIVE_UP_AFTER):
            if not has_failed:
                self._causes.append(
                    UpstreamDown(
                        f"no worker has run for {_GIVE_UP_AFTER / 60:.0f} minutes",
                        "start one: archiver worker",
                    )
                )
            catalog.coordinate(visits.close_run, self.run_id)
        elif alone > _REPORT_AFTER and not self._is_said:
            self._is_said = True
            self._observe(Notice("no worker is running; start one: archiver worker", is_loud=True))

    def _reports(self, catalog: Catalog) -> list[WorkerReport]:
        return [decode(text, WorkerReport) for text in catalog.read(visits.reports, self.run_id)]

    def _end(self, session: WritableSession) -> Summary:
        """Record the end of the run, and return its summary."""
        tally, causes = self._new_tally(), list(self._causes)
        for note in self._given_up:
            tally.count_end(AccountEnd.FAILED)
            tally.note(note)
        counts = session.catalog.read(visits.counts, self.run_id)
        is_whole = counts is not None and counts.ended == counts.visits
        for report in self._reports(session.catalog):
            tally.add_state(report.tally)
            if report.error is None:
                continue
            if is_whole:  # others have done the work of this one
                tally.note(f"worker {report.worker} ended: {report.error.message}", is_trouble=True)
            else:
                causes.append(report.error.to_error(report.worker))
        if tally.has_succeeded() and (count := session.catalog.read(visits.count_failures, self.run_id)):
            lost = f"failures that lost workers recorded: {count:,} (archiver gaps)"
            tally.note(lost, is_trouble=True)
        if not (is_whole or causes):
            causes.append(
                ArchiveLocked(
                    "another run closed this one before all accounts were visited", "run again for the others"
                )
            )
        return finish(session.catalog, tally, causes, self._waiting, self._clock)
