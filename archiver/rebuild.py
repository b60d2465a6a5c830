"""Rebuild the rows of an archive from its journal: from its newest snapshot, or from an older database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path

from msgspec import Struct

from archiver.catalog.dialects import Database
from archiver.catalog.rebuilt_database import building
from archiver.errors import JournalDamaged
from archiver.journal.journal_check import (
    Comparison,
    count_missing,
    follow,
    newest_snapshot,
    newest_snapshot_after,
)
from archiver.journal.journal_files import JournalFiles, ReadLine
from archiver.journal.journal_line import JournalLine
from archiver.model.journal_entries import JournalEnd, JournalHead, JournalPoint
from archiver.work import Work

_WAYS_OUT = (
    "restore journal/ from a copy, or keep the rows before the damage: archiver db rebuild --skip-damage"
)


class RebuildReport(Struct, frozen=True):
    """What was applied.

    ``entries``: how many entries of the journal, after the snapshot or after the last one of the older copy.
    ``rows``: how many changes of rows, including the rows of the snapshot. ``set_aside``: the new path of the
    SQLite file that was there before; None if there was none. ``damage``: why the rest of the journal was
    left out; None if nothing was. ``lost``: snapshots that are missing or damaged; no row is lost with them.
    ``missing``: how many lines are missing at the end of the journal, which ``archive.json`` counts; with
    ``only_snapshot`` they are a snapshot of the rows that were built. ``begins_with_snapshot``: no row comes
    from the database that was there before.
    """

    entries: int = 0
    rows: int = 0
    set_aside: Path | None = None
    damage: str | None = None
    lost: tuple[str, ...] = ()
    missing: int = 0
    only_snapshot: bool = False
    begins_with_snapshot: bool = False

    @property
    def begins_again(self) -> bool:
        """Return whether the journal must begin again: a line is missing or damaged."""
        return self.damage is not None or bool(self.missing or self.lost)

    @property
    def is_whole(self) -> bool:
        """Return whether every change of the journal was applied, as far as ``archive.json`` knows."""
        return self.damage is None and (not self.missing or self.only_snapshot)


def rebuild(
    files: JournalFiles,
    archive_id: str,
    database: Database,
    *,
    older: Comparison | None,
    end: JournalEnd | None,
    removals: int,
    skip_damage: bool,
    group_readable: bool,
    work: Work,
) -> RebuildReport:
    """Build the database, and put it in its place when it is complete.

    ``older``: how the present database compares to the journal, if it is an older copy: only what follows is
    applied. If a snapshot follows, or without ``older``, all rows come from the newest snapshot: it may lack
    rows that no entry removes. ``end``: where the journal ended according to ``archive.json``; None if that
    is not known. ``removals``: how many the marker counts. ``skip_damage``: end before the first line that
    cannot be read or does not fit the rows, not raising. ``work.progress`` gets the bytes of the journal read
    so far, and in all. Raises JournalDamaged, JournalDiffers if the journal is from before ``archiver
    forget``, SchemaNew, DatabaseForeign, DatabaseError, StorageError, DiskFull, and the cause of the stop.
    """
    head = None if older is None else older.head
    if head is not None and newest_snapshot_after(files, head.file) is not None:
        head = None
    begins_with_snapshot = head is None
    names = files.names(newest_snapshot(files) if head is None else head.file)
    *before, total = accumulate((files.size(name) or 0 for name in names), initial=0)
    starts = dict(zip(names, before, strict=True))
    entries = rows = 0
    damages: list[str] = []
    lost: list[str] = []
    sequences: dict[str, int] = {}
    with building(database, copy=older is not None, group_readable=group_readable) as built:
        if older is not None and begins_with_snapshot:
            built.clear()
        lines = follow(files, archive_id, names, head, lost)
        for read in _until_damage(lines, damages if skip_damage else None):
            work.stop.check()
            line = read.line
            try:
                built.apply(read.header.schema, line.changes, undo=skip_damage)
            except JournalDamaged as error:
                text = f"journal/{read.file}, entry {line.seq}: {error}"
                if not skip_damage:
                    raise JournalDamaged(text, _WAYS_OUT) from error
                damages.append(text)
                break
            rows += len(line.changes)
            entries += line.snapshot is None
            _raise_sequences(sequences, line)
            head = _head_after(head, read)
            work.progress(starts[read.file] + read.end, total)
        if head is None:
            raise JournalDamaged("the journal has no complete snapshot to begin with")
        built.finish(head, sequences, removals=removals)
    damage = damages[0] if damages else None
    missing, only_snapshot = count_missing(end, JournalPoint(head.seq, head.hash))
    return RebuildReport(
        entries,
        rows,
        built.set_aside,
        damage,
        tuple(lost),
        missing,
        only_snapshot,
        begins_with_snapshot,
    )


def _until_damage(lines: Iterator[ReadLine], damages: list[str] | None) -> Iterator[ReadLine]:
    """Yield the lines up to a damaged or missing one. Then note why in ``damages``, or raise without it."""
    try:
        yield from lines
    except JournalDamaged as error:
        if damages is None:
            raise JournalDamaged(str(error), error.hint or _WAYS_OUT) from error
        damages.append(str(error))


def _raise_sequences(sequences: dict[str, int], line: JournalLine) -> None:
    """Note the greatest ids, even of removed rows: no id may be assigned twice."""
    given: Mapping[str, int] = line.sequences
    for table, greatest in given.items():
        sequences[table] = max(greatest, sequences.get(table, 0))
    for change in line.changes:
        identity = (change.values or {}).get("id")
        if type(identity) is int:
            sequences[change.table] = max(identity, sequences.get(change.table, 0))


def _head_after(head: JournalHead | None, read: ReadLine) -> JournalHead:
    line = read.line
    before, snapshot, entries = (
        (0, 0, 0) if head is None else (head.length, head.snapshot_bytes, head.entry_bytes)
    )
    start = before if head is not None and head.file == read.file else 0
    if line.snapshot is not None:
        snapshot, entries = read.end, 0
    else:
        entries += max(0, read.end - start)
    return JournalHead(line.seq, line.hash, read.file, read.end, snapshot, entries)
