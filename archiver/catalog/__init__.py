"""SEAM 5, rows: one database, SQLite or PostgreSQL, behind values of the model.

``Catalog`` opens it. ``catalog.write(record.page, ...)`` and ``catalog.write(ledger.reserve, ...)`` put facts in;
``catalog.read(query.held, ...)`` asks. ``schema`` knows whether a database is ours and how it is brought up to date.
"""

from __future__ import annotations

from archiver.catalog import ledger, query, record, schema
from archiver.catalog.catalog import Catalog
from archiver.catalog.engine import Database, locate
from archiver.catalog.merge import merge
from archiver.catalog.query import Progress
from archiver.catalog.record.files import FileRecorded
from archiver.catalog.sought import Sought

__all__ = [
    "Catalog",
    "Database",
    "FileRecorded",
    "Progress",
    "Sought",
    "ledger",
    "locate",
    "merge",
    "query",
    "record",
    "schema",
]
