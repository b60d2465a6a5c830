"""Brings ``search_documents`` up to date. What makes the words is imported only once a row is stale."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, select

from archiver.catalog import tables

_BATCH = 500
_documents = tables.search_documents

# Locked, since several programs may write to PostgreSQL: the one that has just changed a row of a document
# updates that document first.
_STALE: Select[Any] = (
    select(_documents.c.id, _documents.c.subject, _documents.c.subject_pk)
    .where(_documents.c.at.is_(None))
    .order_by(_documents.c.id)
    .limit(_BATCH)
    .with_for_update()
)


def update_documents(connection: Connection) -> None:
    """Write the words of every stale document, in the connection's transaction.

    Delete those without words.
    """
    while stale := connection.execute(_STALE).all():
        from archiver.catalog.search import search_index

        search_index.write_documents(connection, stale)
