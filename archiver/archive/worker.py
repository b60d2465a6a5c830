"""A worker: visits accounts for the runs that are open, beside other workers, until it is stopped.

``join_archive`` opens the archive for a process of a shared run, which writes beside others under a lease.
"""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from msgspec.structs import asdict

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.creation import restore_marker
from archiver.archive.database import find_database, locate_database
from archiver.archive.journaling import Journaling
from archiver.archive.nightly_run import open_connections, require_key, require_space
from archiver.archive.session import WritableSession, lock_archive, require_blobs
from archiver.catalog import Catalog, leases, visits
from archiver.catalog.query.account_state import longest_tray
from archiver.catalog.visits import SharedRun
from archiver.cluster.heartbeat import Heartbeat
from archiver.cluster.shared_visits import Orders, SharedRate, SharedVisits, decode, is_of_run
from archiver.config import Config
from archiver.errors import (
    ArchiveLocked,
    ArchiverError,
    ArchiveTooOld,
    DatabaseError,
    DatabaseForeign,
    DiskFull,
    JournalDamaged,
    JournalDiffers,
    MarkerMismatch,
    SchemaNew,
    StoppedBySignal,
    StorageError,
    UsageError,
)
from archiver.model.events import Notice, Pause
from archiver.model.values import replace
from archiver.runner.context import RunContext, RunLimits, RunOptions
from archiver.runner.run import Visitor
from archiver.runner.tally import Tally
from archiver.work import StopFlag, Work

_LOOK_SECONDS = 2.0
"""Between two looks for an open run."""
_LOUD_PAUSE = 8.0
"""The pause after which an outage is reported even without ``-v``: it has lasted for 7 seconds."""
_LONGEST_PAUSE = 30.0
_PATIENCE_SECONDS = 600.0
"""How long a worker goes on trying while the database or the store cannot be used."""
_LASTING = (
    SchemaNew,
    ArchiveTooOld,
    DatabaseForeign,
    JournalDiffers,
    JournalDamaged,
    MarkerMismatch,
    DiskFull,
)


def new_worker_id() -> str:
    """Return the id of a new worker, which no other ever had: it is also its fencing token."""
    return uuid.uuid4().hex


