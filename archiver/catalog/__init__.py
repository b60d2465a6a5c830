"""SEAM 5, rows: one database, SQLite or PostgreSQL, behind values of the model.

``Catalog`` opens it. ``catalog.write(record.page, ...)`` and ``catalog.write(ledger.reserve, ...)`` put facts in;
``catalog.read(content.accounts, ...)`` asks. ``schema`` knows whether a database is ours and how it is brought up to date.

``ledger``, ``merge`` and ``record`` are imported by those who write: their statements take a tenth of the start of a command that reads.
"""

from __future__ import annotations

from archiver.catalog import schema
from archiver.catalog.catalog import Catalog
from archiver.catalog.engine import Database, locate
from archiver.catalog.snapshot import Snapshot
from archiver.catalog.sought import Sought

__all__ = [
    "Catalog",
    "Database",
    "Snapshot",
    "Sought",
    "locate",
    "schema",
]
