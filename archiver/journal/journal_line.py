"""The lines of the journal: the first line of a file, the entries, and the parts of a snapshot. Pure.

docs/archive-format.md describes every field. The same facts give the same bytes, whichever database they come
from: members are in the order of the columns, and of several changes of one row only the result is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from archiver.errors import JournalDamaged
from archiver.model.journal_entries import Entry, JournalHead, JournalPoint, RowChange, RowKey, RowValue

FORMAT = 1
LONGEST = 64 << 20
"""The length in bytes of the longest line that is read. A transaction has far less."""
ROWS_OF_A_LINE = 1000
"""Rows in one line of a snapshot at most."""
NO_HASH = ""
"""``prev`` of the first line of a journal."""


class FileHeader(Struct, frozen=True, forbid_unknown_fields=False):
    """The first line of a file: the archive, and the program and schema that wrote the lines after it."""

    archive: str
    format: int
    program: str
    schema: str


class _Change(Struct, frozen=True, omit_defaults=True):
    key: Sequence[RowValue] | None = None
    keys: Sequence[Sequence[RowValue]] | None = None
    set: Mapping[str, RowValue] | None = None
    removed: bool = False


class _Line(Struct, frozen=True, omit_defaults=True):
    seq: int
    prev: str
    at: str
    run: int | None
    rows: dict[str, list[_Change]]
    snapshot: str | None = None
    sequences: dict[str, int] | None = None
    after: JournalPoint | None = None


class JournalLine(Struct, frozen=True):
    """A line of the journal. ``hash`` is that of its bytes; ``prev`` that of the line before.

    ``at``: the time as text, in UTC. ``run``: the id of the run that was going on, or None. ``snapshot``:
    ``part``, or ``end`` in the last line, for the lines of a snapshot; else None. ``sequences``: in the last
    line of a snapshot, the greatest id that each table has ever assigned. ``after``: in the first line of a
    snapshot that changes nothing, and in the first entry after it, the last line before the snapshot.
    """

    seq: int
    prev: str
    at: str
    run: int | None
    changes: tuple[RowChange, ...]
    hash: str
    snapshot: str | None = None
    sequences: Mapping[str, int] = field(default_factory=dict)
    after: JournalPoint | None = None


def hash_line(line: bytes) -> str:
    """Return the hash of a line without its line break: the first half of its SHA-256, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()[:32]


def encode_header(header: FileHeader) -> bytes:
    """Return the first line of a file."""
    return _encode(header) + b"\n"


def encode_entries(
    entries: Iterable[Entry],
    head: JournalHead | None,
    after: JournalPoint | None,
    time_text: Callable[[datetime], str],
) -> list[bytes]:
    """Return the lines of entries that follow ``head``, without line breaks.

    ``after``: from ``JournalFiles.before_snapshot``: the first entry says which line comes before the
    snapshot. ``time_text`` returns a time as text.
    """
    lines: list[bytes] = []
    prev = NO_HASH if head is None else head.hash
    for entry in entries:
        changes = _rows(entry.changes)
        line = _Line(entry.seq, prev, time_text(entry.at), entry.run_id, changes, after=after)
        lines.append(_encode(line))
        prev, after = hash_line(lines[-1]), None
    return lines


def encode_snapshot(
    seq: int,
    prev: str,
    at: str,
    rows: tuple[str, Sequence[tuple[RowKey, Mapping[str, RowValue]]]] | None,
    sequences: Mapping[str, int] | None = None,
    after: JournalPoint | None = None,
) -> bytes:
    """Return a line of a snapshot, without its line break: rows of one table, or finally ``sequences``.

    ``after``: only in its first line, the last line before it, if the snapshot changes nothing.
    """
    changes = {} if rows is None else {rows[0]: [_Change(key=key, set=values) for key, values in rows[1]]}
    greatest = None if sequences is None else dict(sequences)
    part = "part" if greatest is None else "end"
    return _encode(_Line(seq, prev, at, None, changes, part, greatest, after))


def parse_header(line: bytes, place: str) -> FileHeader:
    """Return the first line of a file. Raises JournalDamaged; ``place`` names the file."""
    try:
        header = _decode_header(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise JournalDamaged(f"{place}: the first line is not the header of a journal: {exc}") from exc
    if header.format > FORMAT:
        raise JournalDamaged(f"{place} has format {header.format}", "install a newer archiver")
    return header


def parse_line(line: bytes, place: str) -> JournalLine:
    """Return a line of the journal. Raises JournalDamaged; ``place`` names it."""
    try:
        found = _decode_line(line)
        changes = tuple(_changes(found.rows))
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise JournalDamaged(f"{place}: not a line of the journal: {exc}") from exc
    return JournalLine(
        found.seq,
        found.prev,
        found.at,
        found.run,
        changes,
        hash_line(line),
        found.snapshot,
        found.sequences or {},
        found.after,
    )


_encode = msgspec.json.Encoder().encode
_decode_header = msgspec.json.Decoder(FileHeader).decode
_decode_line = msgspec.json.Decoder(_Line).decode


def _rows(changes: Iterable[RowChange]) -> dict[str, list[_Change]]:
    """Return what became of each row, by table; rows with equal changes are one element, with many keys."""
    tables: dict[str, dict[RowKey, Mapping[str, RowValue] | None]] = {}
    for change in changes:
        rows, values = tables.setdefault(change.table, {}), change.values
        before = rows.get(change.key)
        rows[change.key] = values if before is None or values is None else {**before, **values}
    return {table: _elements(rows) for table, rows in tables.items()}


def _elements(rows: Mapping[RowKey, Mapping[str, RowValue] | None]) -> list[_Change]:
    """Return the changes of a table. Keys are sorted: each database changes rows in its own order."""
    groups: dict[Any, list[RowKey]] = {}
    for key in sorted(rows):
        values = rows[key]
        groups.setdefault(None if values is None else tuple(values.items()), []).append(key)
    return [
        _Change(
            key=keys[0] if len(keys) == 1 else None,
            keys=keys if len(keys) > 1 else None,
            set=rows[keys[0]],
            removed=values is None,
        )
        for values, keys in groups.items()
    ]


def _changes(rows: Mapping[str, Sequence[_Change]]) -> Iterator[RowChange]:
    for table, elements in rows.items():
        for element in elements:
            keys = element.keys if element.keys is not None else [element.key]
            if element.removed is (element.set is not None):
                raise ValueError("a change must have values or be a removal, and not both")
            for key in keys:
                if not key:
                    raise ValueError("a change without a key")
                yield RowChange(table, tuple(key), element.set)
