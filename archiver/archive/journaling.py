"""The journal of an archive that is open for writing: check it, begin it, and ship to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from archiver.catalog import Catalog, outbox, row_dump, schema
from archiver.catalog.column_types import time_text
from archiver.catalog.engine import Database
from archiver.errors import JournalDamaged, JournalDiffers
from archiver.journal.journal_check import Comparison, JournalState, compare
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import (
    FORMAT,
    NO_HASH,
    ROWS_OF_A_LINE,
    FileHeader,
    encode_entry,
    encode_snapshot,
    hash_line,
)
from archiver.journal.shipper import Shipper
from archiver.model.journal_entries import Entry, JournalHead
from archiver.runner.workers import StopFlag


class Journaling:
    """The journal of the archive at ``root``, whose lock the caller holds."""

    def __init__(self, root: Path, *, group_readable: bool, clock: Callable[[], datetime]) -> None:
        self.files = JournalFiles(root, group_readable=group_readable)
        self._clock = clock
        self._found: Comparison | None = None
        self._catalog: Catalog | None = None
        self._shipper: Shipper | None = None

    def require_current(self, database: Database, archive_id: str, *, follow_database: bool) -> None:
        """Compare the database with the journal; write nothing, but for what a kill tore.

        ``follow_database``: if their histories differ, move the files of the journal to ``quarantine/``, and
        begin it again. Raises JournalDiffers, JournalDamaged, DatabaseError, StorageError.
        """
        try:
            found = compare_journal(database, archive_id, self.files)
        except JournalDamaged:
            if not follow_database:
                raise
            found = Comparison(JournalState.DIFFERENT)
        if found.state is JournalState.BEHIND:
            raise JournalDiffers(
                f"the database is an older copy: it lacks the last {found.following} entries of the journal",
                "archiver db rebuild adds them; nothing is paid for again",
            )
        if found.state is JournalState.DIFFERENT:
            if not follow_database:
                raise JournalDiffers(
                    "the database and the archive's journal have different histories",
                    "archiver db rebuild follows the journal, and sets the database aside; archiver verify "
                    "--repair follows the database, and begins the journal again",
                )
            self.files.set_aside(self._clock())
            found = Comparison(JournalState.NONE)
        for name, length in found.torn:
            self.files.cut(name, length)
        self._found = found

    @contextmanager
    def ship_changes(self, catalog: Catalog, *, stop: StopFlag) -> Iterator[Journaling]:
        """Ship what the catalog commits in the block; all of it is in the journal when the block ends.

        An archive without a journal begins it now. An error of the shipping stops the work at once; it is
        raised when the block ends. Raises DiskFull, StorageError, DatabaseError.
        """
        assert self._found is not None, "require_current comes first"
        self._catalog = catalog
        if self._found.state is JournalState.NONE:
            if self.files.names():  # a snapshot that a kill cut off from its database
                self.files.set_aside(self._clock())
            self.write_snapshot()
        elif self._found.head is not None:
            catalog.write(outbox.confirm, self._found.head)

        def advance(written: JournalHead | None) -> tuple[JournalHead | None, tuple[Entry, ...]]:
            return catalog.write(outbox.advance, written, self._clock())

        with Shipper(
            self.files,
            self._header(catalog),
            advance,
            on_error=stop.fail,
            has_failed=lambda: stop.cause is not None or stop.bug is not None,
            clock=self._clock,
            time_text=time_text,
        ) as shipper:
            self._shipper = shipper
            catalog.on_change = shipper.notify
            shipper.notify()  # for what a killed process left
            yield self

    def write_snapshot(self) -> JournalHead:
        """Write all rows into a new file of the journal, where a rebuild then begins. Return its end.

        Nothing else may be written meanwhile. Raises DiskFull, StorageError, DatabaseError.
        """
        catalog = self._catalog
        assert catalog is not None
        if self._shipper is not None:
            self._shipper.end_file()
        head = catalog.read(outbox.read_head)
        seq, prev = (0, NO_HASH) if head is None else (head.seq, head.hash)
        now = self._clock()
        txns: list[int] = []
        name = self.files.new_name(seq + 1, "" if head is None else head.file, now)

        def lines() -> Iterator[bytes]:
            nonlocal seq, prev
            with catalog.snapshot() as snapshot:
                txns.extend(snapshot.read(outbox.read_txns))
                for rows in chain(snapshot.stream(row_dump.all_rows, ROWS_OF_A_LINE), [None]):
                    sequences = snapshot.read(row_dump.sequences) if rows is None else None
                    line = encode_snapshot(seq + 1, prev, time_text(now), rows, sequences)
                    seq, prev = seq + 1, hash_line(line)
                    yield line

        length = self.files.write_snapshot(name, self._header(catalog), lines())
        end = JournalHead(seq, prev, name, length, length, 0)
        catalog.write(outbox.begin, end, txns)
        return end

    def write_due_snapshot(self) -> None:
        """Write a snapshot if the entries since the last one are larger than that one."""
        assert self._catalog is not None
        assert self._shipper is not None
        self._shipper.ship()
        head = self._catalog.read(outbox.read_head)
        if head is not None and head.entry_bytes > head.snapshot_bytes:
            self.write_snapshot()

    def _header(self, catalog: Catalog) -> FileHeader:
        return FileHeader(catalog.archive_id, FORMAT, version("highlight-archiver"), schema.head())


def compare_journal(database: Database, archive_id: str, files: JournalFiles) -> Comparison:
    """Return how a database compares to the journal. Write nothing. Raises the errors of ``compare``."""
    head, pending = outbox.read_journal_state(database)
    return compare(files, archive_id, head, _lines(head, pending))


def _lines(head: JournalHead | None, entries: Sequence[Entry]) -> list[bytes]:
    lines: list[bytes] = []
    prev = NO_HASH if head is None else head.hash
    for entry in entries:
        lines.append(encode_entry(entry, prev, time_text(entry.at)))
        prev = hash_line(lines[-1])
    return lines
