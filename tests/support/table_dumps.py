"""Archives to be read anew: all their rows, ways to take some away, and a stop at any step."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing

import psycopg

from archiver.catalog.tables import metadata
from archiver.errors import StoppedBySignal
from archiver.work import StopFlag
from tests.support.archive_harness import ArchiveHarness

Table = list[tuple[object, ...]]

SEEN = frozenset({"first_seen_at", "last_seen_at"})
"""Of a row that is written again these are the times of its answers, some milliseconds before those of its
first writing.
"""


def dump(harness: ArchiveHarness, without: Mapping[str, frozenset[str]] | None = None) -> dict[str, Table]:
    """All rows of all tables but ``runs``, the journal's and the totals, without some columns of some tables.

    Documents that are searched have other numbers once they were made anew; without times of others they have
    none of their own either.
    """
    left_out = {"search_documents": frozenset({"id", "at"} if without else {"id"}), **(without or {})}
    return {
        name: sorted(
            harness.rows(f"select {', '.join(_columns(name, left_out.get(name, frozenset())))} from {name}"),
            key=repr,
        )
        for name in metadata.tables
        if name != "runs" and not name.endswith("_totals") and not name.startswith("journal_")
    }


def _columns(table: str, without: frozenset[str]) -> list[str]:
    return [f'"{c.name}"' for c in metadata.tables[table].columns if c.name not in without]


def execute(harness: ArchiveHarness, *statements: str) -> None:
    """Change the database as nobody should; all or nothing."""
    if harness.database is not None:
        with psycopg.connect(harness.database.replace("+psycopg", "")) as connection:
            for statement in statements:
                connection.execute(statement.encode())
        return
    with closing(sqlite3.connect(harness.root / "archive.db")) as lite, lite:
        for statement in statements:
            lite.execute(statement)


def asked(harness: ArchiveHarness) -> list[str]:
    """The paths of the API that were asked since the upstream's log was emptied."""
    return [request.path for request in harness.upstream.requests.api_calls()]


class StopAt(StopFlag):
    """Stops whoever looks at it for the n-th time, as a signal would just before."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._left = step

    def check(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self.stop(StoppedBySignal(2))
        super().check()


def counts(learnt: Mapping[str, tuple[int, int]]) -> Mapping[str, tuple[int, int]]:
    """Of each table where anything was learnt: rows added, rows filled."""
    return {table: some for table, some in learnt.items() if any(some)}


def values(rows: Sequence[tuple[object, ...]]) -> list[object]:
    """The first column."""
    return [row[0] for row in rows]