def worker_name() -> str:
    """Return how people are told of this process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def require_cluster(config: Config) -> None:
    """Raise UsageError unless the configuration is for shared runs and its database can have workers."""
    if not config.cluster.enabled:
        raise UsageError(
            "this configuration has no workers", "set cluster.enabled = true; see archiver worker --help"
        )
    if not locate_database(config).has_workers:
        raise UsageError(
            "workers need a PostgreSQL database", "set archive.database; see archiver worker --help"
        )


@contextmanager
def join_archive(
    config: Config,
    command: str,
    work: Work,
    *,
    worker_id: str,
    replaces: str | None,
    is_run: bool = False,
) -> Iterator[WritableSession]:
    """Open the archive of a configuration for writing beside the other processes of a shared run.

    Its schema, triggers and journal were checked when the run began, by ``open_for_writing``. The process is
    the worker ``worker_id`` until the block ends; ``replaces``: the id that it had before. ``is_run``: it
    waits for the others. Of ``work``, ``clock``, ``stop``, ``wait`` and ``archive_id`` count; ``stop`` is set
    if the lease is lost. What the block commits is in the journal when it ends. Raises ArchiveLocked while
    another command writes alone, LeaseLost, and the errors of ``open_for_reading``.
    """
    require_cluster(config)
    with ExitStack() as stack:
        found = stack.enter_context(lock_archive(config, command, work, is_shared=True))
        catalog = stack.enter_context(Catalog.join(find_database(config), worker_id, clock=work.clock))
        work.require(catalog.archive_id, config.archive.directory)
        found.require(catalog.archive_id, config.archive.directory, catalog.removals)
        storage = ArchiveStorage(config, worker_id=worker_id, check=work.stop.check)
        storage.require(catalog.storage, found)
        storage.probe(found)
        lease = config.cluster.lease
        stack.enter_context(
            Heartbeat(catalog, worker_id, worker_name(), lease, work.stop, is_run=is_run, replaces=replaces)
        )
        storage.remove_spools(lambda: catalog.coordinate(leases.ids))
        stack.callback(storage.remove_own_spool)
        journal = stack.enter_context(Journaling(storage, catalog, work))
        journal.join()
        session = WritableSession(config, catalog, storage, journal, stack)
        session.store.prepare()
        yield session


def may_pass(error: BaseException) -> bool:
    """Return whether an error may pass by itself, as when a server is restarted."""
    return isinstance(error, DatabaseError | StorageError | ArchiveLocked) and not isinstance(error, _LASTING)


class OutageWait:
    """Waits after errors that may pass, ever longer, and gives up after ten minutes without success."""

    def __init__(self, work: Work) -> None:
        self._stop, self._observe = work.stop, work.observe
        self._since: float | None = None
        self._pause = 1.0

    def reset(self) -> None:
        """Note that the work goes on again."""
        self._since, self._pause = None, 1.0

    def wait(self, error: BaseException) -> None:
        """Wait before another attempt. Raises the error if it does not pass, or has lasted for too long."""
        self._stop.check()
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if not may_pass(error) or now - self._since > _PATIENCE_SECONDS:
            raise error
        self._observe(Pause(self._pause, str(error)))
        if self._pause == _LOUD_PAUSE:
            self._observe(Notice(f"waiting for up to ten minutes: {error}", is_loud=True))
        self._stop.wait(self._pause)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def visit_for_runs(config: Config, work: Work, *, concurrency: int | None, until_idle: bool) -> None:
    """Visit accounts for every run that opens, until ``work.stop`` is set.

    ``concurrency``: the downloads at a time; None: as configured. ``until_idle``: return once no run is open
    that has an account to visit. Raises the cause of ``work.stop``, and errors that do not pass by
    themselves.
    """
    require_cluster(config)
    require_key(config)
    if concurrency is not None:
        config = replace(config, download=replace(config.download, concurrency=concurrency))
    outage = OutageWait(work)
    previous: str | None = None
    while True:
        work.stop.check()
        try:
            run = _wait_for_work(config, work.stop, until_idle=until_idle, on_answer=outage.reset)
            if run is None:
                return
            worker_id, replaces = new_worker_id(), previous
            previous = worker_id
            _visit_for(config, run, worker_id, replaces, work)
            outage.reset()
            work.stop.wait(_LOOK_SECONDS)
        except ArchiverError as error:
            outage.wait(error)


def _wait_for_work(
    config: Config, stop: StopFlag, *, until_idle: bool, on_answer: Callable[[], None]
) -> SharedRun | None:
    """Return the open run once a visit of it is free; None if there is none now, with ``until_idle``.

    ``on_answer`` is called each time the database has answered.
    """
    with Catalog.open(find_database(config), write=False) as catalog:
        while True:
            run = catalog.read(visits.find_open)
            is_free = run is not None and catalog.read(visits.has_free, run.run_id)
            if is_free or until_idle:
                return run if is_free else None
            on_answer()
            stop.wait(_LOOK_SECONDS)


def _save_answers(session: WritableSession, work: Work) -> None:
    """Wait until the store takes the answers that wait in the spool.

    Until then no other worker may visit their accounts, since it would pay for them again. Raises
    StorageError after ten minutes, and the cause of ``work.stop``.
    """
    outage = OutageWait(work)
    while True:
        try:
            session.storage.empty_spool()
            return
        except StorageError as error:
            outage.wait(error)


def _visit_for(
    config: Config, run: SharedRun, worker_id: str, replaces: str | None, process_work: Work
) -> None:
    """Visit accounts for a run until none is left. Raises what ended the work early."""
    restore_marker(config)  # the first time on this machine
    orders, work = decode(run.orders, Orders), replace(process_work, stop=process_work.stop.child())
    with (
        join_archive(config, "worker", work, worker_id=worker_id, replaces=replaces) as session,
        open_connections(config, work.clock) as (client, downloader),
    ):
        work.observe(Notice(f"worker {worker_name()} takes part in run {run.run_id}"))
        require_blobs(session)
        catalog = session.catalog
        context = RunContext(
            run.run_id,
            catalog,
            RunOptions(**asdict(orders.options), rules=downloader.rules),
            Tally(run.run_id, "worker", ()),
            work,
            require_space=lambda: require_space(config),
        )
        shared = SharedVisits(catalog, context, worker_name(), longest_tray=catalog.read(longest_tray))
        visitor = Visitor(
            context,
            client,
            downloader,
            session.store,
            session.answers,
            limits=RunLimits(downloads=config.download.concurrency, units=orders.units),
            register=shared.register,
            rate=SharedRate(catalog, work.stop),
        )
        causes = visitor.visit_each(shared.feed(visitor), on_end=shared.end)
        cause = causes[0] if causes else None
        if isinstance(cause, StorageError) and may_pass(cause):
            _save_answers(session, process_work)
        session.journal.has_reported_failure = cause is not None
        if cause is None:
            ended = visitor.api.paying_ended
            closing = ended.cause if ended is not None else None
            shared.save_report(closing)
            if closing is not None and not is_of_run(closing):
                raise closing
        else:
            ends_work = not (isinstance(cause, StoppedBySignal) or may_pass(cause))
            with suppress(ArchiverError):  # it must not hide the cause
                shared.save_report(cause if ends_work else None)
            raise cause
