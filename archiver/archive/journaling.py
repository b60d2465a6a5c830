"""The journal of an archive that is open for writing: check it, begin it, and ship to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain

import archiver
from archiver.archive.archive_storage import ArchiveStorage
from archiver.archive.journal_difference import compare_journal, describe_difference
from archiver.catalog import Catalog, journaled_rows, outbox, schema
from archiver.catalog.column_types import time_text
from archiver.catalog.schema import DatabaseState
from archiver.errors import ArchiverError, JournalDamaged
from archiver.journal.journal_check import Comparison, JournalState, first_number
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import (
    FORMAT,
    NO_HASH,
    ROWS_OF_A_LINE,
    FileHeader,
    encode_snapshot,
    hash_line,
)
from archiver.journal.shipper import Shipper
from archiver.model.journal_entries import LAST_FILE, Entry, JournalEnd, JournalHead, JournalPoint
from archiver.work import Work

_WAYS_OUT = (
    "restore journal/ from a copy; or keep the rows before the damage: archiver db rebuild "
    "--skip-damage; or keep the rows of the database: archiver verify --repair; nothing is deleted"
)
_FOLLOWED = (JournalState.SHORT, JournalState.DIFFERENT)
"""How the journal may differ if the database is to be followed: an older copy never is."""
_LEASE_CHECK_SECONDS = 0.1
_FEW_BYTES = 1 << 20
"""The size of compressed entries, in bytes, that a rebuild applies within seconds: fewer need no snapshot."""


class Journaling:
    """The journal of an archive that is open for writing; it ships what the catalog commits."""

    def __init__(self, storage: ArchiveStorage, catalog: Catalog, work: Work) -> None:
        """Of ``work``, ``clock`` and ``stop`` count; an error while shipping sets ``stop``.

        With a catalog that was joined, this process does not write alone: it ships while it has a lease, and
        ``archive.json`` does not record the end of the journal.
        """
        self.has_reported_failure = False
        """Whether the result of the work says that it was stopped, if only by an error while shipping."""
        self.is_new = False
        """Whether a new journal has begun; files of an old one, if there were any, are in ``quarantine/``."""
        self._storage, self._files = storage, storage.journal()
        self._catalog, self._clock, self._stop = catalog, work.clock, work.stop
        self._lease: ShippingLease | None = None
        if catalog.worker_id is not None:
            self._lease = ShippingLease(catalog, self._files.objects.gather_seconds / 2, work.clock)
        self._header = FileHeader(catalog.archive_id, FORMAT, archiver.__version__, schema.head())
        self._shipper = Shipper(
            self._files,
            self._header,
            self._lease.advance
            if self._lease is not None
            else lambda written: catalog.write(outbox.advance, written, work.clock()),
            lambda: catalog.read(outbox.size),
            on_error=self._fail,
            clock=work.clock,
            time_text=time_text,
        )

    def _fail(self, error: BaseException) -> None:
        self._stop.fail(error)
        if self._lease is not None:
            self._lease.give_up()

    def begin(self, found: Comparison) -> None:
        """Continue the journal where it ends, or begin it. From then on, every commit is shipped.

        ``found``: the result of ``require_current``. After an upgrade a snapshot comes first, because no
        entry records what a migration changes. It also contains what an older version left in the outbox. A
        snapshot that a killed process did not record is followed by another: what the outbox holds may be in
        the first already. Raises DiskFull, StorageError, DatabaseError.
        """
        self.is_new = found.state is JournalState.NONE
        with self._shipper.hold():
            if found.state is JournalState.NONE:
                self._begin_new(0 if found.head is None else found.head.seq)
            elif found.head is not None:
                for name in found.unrecorded:
                    self._files.sync(name)
                head = self._catalog.write(outbox.confirm, found.head)
                if head.snapshot_bytes == 0 or found.has_new_snapshot:
                    self._write_snapshot(head)
        self._catalog.before_commit = self._shipper.notify
        self._shipper.notify()  # for what a killed process left

    def join(self) -> None:
        """Ship from now on what this process and others commit."""
        self._catalog.before_commit = self._shipper.notify
        self._shipper.notify()

    def notify(self) -> None:
        """Ship, within the time that the journal gathers entries, what others have committed."""
        self._shipper.notify()

    def ship(self) -> None:
        """Write everything that is committed now. Raises DiskFull, StorageError, DatabaseError."""
        self._shipper.ship()

    def write_snapshot(self, *, is_exact: bool = False) -> JournalHead:
        """Write all rows into a new file of the journal, and return where it ends. A rebuild begins with it.

        ``is_exact``: the journal before it gives exactly these rows, so nothing is lost if the snapshot is.
        The caller must write nothing else meanwhile. Raises DiskFull, StorageError, DatabaseError.
        """
        with self._shipper.hold():
            return self._write_snapshot(self._end_file(), is_exact=is_exact)

    def begin_again(self) -> None:
        """Move the files of the journal to ``quarantine/``, and begin it again with a snapshot.

        Raises the errors of ``write_snapshot``.
        """
        with self._shipper.hold():
            self._begin_new(self._end_file().seq)
            self.is_new = True

    def write_due_snapshot(self) -> None:
        """Write a snapshot if the entries since the last one are larger than it, and larger than 1 MiB.

        A rebuild would take longer without it. Raises the errors of ``write_snapshot``.
        """
        self._shipper.ship()
        head = self._catalog.read(outbox.read_head)
        if head is not None and head.entry_bytes > max(head.snapshot_bytes, _FEW_BYTES):
            self.write_snapshot(is_exact=True)

    def _end_file(self) -> JournalHead:
        self._shipper.end_file()
        head = self._catalog.read(outbox.read_head)
        assert head is not None  # from ``begin`` on
        return head

    def _begin_new(self, seq: int) -> None:
        """Begin with a snapshot. Its lines get higher numbers than an older journal had: see ``compare``.

        ``seq``: the last number that the database knows.
        """
        end = self._storage.read_end()
        if end is not None:
            seq = max(seq, end.seq)
        names = self._files.names()
        if names:  # damaged, or a snapshot that a killed process wrote, but did not record
            seq = max(seq, self._number_of(names[-1]))
            self._files.set_aside(self._clock())
        self._write_snapshot(JournalHead(seq, NO_HASH, "", 0, 0, 0))

    @staticmethod
    def _number_of(name: str) -> int:
        number = first_number(name)
        if number > LAST_FILE // 10:  # the new journal would have no room for its numbers
            raise JournalDamaged(f"no archive writes a file like journal/{name}", "move it away")
        return number

    def _write_snapshot(self, head: JournalHead, *, is_exact: bool = False) -> JournalHead:
        seq, prev = head.seq, head.hash
        before = self._files.before_snapshot(head) or JournalPoint(seq, prev)
        now = self._clock()
        included: dict[int, int] = {}
        name = self._files.new_name(seq + 1, head.file, now)

        def lines() -> Iterator[bytes]:
            nonlocal seq, prev
            with self._catalog.snapshot() as snapshot:
                included.update(snapshot.read(outbox.read_unshipped))
                after = before if is_exact and not included else None
                for rows in chain(snapshot.stream(journaled_rows.all_rows, ROWS_OF_A_LINE), [None]):
                    sequences = snapshot.read(journaled_rows.sequences) if rows is None else None
                    line = encode_snapshot(seq + 1, prev, time_text(now), rows, sequences, after)
                    seq, prev, after = seq + 1, hash_line(line), None
                    yield line

        length = self._files.write_snapshot(name, self._header, lines())
        end = JournalHead(seq, prev, name, length, length, 0)
        self._catalog.write(outbox.begin, end, included)
        return end

    def __enter__(self) -> Journaling:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Ship the rest. Raises the first error while shipping, unless the work itself reports one."""
        if self._lease is not None:
            self._lease.is_last = True
        has_failed = kind is not None or self.has_reported_failure
        self._shipper.close(has_failed=has_failed)
        if self._lease is not None:
            return
        try:
            head = self._catalog.read(outbox.read_head)
            if head is not None:
                self._storage.record_end(head, self._files)
        except ArchiverError:
            if not has_failed:
                raise


