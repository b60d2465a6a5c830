"""``db rebuild`` and ``db snapshot``: the database from the journal, and the journal from the database."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

from msgspec import Struct

from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database
from archiver.archive.journal_difference import compare_journal
from archiver.archive.journaling import Journaling, require_current
from archiver.archive.session import (
    Session,
    WritableSession,
    finish_removal,
    lock_archive,
    open_for_dry_run,
    open_for_writing,
    refuse_unfinished_removal,
)
from archiver.blobs import marker
from archiver.blobs.marker import Marker
from archiver.catalog import Catalog, journaled_rows, locate, record, schema
from archiver.catalog.dialects import Database
from archiver.catalog.rebuilt_database import copy_rows
from archiver.catalog.schema import read_state
from archiver.config import Config
from archiver.errors import ArchiveTooOld, DatabaseError, JournalDiffers, SchemaNew, UsageError
from archiver.journal.journal_check import Comparison, JournalState
from archiver.journal.journal_files import JournalFiles
from archiver.model.journal_entries import JournalEnd, JournalHead
from archiver.model.values import replace
from archiver.rebuild import RebuildReport, rebuild
from archiver.reread import Recovery, recover
from archiver.runner import run_lock
from archiver.temporary import temporary_directory
from archiver.text_format import pluralize
from archiver.work import Work


class RebuiltArchive(Struct, frozen=True):
    """What a rebuild did.

    ``journal``: what was applied. ``recovery``: the stored answers that no entry of the journal names, and
    that are recorded now. ``was_copy``: an older copy was brought up to date; no new database was built.
    ``was_before_removal``: the file that was set aside has what ``archiver forget`` has removed since.
    ``torn``: the last file of the journal, if its end could not be read: what was there is missing. None
    otherwise; earlier files may have torn ends, but then a later file has what was there. ``foreign``:
    files of the journal that do not belong where they are. ``has_finished_removal``: a removal that a killed
    ``forget`` had begun is finished. It deletes the file that was set aside too: then that is ``deleted``.
    """

    journal: RebuildReport
    recovery: Recovery
    was_copy: bool
    torn: str | None
    was_before_removal: bool = False
    foreign: tuple[str, ...] = ()
    has_finished_removal: bool = False
    deleted: Path | None = None

    @property
    def is_complete(self) -> bool:
        """Return whether the whole journal could be read, and no stored answer is newer.

        Otherwise rows may be missing.
        """
        return self.journal.is_whole and self.torn is None and not self.recovery.answers


def rebuild_database(config: Config, work: Work, *, skip_damage: bool = False) -> RebuiltArchive:
    """Rebuild the database of the archive from its journal. Costs nothing, and downloads nothing.

    ``skip_damage``: if the journal is damaged, keep the rows before the damage, move its files to
    ``quarantine/``, and begin a new one. ``work.progress`` gets the bytes of the journal read so far, and in
    all.

    An older copy is brought up to date. A SQLite file with another history, or one that cannot be used, is
    renamed. Raises UsageError if the database is sound and current, or has more than the journal,
    MarkerMismatch if it or the bucket belongs to another archive, DatabaseForeign if a PostgreSQL database is
    neither empty nor an older copy, SchemaNew, JournalDamaged, ArchiveLocked, NoArchive, DatabaseError,
    StorageError (also if the marker names another storage), DiskFull, StoppedBySignal.
    """
    with lock_archive(config, "db rebuild", work) as found:
        before = _look(config, found, work, dry_run=False)
        storage, files = before.storage, before.files
        report = before.apply(
            before.place,
            skip_damage=skip_damage,
            group_readable=config.archive.group_readable,
            work=work,
        )
        torn, foreign = before.torn_end(), tuple(files.find_misplaced())
        state = read_state(before.place)
        compared = (
            Comparison(JournalState.NONE, state.head)  # its files are moved to quarantine/
            if report.begins_again
            else require_current(files, state, before.end, follow_database=skip_damage, now=work.clock())
        )
        with (
            Catalog.open(before.database, write=True) as catalog,
            Journaling(storage, catalog, work) as journal,
            ExitStack() as stack,
        ):
            journal.begin(compared)
            if catalog.storage != before.found.storage == config.archive.storage:
                # The journal lacks the last move's end.
                catalog.write(record.record_storage, before.found.storage)
            session = WritableSession(config, catalog, storage, journal, stack)
            has_finished = finish_removal(session, work.stop)
            storage.mark_removals(catalog.removals)
            recovery = recover(catalog, storage.answers(), work.stop.check)
        before.require_work(report, recovery)
        deleted = report.set_aside
        if deleted is None or os.path.lexists(deleted):
            deleted = None
        else:
            report = replace(report, set_aside=None)
        is_old = report.set_aside is not None and _has_fewer_removals(locate(report.set_aside), before.place)
        return RebuiltArchive(report, recovery, before.is_copy, torn, is_old, foreign, has_finished, deleted)


def plan_rebuild(config: Config, work: Work, *, skip_damage: bool = False) -> RebuiltArchive:
    """Return what ``rebuild_database`` would do, by doing it to a temporary database.

    ``journal.set_aside`` is the file that would be renamed. Takes the arguments of ``rebuild_database``, and
    raises its errors; UsageError too if a removal of ``archiver forget`` has not ended.
    """
    root = config.archive.directory
    marker.read(root)
    run_lock.require_free(root / "lock")
    before = _look(config, marker.read(root), work, dry_run=True)
    place = before.place
    if place.path is None and before.compared is None:
        schema.require_empty(place)
    with temporary_directory(root) as directory:
        copy = locate(directory / "archive.db")
        if before.compared is not None:
            with Catalog.open(before.database, write=False) as own, own.snapshot() as rows:
                copy_rows(rows, directory / "archive.db", work.stop.check)
        report = before.apply(copy, skip_damage=skip_damage, group_readable=False, work=work)
        with Catalog.open(directory / "archive.db", write=True) as catalog, ExitStack() as stack:
            refuse_unfinished_removal(Session(config, catalog, before.storage, stack))
            recovery = recover(catalog, before.storage.answers(), work.stop.check)
        is_replaced = place.path is not None and os.path.lexists(place.path) and not before.is_complete
        is_old = is_replaced and _has_fewer_removals(place, copy)
    before.require_work(report, recovery)
    report = replace(report, set_aside=place.path if is_replaced else None)
    foreign = tuple(before.files.find_misplaced())
    return RebuiltArchive(report, recovery, before.is_copy, before.torn_end(), is_old, foreign)


class _Before(Struct, frozen=True):
    """What a rebuild begins with.

    ``compared``: None if a new database must be built. ``end``: where the journal ended according to
    ``archive.json``; None if that is not known.
    """

    found: Marker
    storage: ArchiveStorage
    files: JournalFiles
    database: str | Path
    place: Database
    compared: Comparison | None
    end: JournalEnd | None

    @property
    def is_complete(self) -> bool:
        """As an interrupted rebuild leaves it: only stored answers may be missing."""
        return self.compared is not None and self.compared.state is JournalState.CURRENT

    @property
    def is_copy(self) -> bool:
        """Whether the database is an older copy."""
        return self.compared is not None and not self.is_complete

    def apply(self, to: Database, *, skip_damage: bool, group_readable: bool, work: Work) -> RebuildReport:
        """Apply to a database what it lacks of the journal."""
        if self.compared is not None and self.is_complete:
            return RebuildReport(missing=self.compared.missing, only_snapshot=self.compared.only_snapshot)
        return rebuild(
            self.files,
            self.found.id,
            to,
            older=self.compared,
            end=self.end,
            removals=self.found.removals,
            skip_damage=skip_damage,
            group_readable=group_readable,
            work=work,
        )

    def torn_end(self) -> str | None:
        """Return the last file of the journal if its end could not be read, and the database lacks it."""
        last = self.files.names()[-1]
        return last if last in self.files.torn and not self.is_complete else None

    def require_work(self, report: RebuildReport, recovery: Recovery) -> None:
        """Raise UsageError if the database was complete, with all stored answers, and the journal is."""
        if self.is_complete and not (report.missing or recovery.answers):
            raise UsageError(
                f"the database {self.place} is complete: there is nothing to rebuild",
                "archiver verify compares it with the journal; if it is damaged, move it away first",
            )


def _look(config: Config, found: Marker, work: Work, *, dry_run: bool) -> _Before:
    """Return what there is. Without ``dry_run``, also check that the storage can be written to."""
    storage = ArchiveStorage(config, check=work.stop.check)
    storage.require(found.storage, found)
    storage.probe(found, dry_run=dry_run)
    files, database, end = storage.journal(), find_database(config), storage.read_end()
    place = locate(database)
    compared = _compare_present(place, found, files, end, config.archive.directory)
    return _Before(found, storage, files, database, place, compared, end)


def take_snapshot(config: Config, work: Work) -> JournalHead:
    """Write all rows into a new file of the journal, and return where it ends. Takes the lock.

    Raises the errors of ``open_for_writing``, DiskFull.
    """
    with open_for_writing(config, "db snapshot", work) as session:
        return session.journal.write_snapshot(is_exact=True)


def plan_snapshot(config: Config) -> int:
    """Return how many rows ``take_snapshot`` would write. Raises its errors."""
    with open_for_dry_run(config, Work()) as session:
        return session.catalog.read(journaled_rows.count_rows)


def _has_fewer_removals(database: Database, rebuilt: Database) -> bool:
    """Return whether a database is a copy from before ``archiver forget``, or may be one."""
    removals = schema.read_status(rebuilt).removals
    try:
        return schema.read_status(database).removals < removals
    except ArchiveTooOld:
        return removals > 0
    except DatabaseError:
        return False


def _compare_present(
    place: Database, found: Marker, files: JournalFiles, end: JournalEnd | None, root: Path
) -> Comparison | None:
    """Return how the present database compares to the journal; None if a new database must be built.

    The result is CURRENT or BEHIND. A current database may lack stored answers, if a rebuild was interrupted.
    Raises UsageError if the database has more than the journal, or only needs an upgrade; JournalDiffers if
    it is current, but lacks triggers; SchemaNew; MarkerMismatch if it belongs to another archive;
    DatabaseError if another program has locked it.
    """
    if place.is_missing():
        return None
    try:
        state = read_state(place)
        if state.removals < found.removals:
            found.require(state.archive_id, root, found.removals)
            return None  # from before archiver forget: it is renamed, never brought up to date
        found.require(state.archive_id, root, state.removals)
        comparison = compare_journal(files, state, end)
        if comparison.state is JournalState.CURRENT:
            state.require_triggers()
    except DatabaseError as error:
        if place.is_busy(error) or isinstance(error, SchemaNew | JournalDiffers):
            raise  # it is in use, of a newer version, or needs other help: not lost
        return None
    if comparison.state is JournalState.SHORT:
        raise UsageError(
            f"the database {place} has more than the journal, which lacks its end "
            f"({pluralize(comparison.missing, 'line')})",
            "archiver verify --repair begins the journal again; to follow it, move the database away",
        )
    if state.revision == schema.head():
        return comparison if comparison.state in (JournalState.CURRENT, JournalState.BEHIND) else None
    if comparison.state in (JournalState.CURRENT, JournalState.NONE):
        raise UsageError(
            f"the database {place} has an older schema (revision {state.revision})",
            "run archiver db upgrade first; if the file is damaged, move it away",
        )
    return None  # an older copy or another history, with an older schema: it is renamed, not upgraded
