"""What the journal records: changes of rows, transaction by transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

RowValue = str | int | float | bool | None
"""The value of a column. Times are texts as in SQLite: ``YYYY-MM-DDTHH:MM:SS.ffffffZ``."""
RowKey = tuple[RowValue, ...]
"""The values of a row's primary key, in the order of its columns."""


class RowChange(Struct, frozen=True):
    """A change of a row: all columns of a new row, the changed ones of an existing row, None if removed."""

    table: str
    key: RowKey
    values: Mapping[str, RowValue] | None


class Entry(Struct, frozen=True):
    """A committed transaction, under its number in the journal.

    ``at``: when it was committed. ``run_id``: the run that was going on; None if there was none.
    """

    seq: int
    at: datetime
    run_id: int | None
    changes: tuple[RowChange, ...]


LAST_FILE = 10**10
"""A file of a journal begins with a lower number. Its lines have room up to ten times as many."""


class JournalPoint(Struct, frozen=True):
    """A line of the journal: its number and hash."""

    seq: Annotated[int, Meta(gt=0, lt=10 * LAST_FILE)]
    hash: str


class JournalEnd(JournalPoint, frozen=True, omit_defaults=True):
    """The last line of the journal, as ``archive.json`` records it.

    ``after``: if that line ends a snapshot that changes nothing, the last line before the snapshot: with all
    lines up to there, nothing is missing. None otherwise.
    """

    after: JournalPoint | None = None


class JournalHead(Struct, frozen=True):
    """Where the journal ends: the number and hash of its last line, the file, and the file's length up to it.

    ``snapshot_bytes``: the compressed size of the last snapshot; 0 if a new one is needed after an upgrade.
    ``entry_bytes``: the compressed size of the entries since. All sizes are in bytes.
    """

    seq: Annotated[int, Meta(ge=0, lt=10 * LAST_FILE)]
    hash: str
    file: str
    length: Annotated[int, Meta(ge=0)]
    snapshot_bytes: Annotated[int, Meta(ge=0)] = 0
    entry_bytes: Annotated[int, Meta(ge=0)] = 0
