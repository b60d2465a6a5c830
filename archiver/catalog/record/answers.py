"""Answers that are kept no longer."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from archiver.catalog import tables

_answers = tables.answers


def drop_trays(connection: Connection, segment: str) -> None:
    """Forget the answers of a segment that is about to be removed; what was read from them stays, and names no answer any more."""
    dropped = select(_answers.c.id).where(_answers.c.segment == segment)
    for table in (tables.files, tables.items):
        connection.execute(update(table).where(table.c.answer_id.in_(dropped)).values(answer_id=None))
    connection.execute(delete(_answers).where(_answers.c.segment == segment))
