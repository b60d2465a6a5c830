"""Comparing the journal with the rows: whether a rebuild would give exactly the present database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import zip_longest
from pathlib import Path

from msgspec import Struct, field

from archiver.catalog import Catalog, Snapshot, journaled_rows, outbox
from archiver.catalog.dialects import locate
from archiver.catalog.journaled_rows import DumpedRow
from archiver.catalog.rebuilt_database import ROWS_AT_ONCE, RebuiltDatabase, building
from archiver.catalog.search import search_index
from archiver.catalog.tables import JOURNALED
from archiver.errors import ArchiveTooOld, JournalDamaged, SchemaNew
from archiver.journal.journal_check import follow, newest_snapshot
from archiver.journal.journal_files import JournalFiles
from archiver.journal.journal_line import NO_HASH
from archiver.model.journal_entries import JournalHead, RowChange, RowKey
from archiver.temporary import temporary_directory
from archiver.text_format import pluralize

_LISTED = 20
"""Rows that a report lists; it counts all."""


class RowDifference(Struct, frozen=True):
    """A row that differs between the journal and the database.

    ``missing``: which of them lacks it, ``journal`` or ``database``; None if its values differ.
    """

    table: str
    key: RowKey
    missing: str | None


class JournalReport(Struct):
    """What the check of the journal found.

    ``lines``: how many lines were read and checked. ``damage``: why the rest of the journal could not be
    used, or that the database is an older copy or has another history; then ``hint`` says what to do.
    ``is_compared``: whether all rows were compared. ``counts``: the number of differences by table, of which
    ``differences`` lists the first. ``lost_rows`` are in the journal, but not in the database.
    ``wrong_words``: a line about documents of the search that have other words than a rebuild gives them.
    ``losses``: what is missing or damaged, although the rest gives all rows. ``foreign``: files in a wrong
    place.
    """

    lines: int = 0
    damage: str | None = None
    hint: str = ""
    is_compared: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[RowDifference] = field(default_factory=list)
    lost_rows: list[RowChange] = field(default_factory=list)
    wrong_words: tuple[str, ...] = ()
    losses: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Return whether anything is lost, or a rebuild would not give the rows of the database."""
        return self.damage is not None or bool(self.counts or self.losses)

    def note(self, table: str, key: RowKey, missing: str | None) -> None:
        """Count a difference."""
        self.counts[table] = self.counts.get(table, 0) + 1
        if len(self.differences) < _LISTED:
            self.differences.append(RowDifference(table, key, missing))


def verify_journal(
    files: JournalFiles, catalog: Catalog, root: Path, *, read_all: bool, check: Callable[[], None]
) -> JournalReport:
    """Read the journal from its newest snapshot on; check that each line follows the one before.

    ``root``: the directory of the archive. ``read_all``: also read the files before that snapshot; and
    rebuild the rows in a temporary database, and compare all of them. A run may write meanwhile: the
    comparison is as of one moment. ``check`` is called often, and may raise to stop. Damage is in the report.
    Raises StorageError, DatabaseError.
    """
    report = JournalReport(foreign=files.find_misplaced())
    head = catalog.read(outbox.read_head)
    if head is None:
        return report  # there is no journal yet: the next command that writes begins it
    verifier = _Verifier(files, catalog, report, check)
    if not read_all:
        verifier.read(None, head, lambda revision, changes: None)
        return report
    verifier.read_older(head)
    with ExitStack() as stack, temporary_directory(root) as place:
        path = place / "rebuilt.db"
        try:
            with building(locate(path), copy=False, group_readable=False) as built:
                snapshot = verifier.read_until_now(head, built, stack)
            if snapshot is None:
                return report
        except (JournalDamaged, ArchiveTooOld, SchemaNew) as error:
            report.damage = str(error)
            return report
        with Catalog.open(path, write=False) as rebuilt, rebuilt.snapshot() as other:
            verifier.compare(other, snapshot)
            if not report.counts:
                report.wrong_words = verifier.compare_words(other, snapshot)
    report.is_compared = True
    return report


