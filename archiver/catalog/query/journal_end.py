"""Where the journal ends for the database."""

from __future__ import annotations

from sqlalchemy import Connection

from archiver.catalog.sql import Query
from archiver.model.journal_entries import JournalHead

_HEAD = Query("SELECT seq, hash, file, length, snapshot_bytes, entry_bytes FROM journal_head", JournalHead)


def read_head(connection: Connection) -> JournalHead | None:
    """Return where the journal ends; None if it has not begun. Raises ValueError for values of no journal."""
    return _HEAD.first(connection)
