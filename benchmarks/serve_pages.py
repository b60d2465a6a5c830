"""Measure how long the pages of the whole archive take in ``archiver serve``, with a million items.

    python benchmarks/million.py DIRECTORY
    python benchmarks/serve_pages.py DIRECTORY [--rounds 15] [--postgresql [URL]]

A view is called as the server calls it, without HTTP. ``first`` is its first call in this process;
``median`` and ``cpu`` are medians of the others, in milliseconds of time and of this process's processor.
``server`` is what the processes of a PostgreSQL server on this machine used, on average.
``--postgresql`` copies the rows into an empty database, or into a server of its own, and measures that too.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from cost import connect, postgresql
from processes import describe_machine

from archiver.catalog import Catalog
from archiver.catalog.tables import metadata
from archiver.model.identity import utcnow
from archiver.web.archive_views import ARCHIVE_VIEWS
from archiver.web.page_parts import Page, PageRequest

_BATCH = 20_000  # rows


def main() -> None:
    """Print a line for each page and database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--postgresql", nargs="?", const="", metavar="URL")
    options = parser.parse_args()
    database = options.directory / "archive.db"
    print(describe_machine(), flush=True)
    with ExitStack() as stack:
        measure_pages(database, options.rounds)
        if options.postgresql is not None:
            url = stack.enter_context(postgresql(options.postgresql))
            copy_rows(database, url)
            measure_pages(url, options.rounds)


def measure_pages(database: str | Path, rounds: int) -> None:
    """Print a line for each page of an archive."""
    print(f"\n{'PostgreSQL' if isinstance(database, str) else 'SQLite'}, in milliseconds")
    with Catalog.open(database, write=False) as catalog:
        for path, query in archive_requests(catalog):
            took, used, size, before = [], [], 0, 0.0
            for n in range(rounds + 1):
                before = before if n > 1 else _read_server_time(database)
                began, began_cpu = time.perf_counter(), time.process_time()
                page = ARCHIVE_VIEWS[path](catalog, PageRequest(query=query, origin="http://127.0.0.1:8000"))
                took.append((time.perf_counter() - began) * 1000)
                used.append((time.process_time() - began_cpu) * 1000)
                size = len(page.content) if isinstance(page, Page) else 0
            shown = " ".join([path, *(f"{name}={value}" for name, value in query.items())])
            print(
                f"{shown:<46} first {took[0]:6.1f}  median {median(took[1:]):6.1f}"
                f"  cpu {median(used[1:]):6.1f}"
                f"  server {(_read_server_time(database) - before) / rounds:6.1f}  {size:>8,} bytes",
                flush=True,
            )


def _read_server_time(database: str | Path) -> float:
    """Return the milliseconds of processor time that the open connections have used; 0 for SQLite."""
    if isinstance(database, Path):
        return 0.0
    with connect(database) as connection:
        pids = connection.execute("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        stats = [Path(f"/proc/{pid}/stat") for (pid,) in pids]
    ticks = [stat.read_text().rpartition(") ")[2].split()[11:13] for stat in stats if stat.exists()]
    return sum(map(int, chain.from_iterable(ticks))) * 1000 / os.sysconf("SC_CLK_TCK")


def archive_requests(catalog: Catalog) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the pages of the whole archive: each path with its query."""

    def value(sql: str) -> str:
        return str(catalog.run_query(sql, rows=1, seconds=60).rows[0][0])

    yield "/timeline", {}
    yield "/timeline", {"day": "2020-05-31"}
    yield "/timeline", {"day": "2017-01-31"}
    yield "/changes", {}
    yield "/changes", {"before": value("SELECT max(id) / 2 FROM changes")}
    yield "/search", {}
    yield from (
        ("/search", {"q": text}) for text in ("travel", "a", "natgeo", "旅行", "travel photo", "zzzz")
    )
    yield "/search", {"q": "travel", "page": "20"}
    yield "/gaps", {}
    middle = "SELECT pk FROM users ORDER BY pk LIMIT 1 OFFSET (SELECT count(*) / 2 FROM users)"
    yield "/gaps", {"after": value(middle)}
    yield "/gaps", {"account": "787132"}
    yield "/costs", {}
    yield "/feed.atom", {}


def copy_rows(database: Path, url: str) -> None:
    """Copy all rows of a SQLite archive into an empty PostgreSQL database."""
    with closing(sqlite3.connect(database)) as source:
        (archive_id,) = source.execute("SELECT id FROM archive").fetchone()
        Catalog.create(url, archive_id, utcnow()).close()
        with connect(url) as target, target.cursor() as cursor:
            # No triggers, no checks of keys; but one makes the words of the search index.
            cursor.execute("ALTER TABLE search_documents ENABLE ALWAYS TRIGGER search_documents_words")
            cursor.execute("SET session_replication_role = replica")
            for table in metadata.sorted_tables:
                cursor.execute(f"DELETE FROM {table.name}")
                names = ", ".join(f'"{column.name}"' for column in table.columns)
                flags = [n for n, column in enumerate(table.columns) if column.type.python_type is bool]
                rows = source.execute(f"SELECT {names} FROM {table.name}")
                with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
                    for row in _with_flags(rows, flags):
                        copy.write_row(row)
            target.commit()
            target.autocommit = True
            cursor.execute("VACUUM ANALYZE")


def _with_flags(rows: Any, flags: list[int]) -> Iterator[list[Any]]:
    """Yield rows with booleans: SQLite has numbers in their place."""
    while batch := rows.fetchmany(_BATCH):
        for row in batch:
            values = list(row)
            for n in flags:
                values[n] = None if row[n] is None else bool(row[n])
            yield values


if __name__ == "__main__":
    main()
