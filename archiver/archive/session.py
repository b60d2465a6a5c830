"""Opens an archive for reading or writing, after checking that marker, lock and database agree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database, locate_database
from archiver.archive.journal_difference import (
    compare_journal,
    describe_difference,
    find_lacking,
)
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, schema
from archiver.config import Config
from archiver.errors import ArchiveLocked, ConfigError, JournalDiffers, StorageError, UsageError
from archiver.model.values import replace
from archiver.runner import run_lock
from archiver.work import StopFlag, Work

if TYPE_CHECKING:
    from archiver.answers.answer_store import AnswerStore
    from archiver.archive.journaling import Journaling
    from archiver.blobs.store import BlobStore
    from archiver.media.egress import DownloadRules
    from archiver.runner.context import RunOptions

COMPARED_SECONDS = 10.0
"""How long an open archive believes that its database has all entries, unless that is replaced."""


class Session:
    """The parts of an open archive: its rows, and its blobs and stored answers, opened at first use.

    Marker and database have been compared.
    """

    lacking: JournalDiffers | None = None
    """What to say if the journal has entries that the database lacks. Writers refuse such a database."""

    def __init__(self, config: Config, catalog: Catalog, storage: ArchiveStorage, stack: ExitStack) -> None:
        """``stack`` closes what is opened here."""
        self.config = config
        self.root = config.archive.directory
        self.catalog = catalog
        self.storage = storage
        self._stack = stack
        self._times_replaced, self._compared_at = 0, time.monotonic()

    @cached_property
    def store(self) -> BlobStore:
        """Return the blobs. Raises StorageError if they cannot be opened."""
        store = self.storage.blobs(self.catalog)
        self._stack.callback(store.close)
        return store

    @cached_property
    def answers(self) -> AnswerStore:
        """Return the stored answers."""
        return self.storage.answers(self.catalog.archive_id)

    def require_current(self) -> None:
        """Raise JournalDiffers if the database lacks entries: for what would remove what it lacks."""
        self.compare_with_journal()
        if self.lacking is not None:
            raise self.lacking

    def compare_if_changed(self, *, is_read: bool = True) -> bool:
        """Compare again if another database was put in the place of this one, and from time to time.

        A database can be changed in its place too; that matters only if it ``is_read``. Return whether it was
        compared. Raises what ``compare_with_journal`` does, and the next call compares again; DatabaseError.
        """
        is_due = is_read and time.monotonic() - self._compared_at >= COMPARED_SECONDS
        if not is_due and self.catalog.follow() == self._times_replaced:
            return False
        self.compare_with_journal()
        return True

    def compare_with_journal(self) -> None:
        """Set ``lacking``. Raises JournalDiffers if the database is from before ``archiver forget``."""
        times_replaced = self.catalog.follow()
        with suppress(ConfigError, StorageError):  # of a bucket: then the journal cannot be read
            self.lacking = find_lacking(self.storage.journal(for_reader=True), self.catalog)
        self._times_replaced, self._compared_at = times_replaced, time.monotonic()


class WritableSession(Session):
    """The parts of an archive that is open for writing; what is committed to ``catalog`` is journaled."""

    def __init__(
        self,
        config: Config,
        catalog: Catalog,
        storage: ArchiveStorage,
        journal: Journaling,
        stack: ExitStack,
    ) -> None:
        super().__init__(config, catalog, storage, stack)
        self.journal = journal


@contextmanager
def lock_archive(config: Config, command: str, work: Work, *, is_shared: bool = False) -> Iterator[Marker]:
    """Hold the lock of an archive, and yield its marker. Raises NoArchive, and as ``hold_run_lock`` does.

    The marker is read under the lock, since a move may have changed it while this command waited.
    """
    root = config.archive.directory
    marker.read(root)  # no lock file is made where no archive is
    with run_lock.hold_run_lock(root / "lock", command, work, is_shared=is_shared):
        yield marker.read(root)


@contextmanager
def open_for_reading(
    config: Config, database: str | Path | None = None, *, is_lasting: bool = False
) -> Iterator[Session]:
    """Open the archive of a configuration, without writing.

    ``database``: the same database under another role. ``is_lasting``: for hours, with many threads.

    An older copy is opened too: see ``Session.lacking``. Raises NoArchive, MarkerMismatch, SchemaOld,
    SchemaNew, JournalDiffers if the database is from before ``archiver forget``, DatabaseError, StorageError.
    """
    root = config.archive.directory
    marker.read(root)
    source = find_database(config) if database is None else database
    storage = ArchiveStorage(config)

    def require(status: schema.SchemaStatus) -> None:
        found = marker.read(root)
        found.require(status.archive_id, root, status.removals)
        storage.require(status.storage, found)

    with ExitStack() as stack:
        catalog = stack.enter_context(
            Catalog.open(source, write=False, is_lasting=is_lasting, require=require)
        )
        session = Session(config, catalog, storage, stack)
        session.compare_with_journal()
        yield session


@contextmanager
def open_for_writing(
    config: Config, command: str, work: Work, *, follow_database: bool = False
) -> Iterator[WritableSession]:
    """Open the archive of a configuration under its lock. An older schema is brought up to date.

    ``command`` is written into the lock file for others to read. Of ``work``, ``clock``, ``stop``, ``wait``
    and ``archive_id`` count. Everything that the block commits is in the journal when the block ends.
    ``follow_database``: if the journal is damaged, lacks its end or has another history, begin a new one with
    the rows of the database. Raises JournalDiffers or JournalDamaged before anything is written,
    ArchiveLocked, DiskFull, and the errors of ``open_for_reading`` except SchemaOld.
    """
    with open_rows(config, command, work, follow_database=follow_database) as session:
        session.store.prepare()
        yield session


@contextmanager
def open_rows(
    config: Config,
    command: str,
    work: Work,
    *,
    follow_database: bool = False,
    mend_triggers: bool = False,
) -> Iterator[WritableSession]:
    """Open the database and journal of an archive for writing, like ``open_for_writing``, but no blobs yet.

    ``mend_triggers``: if triggers of the journal are missing, create them, and begin a new journal;
    ``follow_database`` does that too.
    """
    from archiver.archive.journaling import Journaling, require_current

    root = config.archive.directory
    with ExitStack() as stack:
        found = stack.enter_context(lock_archive(config, command, work))
        opening = stack.enter_context(Catalog.prepare(find_database(config), clock=work.clock))
        work.require(opening.state.archive_id, root)
        found.require(opening.state.archive_id, root, opening.state.removals)
        storage = ArchiveStorage(config, check=work.stop.check)
        storage.require(opening.state.storage, found)
        found = storage.probe(found)
        if not (mend_triggers or follow_database):
            opening.state.require_triggers()
        compared = require_current(
            storage.journal(), opening.state, found.journal, follow_database=follow_database, now=work.clock()
        )
        catalog = stack.enter_context(opening.finish(mend_triggers=True))
        journal = stack.enter_context(Journaling(storage, catalog, work))
        journal.begin(compared)
        session = WritableSession(config, catalog, storage, journal, stack)
        finish_removal(session, work.stop)
        yield session
        # At the end, since a run takes a marker that changes before it begins for a removal: see
        # ``require_current_list``.
        storage.mark_removals(catalog.removals)


@contextmanager
def open_for_dry_run(config: Config, work: Work) -> Iterator[Session]:
    """Open the archive for reading, and raise what ``open_for_writing`` would raise. Writes nothing.

    Of ``work``, ``stop``, ``wait`` and ``archive_id`` count. Raises SchemaOld too, and UsageError if a
    removal of ``archiver forget`` has not ended: ``open_for_writing`` finishes it.
    """
    run_lock.require_free(config.archive.directory / "lock", work)
    with open_for_reading(config) as session:
        work.require(session.catalog.archive_id, session.root)
        state = schema.read_state(locate_database(config))
        state.require_triggers()
        end = session.storage.probe(marker.read(config.archive.directory), dry_run=True).journal
        difference = describe_difference(compare_journal(session.storage.journal(), state, end))
        if difference is not None:
            raise difference
        refuse_unfinished_removal(session)
        yield session


def refuse_unfinished_removal(session: Session) -> None:
    """Raise UsageError if a removal of ``archiver forget`` has not ended; ArchiveDamaged if none can end."""
    from archiver.catalog.query import account_parts

    if session.catalog.read(account_parts.is_unfinished):
        from archiver.archive.forgetting import require_own_removal

        require_own_removal(session)
        raise UsageError(
            "archiver forget was interrupted, and must end first", "archiver db upgrade finishes it"
        )


def finish_removal(session: WritableSession, stop: StopFlag) -> bool:
    """Finish a removal of ``archiver forget`` that was begun and has not ended; return whether there was one.

    Raises StorageError, DatabaseError, DiskFull.
    """
    from archiver.catalog.query import account_parts

    if not session.catalog.read(account_parts.is_unfinished):
        return False
    from archiver.archive.forgetting import RemovalSteps

    RemovalSteps(session, stop).finish()
    return True


def with_settings(config: Config, options: RunOptions) -> RunOptions:
    """Return the options of a command with those of its configuration."""
    return replace(
        options,
        sweep_days=config.sync.sweep_days,
        sweep_days_max=config.sync.sweep_days_max,
        privacy_check=config.api.privacy_check,
        covers=config.download.covers,
        avatars=config.download.avatars,
    )


def read_download_rules(config: Config) -> DownloadRules:
    """Return which downloads the settings allow. Raises ConfigError for an invalid host pattern."""
    from archiver.media.egress import DownloadRules

    return DownloadRules.of(config.download.allowed_hosts, config.download.max_file_size)


def require_blobs(session: Session) -> None:
    """Raise StorageError if none of the recorded blobs exists: the disk is not mounted.

    Otherwise every account would be fetched and paid for again. Nearly always the first blob exists. If it
    does not, a sample is not enough: the first hundreds of blobs of a large archive are all in ``blobs/00``,
    and perhaps only that directory is lost. So all names that are there are compared with all rows.
    """
    from archiver.catalog.query import holdings

    rows = session.catalog.read_pages(holdings.digests_after)
    first = next(rows, None)
    if first is None or session.store.has(first):
        return
    missing, names = 1, (digest for digest, _ in session.store.list_blobs())
    name = next(names, None)
    for digest in rows:
        while name is not None and name < digest:
            name = next(names, None)
        if name == digest:
            return
        missing += 1
    raise StorageError(
        f"the database lists {missing} blobs, and none of them is in {session.storage.location}/blobs",
        f"{session.storage.remedy}; if they are truly gone: archiver verify --repair --accept-loss",
    )


def require_answers(session: Session) -> None:
    """Raise StorageError if there are no stored answers at all, and rows say that some are not lost."""
    from archiver.catalog.query import holdings

    answers, lost = session.catalog.read(holdings.answer_counts)
    if answers > lost and next(iter(session.answers.segments()), None) is None:
        raise StorageError(
            f"the database lists {answers - lost} stored answers, and there are none in "
            f"{session.storage.location}/answers",
            f"{session.storage.remedy}; if they are truly gone: archiver verify --repair",
        )


def require_current_list(session: Session, removals: int) -> None:
    """Raise ArchiveLocked if an account was forgotten since ``removals`` were counted.

    A list of accounts that was read before may still name it, and a run would archive it again.
    """
    if marker.read(session.root).removals > removals:
        raise ArchiveLocked("an account was forgotten meanwhile", "run again with the new list")
