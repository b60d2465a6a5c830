"""Search by words: how texts are split into words, how a query is parsed, and how matches are found.

``update_documents`` keeps what is searched up to date with the rows.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from archiver.catalog.sql import Query


class StaleDocument(NamedTuple):
    """A document whose words are to be written."""

    id: int
    subject: str
    subject_pk: str


_STALE = "SELECT id, subject, subject_pk FROM search_documents WHERE at IS NULL ORDER BY id LIMIT 500"
# Locked, since several programs may write to PostgreSQL: the one that has just changed a row of a document
# updates that document first.
_STALE_DOCUMENTS = Query({"sqlite": _STALE, "postgresql": f"{_STALE} FOR UPDATE"}, StaleDocument)


def update_documents(connection: Connection) -> None:
    """Write the words of every stale document, in the connection's transaction.

    Delete those without words.
    """
    while stale := _STALE_DOCUMENTS.all(connection):
        from archiver.catalog.search import search_index  # slow to import, and most often nothing is stale

        search_index.write_documents(connection, stale)
