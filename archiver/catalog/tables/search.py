"""What is searched: the words of an account, a highlight or an item."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Column, Table, Text, UniqueConstraint

from archiver.catalog.columns import Id, PkText, UtcTime
from archiver.catalog.tables.base import metadata, partial

search_documents = Table(
    "search_documents",
    metadata,
    Column("id", Id, primary_key=True),
    Column("subject", Text, nullable=False),
    Column("subject_pk", PkText, nullable=False),
    Column("at", UtcTime),
    Column("names", Text),
    Column("tags", Text),
    Column("mentions", Text),
    Column("links", Text),
    Column("filters", Text),
    UniqueConstraint("subject", "subject_pk"),
)
partial("ix_search_documents_stale", search_documents.c.at.is_(None), search_documents.c.id, unique=False)

_INDEX = "search_index"
_OF_POSTGRESQL = {("column", "words"), ("index", "ix_search_documents_words")}


def is_told(name: str | None, kind: str, parents: Mapping[Any, Any]) -> bool:
    """Whether a part of the schema is one of ``metadata``; else it is one database's own index over ``search_documents``.

    That is FTS5's table with those that it keeps for itself on SQLite, a column and its index on PostgreSQL. As alembic's ``include_name``.
    """
    if kind == "table":
        return name is None or not name.startswith(_INDEX)
    return (kind, name) not in _OF_POSTGRESQL or parents.get("table_name") != search_documents.name
