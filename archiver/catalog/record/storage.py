"""Where the blobs, answers and journal of the archive are."""

from __future__ import annotations

from sqlalchemy import Connection, update

from archiver.catalog import tables


def storage(connection: Connection, place: str | None) -> None:
    """Record where they are, as in ``archive.storage``; None: in the directory of the archive."""
    connection.execute(update(tables.archive).values(storage=place))
