"""What the journal records: changes of rows, transaction by transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

RowValue = str | int | float | bool | None
"""The value of a column. Times are texts as in SQLite: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``."""
RowKey = tuple[RowValue, ...]
"""The values of a row's primary key, in the order of its columns."""


@dataclass(frozen=True, slots=True)
class RowChange:
    """A change of a row: all columns of a new row, the changed ones of an existing row, None if removed."""

    table: str
    key: RowKey
    values: Mapping[str, RowValue] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A committed transaction, under its number in the journal. ``run_id``: the run that was going on."""

    seq: int
    at: datetime
    run_id: int | None
    changes: tuple[RowChange, ...]


@dataclass(frozen=True, slots=True)
class JournalHead:
    """Where the journal of a database ends: its last line, and the file and length up to there.

    ``snapshot_bytes``: the compressed size of the last snapshot, 0 if an upgrade made a new one necessary;
    ``entry_bytes``: that of the entries since.
    """

    seq: int
    hash: str
    file: str
    length: int
    snapshot_bytes: int = 0
    entry_bytes: int = 0
