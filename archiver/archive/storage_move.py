"""Moves blobs, answers and journal of an archive to another storage: from its directory to a bucket, or back.

All locks are held from the first check to the last marker, and whatever kills a move, the same command goes
on with it:

1. The new place must be free, or have an older copy of this archive: nothing that the archive does not have.
2. Everything is copied and checked, the journal last. The archive is still where it was.
3. The marker in the directory gets ``moving_to``: every other command refuses now, and names this one.
4. The database records the new place, in a journal that goes on there.
5. The markers of both places name the new one. The marker in the directory is the last: it ends the move.

Nothing is removed from the old place.
"""

from __future__ import annotations

from contextlib import ExitStack

from msgspec import Struct

from archiver.archive.archive_copy import ArchiveCopy
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.database import find_database, locate_database
from archiver.archive.journal_difference import compare_journal, describe_difference
from archiver.archive.journaling import Journaling, require_current
from archiver.archive.session import WritableSession, finish_removal, lock_archive, open_for_reading
from archiver.blobs import bucket_marker, marker
from archiver.blobs.marker import DIRECTORY, Marker
from archiver.blobs.store import make_blob_store
from archiver.catalog import Catalog, Database, record
from archiver.catalog.catalog import Opening
from archiver.catalog.query import account_parts, totals
from archiver.catalog.schema import DatabaseState, read_state
from archiver.config import Config
from archiver.errors import DatabaseError, DatabaseForeign, JournalDamaged, MarkerMismatch
from archiver.journal.journal_check import JournalState
from archiver.model.values import replace
from archiver.runner.threads import run_beside
from archiver.store.objects import MARKER
from archiver.work import Work


class StorageMove(Struct, frozen=True):
    """What a move did. ``blobs``: how many the archive has. ``copied``: those that were not there yet.

    ``old``, ``new``: places, for people; equal if the archive was there already.
    """

    blobs: int
    copied: int
    old: str
    new: str


def move_storage(config: Config, destination: str | None, work: Work) -> StorageMove:
    """Move the archive to ``destination``: ``s3://bucket/prefix``, or None for its directory.

    A move that was interrupted goes on where it stopped; with the place where the archive still is as
    ``destination``, it is given up. The configuration may name the old place or the new one, and must name
    the new one afterwards. Of ``work``, ``clock``, ``stop`` and ``progress`` count; ``progress`` gets what
    ``ArchiveCopy`` says. Raises MarkerMismatch if the new place has another archive, or this one is an
    older copy; JournalDiffers if the new place has something that this archive does not have; StorageError if
    something is missing or damaged, DiskFull, ArchiveLocked, StoppedBySignal, and the errors of
    ``open_for_writing``.
    """
    mover = _Mover(config, destination, work)
    return run_beside(mover.move, work.stop, can_leave=lambda: not mover.is_ending)


class MovePreview(Struct, frozen=True):
    """What a move would copy: files and bytes, from an ``old`` location to a ``new`` one."""

    blobs: int
    size: int
    old: str
    new: str


def preview_move(config: Config, destination: str | None) -> MovePreview:
    """Return what ``move_storage`` would copy. Nothing is written.

    Raises MarkerMismatch if the new place cannot take this archive, and the errors of ``open_for_reading``.
    """
    mover = _Mover(config, destination, Work())
    present = marker.read(config.archive.directory).storage  # the configuration may name either place
    with open_for_reading(replace(config, archive=replace(config.archive, storage=present))) as session:
        old, new = session.storage.location, mover.check_new_place()
        if session.catalog.storage == destination:
            return MovePreview(0, 0, old, old)
        status = session.catalog.read(totals.status)
        return MovePreview(status.blobs, status.bytes, old, new)


