"""Measure searches in an archive of generated rows, and the share of the search index in the database.

    python benchmarks/million.py DIRECTORY
    python benchmarks/searching.py DIRECTORY [--rounds 15]

The times are medians of warm runs.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from archiver.catalog import Catalog
from archiver.catalog.search import results
from archiver.catalog.search.query_parser import SearchQuery
from archiver.model.query_results import Kind

_LIMIT = 21  # as on a terminal: one more than it shows


def main() -> None:
    """Print the size of the index, then a line for each search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    database = options.directory / "archive.db"
    with closing(sqlite3.connect(database)) as connection:
        print(describe_size(connection))
        common = read_common_words(connection)
        owner = str(
            connection.execute(
                "select user_pk from highlights group by 1 order by count(*) desc limit 1"
            ).fetchone()[0]
        )
    filters: dict[str, dict[str, Any]] = {
        "": {},
        ", of an account": {"user_pks": [owner]},
        ", videos": {"kinds": [Kind.VIDEO]},
        ", lately": {"since": datetime.now(UTC) - timedelta(days=30)},
    }
    two = f"{common[0]} {common[1]}"
    with Catalog.open(database, write=False) as catalog:
        for text in (*common, common[0][:1], common[0][:2], two, f'"{two}"', "旅", "旅行", "🦋", "zzzz"):
            for name, values in filters.items():
                hits, median = measure(partial(count_hits, catalog, text, **values), options.rounds)
                print(f"{median:7.1f} ms  {hits:3} hits  {text}{name}", flush=True)


def count_hits(catalog: Catalog, text: str, **more: Any) -> int:
    """Return the number of hits of a search, as limited on a terminal."""
    return len(list(catalog.stream(results.hits, SearchQuery.parse(text), limit=_LIMIT, **more)))


def measure(search: Callable[[], int], rounds: int) -> tuple[int, float]:
    """Return the number of hits, and the median time in milliseconds of ``rounds`` runs after a first one."""
    hits, took = search(), []
    for _ in range(rounds):
        began = time.perf_counter()
        search()
        took.append((time.perf_counter() - began) * 1000)
    return hits, statistics.median(took)


def read_common_words(connection: sqlite3.Connection) -> list[str]:
    """Return the words that occur in the most documents, the most frequent first."""
    connection.execute("create virtual table temp.words using fts5vocab(main, 'search_index', 'row')")
    rows = connection.execute(
        "select term from words where term not glob '[|@=]*' order by doc desc limit 6"
    ).fetchall()
    return [str(term) for (term,) in rows]


def describe_size(connection: sqlite3.Connection) -> str:
    """Return a line that says how much of the database the documents and their index take."""
    (documents,) = connection.execute("select count(*) from search_documents").fetchone()
    rows = connection.execute("select name, sum(pgsize) from dbstat group by 1").fetchall()
    total = sum(size for _, size in rows) / 2**20
    search = sum(size for name, size in rows if "search" in name) / 2**20
    return f"{documents:,} documents; {search:.0f} of {total:.0f} MiB of the database are for searching"


if __name__ == "__main__":
    main()