class _Verifier:
    """Reads the ``files`` of a journal, and compares; what it finds is in ``report``."""

    def __init__(
        self, files: JournalFiles, catalog: Catalog, report: JournalReport, check: Callable[[], None]
    ) -> None:
        self._files, self._catalog, self._report, self._check = files, catalog, report, check

    def read_older(self, head: JournalHead) -> None:
        """Check the files before the newest snapshot, which no rebuild needs as long as that can be read.

        After damage, the check goes on with the next file.
        """
        try:
            names = self._files.names(until=newest_snapshot(self._files, head.file))
        except JournalDamaged:
            return  # the check of the lines reports it
        places = {name: place for place, name in enumerate(names)}
        found: list[str] = []
        snapshots: list[str] = []
        begin, last = 0, None
        while begin < len(names):
            place = begin - 1
            try:
                for read in follow(self._files, self._catalog.archive_id, names[begin:], None, snapshots):
                    self._check()
                    line, place = read.line, places[read.file]
                    if line.prev == NO_HASH:
                        found.clear()  # a copy may have the files of an older journal too
                        snapshots.clear()
                    elif last is None and line.snapshot is None:
                        found.append(f"the lines before line {line.seq} of the journal are missing")
                    last = line
                break
            except JournalDamaged as error:
                if str(error) not in found:
                    found.append(str(error))
            begin = max(place, begin) + 1
        if last is not None:
            meaning = (
                f"no row is lost: a rebuild begins later, at {last.at}; older values of rows may be lost"
            )
            self._report.losses += [*snapshots, *(f"{why} ({meaning})" for why in found)]

    def read_until_now(self, head: JournalHead, built: RebuiltDatabase, stack: ExitStack) -> Snapshot | None:
        """Rebuild the rows of this moment, and return the snapshot of the database to compare them with.

        ``head``: where the journal ended before. ``stack`` closes the snapshot. No transaction lasts while
        the files are read: what was shipped meanwhile is read afterwards, until nothing was. None if the
        report has damage.
        """
        from archiver.catalog import schema

        after: JournalHead | None = None
        while True:
            self.read(after, head, built.apply)
            if self._report.damage is not None:
                return None
            with ExitStack() as inner_stack:
                snapshot = inner_stack.enter_context(self._catalog.snapshot())
                now = snapshot.read(outbox.read_head)
                assert now is not None
                if (now.seq, now.hash) == (head.seq, head.hash):
                    if unshipped := snapshot.read(outbox.unshipped_changes):
                        built.apply(schema.head(), unshipped)
                    built.finish(now, {})
                    stack.push(inner_stack.pop_all())
                    return snapshot
            after, head = head, now

    def read(
        self, after: JournalHead | None, head: JournalHead, apply: Callable[[str, Sequence[RowChange]], None]
    ) -> None:
        """Apply the lines after ``after`` (None: the newest snapshot, and what follows it) until ``head``."""
        try:
            since = newest_snapshot(self._files, head.file) if after is None else after.file
            last = None
            for read in follow(
                self._files,
                self._catalog.archive_id,
                self._files.names(since, head.file),
                after,
                self._report.losses,
            ):
                if read.line.seq > head.seq:
                    break
                self._check()
                apply(read.header.schema, read.line.changes)
                self._report.lines += 1
                last = read.line
            if last is None or (last.seq, last.hash) != (head.seq, head.hash):
                self._report.damage = (
                    f"the journal lacks line {head.seq}, the last one that the database knows"
                )
        except JournalDamaged as error:
            self._report.damage = str(error)

    def compare(self, journal: Snapshot, rows: Snapshot) -> None:
        """Merge the two ascending streams of each table."""
        for table in JOURNALED:
            ours = self._flat(journal.stream(journaled_rows.table_rows, table, ROWS_AT_ONCE))
            theirs = self._flat(rows.stream(journaled_rows.table_rows, table, ROWS_AT_ONCE))
            one, two = next(ours, None), next(theirs, None)
            while one is not None or two is not None:
                if two is None or (one is not None and _order(one[0]) < _order(two[0])):
                    assert one is not None
                    self._report.note(table.name, one[0], "database")
                    self._report.lost_rows.append(RowChange(table.name, *one))
                    one = next(ours, None)
                elif one is None or _order(two[0]) < _order(one[0]):
                    self._report.note(table.name, two[0], "journal")
                    two = next(theirs, None)
                else:
                    if one[1] != two[1]:
                        self._report.note(table.name, one[0], None)
                    one, two = next(ours, None), next(theirs, None)

    def compare_words(self, rebuilt: Snapshot, rows: Snapshot) -> tuple[str, ...]:
        """Compare the documents that are searched, and the index of them.

        A document that another program has made stale is left out; while there is one, so is the index.
        """
        theirs = rebuilt.stream(search_index.documents)
        wrong, expected, has_stale = list[str](), next(theirs, None), False
        for ours in rows.stream(search_index.documents):
            self._check()
            has_stale = has_stale or ours.at is None
            while expected is not None and expected.key < ours.key:
                wrong.append(expected.name)
                expected = next(theirs, None)
            if expected is not None and expected.key == ours.key:
                if ours.at is not None and ours.content != expected.content:
                    wrong.append(ours.name)
                expected = next(theirs, None)
            elif ours.at is not None:
                wrong.append(ours.name)
        if expected is not None:
            wrong += [document.name for document in (expected, *theirs)]
        if not wrong:
            return () if has_stale else self._compare_index(rebuilt, rows)
        number = pluralize(len(wrong), "document")
        return (f"search_documents: {number} with words that its rows do not have, the first of {wrong[0]}",)

    def _compare_index(self, rebuilt: Snapshot, rows: Snapshot) -> tuple[str, ...]:
        if not rows.read(search_index.has_own_index):
            wrong = rows.read(search_index.count_wrong_words)
            return (
                (f"search_documents: the index lacks words of {pluralize(wrong, 'document')}",)
                if wrong
                else ()
            )
        pairs = zip_longest(rebuilt.stream(search_index.index_words), rows.stream(search_index.index_words))
        for expected, word in pairs:
            self._check()
            if word != expected:
                first = min(each[0] for each in (word, expected) if each is not None)
                return (f"search_index: it is not the index of its documents, from the word '{first}' on",)
        return ()

    def _flat(self, parts: Iterator[list[DumpedRow]]) -> Iterator[DumpedRow]:
        for part in parts:
            self._check()
            yield from part


def _order(key: RowKey) -> tuple[bytes | int, ...]:
    """Return what a key sorts by: both databases sort texts byte by byte."""
    return tuple(value if isinstance(value, int) else str(value).encode() for value in key)
