"""Where the journal ends for the database."""

from __future__ import annotations

from sqlalchemy import Connection

from archiver.catalog.column_types import to_struct
from archiver.model.journal_entries import JournalHead

# Plain SQL: every command reads it, and most do without the declared tables.
_HEAD = "SELECT seq, hash, file, length, snapshot_bytes, entry_bytes FROM journal_head"


def read_head(connection: Connection) -> JournalHead | None:
    """Return where the journal ends; None if it has not begun. Raises ValueError for values of no journal."""
    row = connection.exec_driver_sql(_HEAD).first()
    return None if row is None else to_struct(JournalHead, row)
