"""Archives that lose their database: the rows before, and those that the journal gives back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, text

from archiver.archive.rebuild_archive import RebuiltArchive, rebuild_database
from archiver.catalog.column_types import time_text
from archiver.catalog.tables import metadata
from archiver.config import Config
from archiver.work import Work
from tests.support.archive_harness import ArchiveHarness
from tests.support.databases import drop_everything

_OWN = {"journal_outbox", "journal_commits", "journal_head", "journal_lease"}
"""The journal's own tables: they say where its files end for this database."""
_OF_WORKERS = {"workers", "shared_runs", "visits", "run_reports", "api_rate"}
"""What workers tell each other during a run."""


def all_rows(harness: ArchiveHarness) -> dict[str, list[str]]:
    """Return every row of every table, derived ones too, as the same text for both databases.

    Documents that are searched get other ids in a new database.
    """
    return rows_of(harness.database or harness.root / "archive.db")


def rows_of(database: str | Path) -> dict[str, list[str]]:
    """Return the rows of all tables of a database, as ``all_rows`` does."""
    engine = create_engine(str(database) if "://" in str(database) else f"sqlite:///{database}")
    try:
        with engine.connect() as connection:
            return {
                name: _rows(connection, name) for name in metadata.tables if name not in _OWN | _OF_WORKERS
            }
    finally:
        engine.dispose()


def rebuild(harness: ArchiveHarness) -> RebuiltArchive:
    """Run ``db rebuild`` on the archive."""
    return rebuild_from(harness.config)


def rebuild_from(config: Config) -> RebuiltArchive:
    """Run ``db rebuild`` with this configuration."""
    return rebuild_database(config, Work())


def lose_database(harness: ArchiveHarness) -> None:
    """Remove the SQLite file and what is beside it, or all that is in the PostgreSQL database."""
    if harness.database is None:
        lose_file(harness.root)
    else:
        drop_everything(harness.database)


def lose_file(root: Path) -> None:
    """Remove the SQLite file of the archive at ``root``, and what is beside it."""
    for file in root.glob("archive.db*"):
        file.unlink()


def require_equal_after_rebuild(harness: ArchiveHarness) -> None:
    """Lose the database, rebuild it, and compare all rows with those of before."""
    before = all_rows(harness)
    lose_database(harness)
    rebuild(harness)
    _require_equal(before, harness)


def require_equal_elsewhere(harness: ArchiveHarness, url: str | None) -> None:
    """Rebuild the database into this one on PostgreSQL, or into ``archive.db``, and compare all rows."""
    other = replace(harness, database=url)
    rebuild(other)
    _require_equal(all_rows(harness), other)


def _require_equal(before: dict[str, list[str]], rebuilt: ArchiveHarness) -> None:
    after = all_rows(rebuilt)
    for table, rows in before.items():
        assert after[table] == rows, f"{table}: {sorted(set(rows) ^ set(after[table]))[:6]}"


def _rows(connection: Connection, table: str) -> list[str]:
    columns = [column.name for column in metadata.tables[table].columns]
    source = table
    if table == "search_documents":
        columns.remove("id")
    if table == "monthly_totals":  # which connection counted is no matter
        columns.remove("writer")
        source = "growth"
    names = ", ".join(f'"{column}"' for column in columns)
    booleans = {c.name for c in metadata.tables[table].columns if str(c.type) == "BOOLEAN"}
    rows = connection.execute(text(f"SELECT {names} FROM {source}")).mappings().all()
    return sorted(json.dumps({n: _plain(v, n in booleans) for n, v in row.items()}) for row in rows)


def _plain(value: Any, is_boolean: bool) -> object:
    if isinstance(value, datetime):
        return time_text(value)
    return bool(value) if is_boolean and value is not None else value
