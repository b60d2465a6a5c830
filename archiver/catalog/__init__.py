"""The rows of an archive, in one database: SQLite or PostgreSQL.

Functions take and return values of the model. ``Catalog`` opens the database. ``catalog.write(record.page,
...)`` and ``catalog.write(ledger.reserve, ...)`` write facts; ``catalog.read(content.accounts, ...)`` reads.
``schema`` creates, checks and upgrades a database.

``ledger``, ``merge`` and ``record`` are imported only by code that writes: building their statements takes a
tenth of the startup time of a command that reads.
"""

from __future__ import annotations

from archiver.catalog import schema
from archiver.catalog.catalog import Catalog, Snapshot
from archiver.catalog.dialects import Database, locate

__all__ = [
    "Catalog",
    "Database",
    "Snapshot",
    "locate",
    "schema",
]
