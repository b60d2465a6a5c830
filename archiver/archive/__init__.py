"""Composition root: builds the seams from a Config, opens and closes them, and calls what does the work. No logic of its own.

Every function opens the archive that the configuration names and closes it again; a command is one call of one of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from archiver import lazily
from archiver.archive import rows
from archiver.catalog import schema
from archiver.catalog.query import totals
from archiver.config import Config
from archiver.errors import UsageError
from archiver.model.archived import Rows, RowStream, Status, Value
from archiver.model.identity import Role
from archiver.model.upstream import Balance

if TYPE_CHECKING:
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
    from archiver.archive.nights import configured, plan, room, run
    from archiver.archive.opening import create, restore_marker, upgrade
    from archiver.archive.paying import Bill, costs, units_per_night
    from archiver.archive.rereading import reread
    from archiver.archive.searching import account_among, is_pointer, nobody, search, stale
    from archiver.archive.showing import Part, Showing, ShownAccount, ShownHighlight, ShownItem, shown

__all__ = [
    "Bill",
    "Checked",
    "Chosen",
    "Mended",
    "Part",
    "Showing",
    "ShownAccount",
    "ShownHighlight",
    "ShownItem",
    "account_among",
    "ask",
    "asking",
    "backup_database",
    "balance",
    "changes",
    "configured",
    "costs",
    "create",
    "export_bag",
    "export_folder",
    "export_site",
    "export_tables",
    "gaps",
    "is_pointer",
    "mend",
    "nobody",
    "on_postgresql",
    "plan",
    "reread",
    "restore_marker",
    "revision",
    "room",
    "run",
    "search",
    "shown",
    "sqlite_file",
    "stale",
    "status",
    "table_lines",
    "units_per_night",
    "upgrade",
    "verify",
]


if not TYPE_CHECKING:  # a type checker must know what is not there
    __getattr__ = lazily.parts(
        __name__,
        {
            "checking": (
                "Checked",
                "Mended",
                "mend",
                "verify",
            ),
            "exporting": (
                "Chosen",
                "export_bag",
                "export_folder",
                "export_site",
                "export_tables",
                "table_lines",
            ),
            "history": ("changes",),
            "lacking": ("gaps",),
            "nights": (
                "configured",
                "plan",
                "room",
                "run",
            ),
            "opening": (
                "create",
                "restore_marker",
                "upgrade",
            ),
            "paying": (
                "Bill",
                "costs",
                "units_per_night",
            ),
            "rereading": ("reread",),
            "searching": ("account_among", "is_pointer", "nobody", "search", "stale"),
            "showing": (
                "Part",
                "Showing",
                "ShownAccount",
                "ShownHighlight",
                "ShownItem",
                "shown",
            ),
        },
    )


def status(config: Config) -> Status:
    """The archive in numbers."""
    not_kept = {Role.COVER: not config.download.covers, Role.AVATAR: not config.download.avatars}
    roles = [role for role in Role if not not_kept.get(role, False)]
    with rows.reading(config) as catalog:
        found, hosts = catalog.read(totals.status), catalog.read(totals.refused_hosts, roles)
    if not hosts:
        return found
    from archiver.archive.opening import download_rules

    rules = download_rules(config)
    return replace(found, hosts_not_allowed=tuple((h, n) for h, n in hosts if not rules.allow(h, None)))


def balance(config: Config) -> Balance:
    """Units left at the API, by a free call. Raises KeyMissing, KeyRejected, or what keeps the API from answering."""
    from archiver.archive.nights import require_key
    from archiver.hiker.client import HikerClient
    from archiver.runner.metered_api import fetch_balance

    client = HikerClient(require_key(config), base_url=config.api.base_url, timeout=config.api.timeout)
    try:
        return fetch_balance(client)
    finally:
        client.close()


def ask(
    config: Config, sql: str, parameters: Mapping[str, Value] | None = None, *, limit: int, seconds: float
) -> Rows:
    """What a read-only query brings: at most ``limit`` rows, within so many seconds. Raises QueryRefused, MarkerMismatch."""
    with rows.reading(config, asked=True) as catalog:
        return catalog.run_query(sql, rows=limit, seconds=seconds, parameters=parameters)


@contextmanager
def asking(
    config: Config, sql: str, parameters: Mapping[str, Value] | None = None, *, seconds: float
) -> Iterator[RowStream]:
    """As ``ask``, all rows as they are read. Raises QueryRefused, also after some rows."""
    with (
        rows.reading(config, asked=True) as catalog,
        catalog.stream_query(sql, seconds=seconds, parameters=parameters) as found,
    ):
        yield found


def revision(config: Config) -> tuple[str, str]:
    """The schema's revision in the database, and the one that this version needs."""
    rows.marker_of(config)
    return schema.read_revision(rows.place(config)), schema.head()


def on_postgresql(config: Config) -> bool:
    """Return whether the rows of the archive are in PostgreSQL."""
    return rows.place(config).url is not None


def sqlite_file(config: Config) -> Path:
    """The file of the database, for programs that read SQLite; it is of this archive, at this version's schema.

    Raises UsageError for PostgreSQL.
    """
    path = rows.place(config).path
    if path is None:
        raise UsageError(
            "the archive is in PostgreSQL", "Datasette reads SQLite alone: ask it with psql or archiver query"
        )
    with rows.reading(config):
        return path


def backup_database(config: Config, to: Path) -> None:
    """Write a consistent copy of the SQLite database, also while a run is on. Raises UsageError for PostgreSQL, naming ``pg_dump``."""
    with rows.reading(config) as catalog:
        catalog.backup(to)