class ShippingLease:
    """When a worker of a shared run ships the journal: one worker at a time, each for all of them."""

    def __init__(self, catalog: Catalog, rest_seconds: float, clock: Callable[[], datetime]) -> None:
        """``rest_seconds``: the time between two holders of the lease, by whichever workers."""
        self.is_last = False
        """Whether this process is about to end: then it waits until it has had the lease."""
        self._catalog, self._rest_seconds, self._clock = catalog, rest_seconds, clock

    def advance(self, written: JournalHead | None) -> tuple[JournalHead | None, tuple[Entry, ...]]:
        """Return what to write next, as ``outbox.advance`` does; nothing if another worker has the lease.

        Raises LeaseLost, DatabaseError.
        """
        worker_id = self._catalog.worker_id
        assert worker_id is not None
        while True:
            rest = 0.0 if self.is_last else self._rest_seconds
            found = self._catalog.write(
                outbox.advance_with_lease, worker_id, written, self._clock(), rest_seconds=rest
            )
            if found is not None:
                return found
            if not self.is_last:
                return None, ()
            time.sleep(_LEASE_CHECK_SECONDS)

    def give_up(self) -> None:
        """Leave the shipping to others, after an error: this process may still work for minutes."""
        assert self._catalog.worker_id is not None
        with suppress(ArchiverError):  # then the lease ends with that of the worker
            self._catalog.coordinate(outbox.end_lease, self._catalog.worker_id)


def require_current(
    files: JournalFiles,
    database: DatabaseState,
    end: JournalEnd | None,
    *,
    follow_database: bool,
    now: datetime,
) -> Comparison:
    """Compare a database with the journal, cut off the incomplete ends of its files, and return the result.

    If the database lacks triggers, or with ``follow_database`` if the journal is damaged, lacks its end or
    has another history, its files are moved to ``quarantine/``, and the result is NONE: a new journal must
    begin. ``now`` becomes part of their name there. ``end``: as for ``compare``. Raises JournalDiffers,
    JournalDamaged, StorageError.
    """
    try:
        found = compare_journal(files, database, end)
        difference = describe_difference(found)
        has_end = not (follow_database and found.missing)
        is_followed = follow_database and (found.state in _FOLLOWED or not has_end)
        if difference is None and has_end and database.has_triggers:
            for name, length in found.torn:
                files.cut(name, length)
            return found
    except JournalDamaged as error:
        if not follow_database:
            raise JournalDamaged(str(error), error.hint or _WAYS_OUT) from error
    else:
        if difference is not None and not is_followed:
            raise difference
    files.set_aside(now)
    return Comparison(JournalState.NONE, database.head)
