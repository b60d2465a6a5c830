"""Where the blobs, answers and journal of the archive are."""

from __future__ import annotations

from sqlalchemy import Connection

from archiver.catalog.sql import Command

_MOVE = Command("UPDATE archive SET storage = :place")


def storage(connection: Connection, place: str | None) -> None:
    """Record where they are, as in ``archive.storage``; None: in the directory of the archive."""
    _MOVE.run(connection, place=place)
