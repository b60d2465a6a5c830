"""Composition root: builds the seams from a Config, opens and closes them, and calls what does the work. No logic of its own.

Every function opens the archive that the configuration names and closes it again; a command is one call of one of them.
"""

from __future__ import annotations

from pathlib import Path

from archiver.archive.checking import Checked, Mended, mend, verify
from archiver.archive.exporting import (
    Chosen,
    export_bag,
    export_folder,
    export_site,
    export_tables,
    table_lines,
)
from archiver.archive.history import changes
from archiver.archive.lacking import gaps
from archiver.archive.nights import plan, require_key, run
from archiver.archive.opening import create, place, reading, upgrade
from archiver.archive.paying import Bill, costs, units_per_night
from archiver.archive.rereading import reread
from archiver.blobs import marker
from archiver.catalog import query, schema
from archiver.config import Config
from archiver.hiker.client import HikerClient
from archiver.model import Balance, Rows, Status
from archiver.runner import price

__all__ = [
    "Bill",
    "Checked",
    "Chosen",
    "Mended",
    "ask",
    "backup_database",
    "balance",
    "changes",
    "costs",
    "create",
    "export_bag",
    "export_folder",
    "export_site",
    "export_tables",
    "gaps",
    "mend",
    "plan",
    "reread",
    "revision",
    "run",
    "status",
    "table_lines",
    "units_per_night",
    "upgrade",
    "verify",
]


def status(config: Config) -> Status:
    """The archive in numbers."""
    with reading(config) as opened:
        return opened.catalog.read(query.status)


def balance(config: Config) -> Balance:
    """Units left at the API, by a free call. Raises KeyMissing, KeyRejected, or what keeps the API from answering."""
    client = HikerClient(require_key(config), base_url=config.api.base_url, timeout=config.api.timeout)
    try:
        return price.balance(client)
    finally:
        client.close()


def ask(config: Config, sql: str, *, limit: int, seconds: float) -> Rows:
    """What a read-only query brings: at most ``limit`` rows, within so many seconds. Raises QueryRefused."""
    with reading(config) as opened:
        return opened.catalog.ask(sql, rows=limit, seconds=seconds)


def revision(config: Config) -> tuple[str, str]:
    """The schema's revision in the database, and the one that this version needs."""
    marker.read(config.archive.directory)
    return schema.current(place(config)), schema.head()


def backup_database(config: Config, to: Path) -> None:
    """Write a consistent copy of the SQLite database, also while a run is on. Raises UsageError for PostgreSQL, naming ``pg_dump``."""
    with reading(config) as opened:
        opened.catalog.backup(to)
