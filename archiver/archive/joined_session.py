"""Opens an archive for a process of a shared run, which writes beside others under a lease."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database, locate_database
from archiver.archive.journaling import Journaling, ShippingTurn
from archiver.archive.session import WritableSession
from archiver.blobs import marker
from archiver.catalog import Catalog, leases
from archiver.cluster.heartbeat import Heartbeat
from archiver.config import Config
from archiver.errors import UsageError
from archiver.model.identity import utcnow
from archiver.runner import run_lock
from archiver.work import StopFlag


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
    if locate_database(config).url is None:
        raise UsageError(
            "workers need a PostgreSQL database", "set archive.database; see archiver worker --help"
        )


@contextmanager
def join_archive(
    config: Config,
    command: str,
    stop: StopFlag,
    *,
    worker_id: str,
    replaces: str | None,
    is_run: bool = False,
    clock: Callable[[], datetime] = utcnow,
) -> Iterator[WritableSession]:
    """Open the archive of a configuration for writing beside the other processes of a shared run.

    Its schema, triggers and journal were checked when the run began, by ``open_for_writing``. The process is
    the worker ``worker_id`` until the block ends; ``replaces``: the id that it had before. ``is_run``: it
    waits for the others. ``stop`` is set if the lease is lost. What the block commits is in the journal when
    it ends. Raises ArchiveLocked while another command writes alone, LeaseLost, and the errors of
    ``open_for_reading``.
    """
    require_cluster(config)
    root = config.archive.directory
    marker.read(root)  # no lock file is made where no archive is
    with ExitStack() as stack:
        stack.enter_context(run_lock.hold_run_lock(root / "lock", command, utcnow(), is_shared=True))
        found = marker.read(root)
        catalog = stack.enter_context(Catalog.join(find_database(config), worker_id, clock=clock))
        found.require(catalog.archive_id, root, catalog.removals)
        storage = ArchiveStorage(config, worker_id=worker_id, check=stop.check)
        storage.require(catalog.storage, found)
        storage.probe(found)
        lease = config.cluster.lease
        stack.enter_context(
            Heartbeat(catalog, worker_id, worker_name(), lease, stop, is_run=is_run, replaces=replaces)
        )
        storage.remove_spools(lambda: catalog.coordinate(leases.ids))
        stack.callback(storage.remove_own_spool)
        files = storage.journal()
        turn = ShippingTurn(catalog, files.objects.gather_seconds / 2, clock)
        journal = stack.enter_context(Journaling(files, catalog, stop=stop, clock=clock, turn=turn))
        journal.join()
        session = WritableSession(config, catalog, storage, journal, stack)
        session.store.prepare()
        yield session
