"""``db rebuild`` and ``db snapshot``: the database from the journal, and the journal from the database."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from archiver.answers.answer_store import AnswerStore
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database
from archiver.archive.journaling import Journaling, compare_journal, describe_difference, require_current
from archiver.archive.session import finish_removal, open_for_reading, open_for_writing
from archiver.blobs import marker
from archiver.catalog import Catalog, locate, record, row_dump, schema
from archiver.catalog.database_state import read_state
from archiver.catalog.engine import Database
from archiver.config import Config
from archiver.errors import DatabaseError, JournalDiffers, SchemaNew, UsageError
from archiver.journal.journal_check import Comparison, JournalState
from archiver.journal.journal_files import JournalFiles
from archiver.model.identity import utcnow
from archiver.model.journal_entries import JournalHead
from archiver.model.values import replace
from archiver.rebuild.rebuild import RebuildReport, rebuild
from archiver.reread.recover import Recovery, recover
from archiver.runner import run_lock
from archiver.runner.workers import StopFlag
from archiver.temporary import temporary_place

Progress = Callable[[int, int], None]


class RebuiltArchive(Struct, frozen=True):
    """What a rebuild did.

    ``journal``: what was applied. ``recovery``: the stored answers that no entry of the journal names, and
    that are recorded now. ``was_copy``: an older copy was brought up to date; no new database was built.
    ``was_before_removal``: the file that was set aside has what ``archiver forget`` has removed since.
    ``torn``: the last file of the journal, if its end could not be read: what was there is missing. None
    otherwise; earlier files may have torn ends, but then a later file has what was there.
    """

    journal: RebuildReport
    recovery: Recovery
    was_copy: bool
    torn: str | None
    was_before_removal: bool = False

    @property
    def is_complete(self) -> bool:
        """Return whether the whole journal could be read, and no stored answer is newer.

        Otherwise rows may be missing.
        """
        return self.journal.damage is None and self.torn is None and not self.recovery.answers


def rebuild_database(
    config: Config, *, skip_damage: bool = False, stop: StopFlag, progress: Progress
) -> RebuiltArchive:
    """Rebuild the database of the archive from its journal. Costs nothing, and downloads nothing.

    ``skip_damage``: if the journal is damaged, keep the rows before the damage, move its files to
    ``quarantine/``, and begin a new one. ``progress`` gets the bytes of the journal read so far, and in all.

    An older copy is brought up to date. A SQLite file with another history, or one that cannot be used, is
    renamed. Raises UsageError if the database is sound and current, or has more than the journal,
    MarkerMismatch if it or the bucket belongs to another archive, DatabaseForeign if a PostgreSQL database is
    neither empty nor an older copy, SchemaNew, JournalDamaged, ArchiveLocked, NoArchive, DatabaseError,
    StorageError (also if the marker names another storage), DiskFull, StoppedBySignal.
    """
    root = config.archive.directory
    marker.read(root)  # before a lock file is made
    with run_lock.hold_run_lock(root / "lock", "db rebuild", utcnow()):
        found, storage, files = _open_journal(config)
        storage.probe(found)
        database = find_database(config)
        place = locate(database)
        present = _compare_present(place, found, files, root)
        is_complete = present is not None and present.state is JournalState.CURRENT
        if is_complete:  # as an interrupted rebuild leaves it: only stored answers may be missing
            report = RebuildReport()
        else:
            report = rebuild(
                files,
                found.id,
                place,
                copy_head=None if present is None else present.head,
                skip_damage=skip_damage,
                group_readable=config.archive.group_readable,
                progress=progress,
                check=stop.check,
            )
        torn = None if is_complete else _torn_end(files)  # a complete database lacks nothing
        compared = (
            require_current(files, read_state(place), follow_database=skip_damage, now=utcnow())
            if report.damage is None
            else Comparison(JournalState.NONE)  # its files are moved to quarantine/
        )
        with (
            Catalog.open(database, write=True) as catalog,
            Journaling(files, catalog, stop=stop, clock=utcnow) as journal,
        ):
            journal.begin(compared)
            if catalog.storage != found.storage == config.archive.storage:
                catalog.write(record.storage, found.storage)  # the journal lacks the end of the last move
            finish_removal(config, catalog, storage, journal, stop)
            recovery = recover(catalog, AnswerStore(storage.answers()), stop.check)
        if is_complete and not recovery.answers:
            raise _nothing_to_rebuild(place)
        was_copy = present is not None and not is_complete
        is_old = report.set_aside is not None and _knows_fewer_removals(locate(report.set_aside), found)
        return RebuiltArchive(report, recovery, was_copy, torn, is_old)


def plan_rebuild(
    config: Config, *, skip_damage: bool = False, stop: StopFlag, progress: Progress
) -> RebuiltArchive:
    """Return what ``rebuild_database`` would do. The journal is read into a temporary database.

    ``journal.set_aside`` is the file that would be renamed. Takes the arguments of ``rebuild_database``, and
    raises its errors.
    """
    root = config.archive.directory
    found, storage, files = _open_journal(config)
    run_lock.require_free(root / "lock")
    place = locate(find_database(config))
    present = _compare_present(place, found, files, root)
    is_complete = present is not None and present.state is JournalState.CURRENT
    if place.path is None and present is None:
        with schema.connect(place) as connection:
            schema.require_no_tables(connection, place)
    with tempfile.TemporaryDirectory(prefix="archiver-rebuild-", dir=temporary_place(root)) as directory:
        path = Path(directory) / "archive.db"
        report = rebuild(
            files,
            found.id,
            Database(path=path),
            copy_head=None,
            skip_damage=skip_damage,
            group_readable=False,
            progress=progress,
            check=stop.check,
        )
        with Catalog.open(path, write=True) as catalog:
            recovery = recover(catalog, AnswerStore(storage.answers()), stop.check)
    if is_complete:
        if not recovery.answers:
            raise _nothing_to_rebuild(place)
        return RebuiltArchive(RebuildReport(), recovery, was_copy=False, torn=None)
    set_aside = place.path if place.path is not None and os.path.lexists(place.path) else None
    report = replace(report, set_aside=set_aside)
    if present is not None:
        report = replace(report, entries=present.following)
    is_old = set_aside is not None and _knows_fewer_removals(place, found)
    return RebuiltArchive(report, recovery, present is not None, _torn_end(files), is_old)


def _open_journal(config: Config) -> tuple[marker.Marker, ArchiveStorage, JournalFiles]:
    found = marker.read(config.archive.directory)
    storage = ArchiveStorage(config)
    storage.require(found.storage, found)
    return found, storage, storage.journal()


def _torn_end(files: JournalFiles) -> str | None:
    last = files.names()[-1]
    return last if last in files.torn else None


def _nothing_to_rebuild(place: Database) -> UsageError:
    return UsageError(
        f"the database {place} is complete: there is nothing to rebuild",
        "archiver verify compares it with the journal; if it is damaged, move it away first",
    )


def take_snapshot(config: Config, *, stop: StopFlag, clock: Callable[[], datetime] = utcnow) -> JournalHead:
    """Write all rows into a new file of the journal, and return where it ends. Takes the lock.

    Raises the errors of ``open_for_writing``, DiskFull.
    """
    with open_for_writing(config, "db snapshot", stop, wait=False, clock=clock) as session:
        return session.journal.write_snapshot()


def plan_snapshot(config: Config) -> int:
    """Return how many rows ``take_snapshot`` would write. Raises its errors."""
    with open_for_reading(config) as session:
        run_lock.require_free(session.root / "lock")
        state = read_state(locate(find_database(config)))
        difference = describe_difference(compare_journal(session.storage.journal(), state))
        if difference is not None:
            raise difference
        return session.catalog.read(row_dump.count_rows)


def _knows_fewer_removals(copy: Database, found: marker.Marker) -> bool:
    """Return whether a database is a copy from before ``archiver forget``."""
    with suppress(DatabaseError):
        return schema.read_status(copy).removals < found.removals
    return False


def _compare_present(
    place: Database, found: marker.Marker, files: JournalFiles, root: Path
) -> Comparison | None:
    """Return how the present database compares to the journal; None if a new database must be built.

    The result is CURRENT or BEHIND. A current database may lack stored answers, if a rebuild was interrupted.
    Raises UsageError if the database has more than the journal, or only needs an upgrade; JournalDiffers if
    it is current, but lacks triggers; SchemaNew; MarkerMismatch if it belongs to another archive;
    DatabaseError if another program has locked it.
    """
    if place.path is not None and not os.path.lexists(place.path):
        return None
    try:
        state = read_state(place)
        if state.removals < found.removals:
            found.require(state.archive_id, root, found.removals)
            return None  # from before archiver forget: it is renamed, never brought up to date
        found.require(state.archive_id, root, state.removals)
        comparison = compare_journal(files, state)
        if comparison.state is JournalState.CURRENT:
            state.require_triggers()
    except DatabaseError as error:
        if schema.is_busy(error) or isinstance(error, SchemaNew | JournalDiffers):
            raise  # it is in use, of a newer version, or needs other help: not lost
        return None
    if comparison.state is JournalState.SHORT:
        raise UsageError(
            f"the database {place} has more than the journal, which lacks its end",
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