class _Mover:
    def __init__(self, config: Config, destination: str | None, work: Work) -> None:
        self._config, self._destination, self._work = config, destination, work
        self._root = config.archive.directory
        self._database = locate_database(config)
        self._new = self._storage_at(destination)
        self.is_ending = False
        """Whether everything is copied, and what is left takes a few requests."""

    def _storage_at(self, storage: str | None) -> ArchiveStorage:
        config = replace(self._config, archive=replace(self._config.archive, storage=storage))
        return ArchiveStorage(config, check=self._work.stop.check)

    def check_new_place(self) -> str:
        """Return the new location. Raises MarkerMismatch if it belongs to another archive."""
        own = marker.read(self._root)
        if own.storage != self._destination:
            self._check_new_place(own)
        return self._new.location

    def move(self) -> StorageMove:
        """Take the locks, and read marker and database only then."""
        with lock_archive(self._config, "storage move", self._work) as own:
            try:
                opening = Catalog.prepare(find_database(self._config))
            except DatabaseError as error:
                if own.moving_to == _name_of(self._destination) and _is_lost(self._database, error):
                    self._require_waiting_place(own)
                    self._write_markers(own)  # everything is there, so the database is rebuilt there
                raise
            with opening:
                state = opening.state
                own.require(state.archive_id, self._root, state.removals)
                self._require_places(own, state)
                state.require_triggers()
                if own.storage == state.storage == self._destination:
                    return self._stay(own)
                if own.moving_to is not None and self._has_journal_of(own, state):
                    with opening.finish() as catalog:
                        return self._end(own, catalog, copied=0)
                return self._copy(own, opening)

    def _require_places(self, own: Marker, state: DatabaseState) -> None:
        """Raise an error unless marker, database, configuration and command name two places at most."""
        configured = self._config.archive.storage
        if own.moving_to is None:
            if self._destination in (configured, state.storage):
                configured = state.storage  # it names the new place already, or there is nothing to move
            self._storage_at(configured).require(state.storage, own)
            return
        places = (own.storage, _storage_of(own.moving_to))
        is_given_up = self._destination == own.storage == state.storage
        if self._destination != places[1] and not is_given_up:
            own.require_no_move()
        if state.storage not in places:
            self._storage_at(state.storage).require(state.storage, replace(own, moving_to=None))
        if configured not in places:
            own = replace(own, storage=state.storage, moving_to=None)
            self._storage_at(configured).require(state.storage, own)

    def _stay(self, own: Marker) -> StorageMove:
        """Give up the move that was about to end, if there is one."""
        if own.moving_to is not None:
            self._rewrite_own(replace(own, moving_to=None))
        return StorageMove(0, 0, self._new.location, self._new.location)

    def _has_journal_of(self, own: Marker, state: DatabaseState) -> bool:
        """Return whether the journal at the new place, where everything was copied, is that of the database.

        If it is not, but the archive is there (the database says so, or the journal there goes on after its
        end), let the markers end the move, and raise the error that any other command raises there.
        """
        self._require_waiting_place(own)
        is_there = state.storage == self._destination
        error: DatabaseError | None
        try:
            found = compare_journal(self._new.journal(), state, self._new.read_end())
            if found.state is JournalState.CURRENT:
                return True
            is_there |= found.state is JournalState.BEHIND
            error = describe_difference(found)
        except JournalDamaged as damage:
            error = damage
        if error is not None and is_there:
            self._write_markers(own)
            raise error
        return False

    def _require_waiting_place(self, own: Marker) -> None:
        """Raise an error if the archive has been there and has left: the directory is an older copy."""
        found = bucket_marker.read(self._new.objects())
        if found is not None and found.storage not in (own.storage, self._destination):
            bucket_marker.require(self._new.objects(), replace(own, storage=self._destination))

    def _copy(self, own: Marker, opening: Opening) -> StorageMove:
        """Copy everything that the new place lacks, and end the move."""
        old = self._storage_at(own.storage)
        bucket_marker.require(old.objects(), replace(own, moving_to=None))
        compared = require_current(
            old.journal(), opening.state, old.read_end(), follow_database=False, now=self._work.clock()
        )
        with opening.finish() as catalog:
            with (
                Journaling(old, catalog, self._work) as journal,
                ExitStack() as stack,
            ):
                journal.begin(compared)  # what a killed process has left belongs there
                session = WritableSession(self._config, catalog, old, journal, stack)
                finish_removal(session, self._work.stop)
            own = replace(own, removals=catalog.read(account_parts.count_removals))  # that may be one more
            old.empty_spool()
            copy = ArchiveCopy(old, self._new, catalog, self._work)
            self._check_new_place(own)
            copy.check_answers()
            copy.check_journals()
            self._take_place(own)
            copied = copy.copy_blobs()
            copy.copy_answers()
            copy.copy_journal()
            return self._end(own, catalog, copied=copied)

    def _check_new_place(self, own: Marker) -> None:
        """Raise MarkerMismatch if the bucket belongs to another archive, or this one is in use there."""
        found = bucket_marker.read(self._new.objects())
        if found is None:
            bucket_marker.require_apart(self._new.objects())
            return
        bucket_marker.require_own(self._new.objects(), found, own, "name another prefix")
        if found.storage == self._destination:
            raise MarkerMismatch(
                f"the archive is in {self._new.location}, says {MARKER} there: "
                f"the directory {self._root} is an older copy",
                "to use what is there: replace the marker in the directory by that file, move the database"
                " away, set archive.storage, then archiver db rebuild",
            )

    def _take_place(self, own: Marker) -> None:
        """Prepare the new place. A marker there says that the archive is still where it was."""
        own = replace(own, moving_to=None)
        make_blob_store(self._new.objects())
        if bucket_marker.read(self._new.objects()) is None:
            bucket_marker.create(self._new.objects(), own)
        else:
            bucket_marker.rewrite(self._new.objects(), own)

    def _end(self, own: Marker, catalog: Catalog, *, copied: int) -> StorageMove:
        """End the move: everything is at the new place, and the journal there is that of the database."""
        state = read_state(self._database)
        compared = require_current(
            self._new.journal(), state, self._new.read_end(), follow_database=False, now=self._work.clock()
        )
        self._work.stop.check()
        self.is_ending = True
        self._rewrite_own(replace(own, moving_to=_name_of(self._destination)))
        with Journaling(self._new, catalog, self._work) as journal:
            journal.begin(compared)
            if state.storage != self._destination:
                catalog.write(record.record_storage, self._destination)
        self._write_markers(own)
        blobs = catalog.read(totals.status).blobs
        return StorageMove(blobs, copied, self._storage_at(own.storage).location, self._new.location)

    def _write_markers(self, own: Marker) -> None:
        """Let all markers name the new place, that in the directory last."""
        new = replace(own, storage=self._destination, moving_to=None)
        for place in (self._new, self._storage_at(own.storage)):
            bucket_marker.rewrite(place.objects(), new)
        self._rewrite_own(new)

    def _rewrite_own(self, new: Marker) -> None:
        marker.rewrite(self._root, new, group_readable=self._config.archive.group_readable)


def _name_of(storage: str | None) -> str:
    return storage or DIRECTORY


def _storage_of(name: str | None) -> str | None:
    return None if name == DIRECTORY else name


def _is_lost(database: Database, error: DatabaseError) -> bool:
    """Return whether the database does not exist."""
    if database.path is None:
        return isinstance(error, DatabaseForeign)
    return database.is_missing()
