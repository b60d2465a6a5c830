"""Searches in an archive of generated rows, as medians of warm runs; and what the index adds to the database.

python benchmarks/million.py DIRECTORY
python benchmarks/searching.py DIRECTORY [--rounds 15]
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

from archiver.catalog import Catalog, SearchQuery
from archiver.catalog.search import results
from archiver.model.search_hits import Kind

_LIMIT = 21  # as on a terminal: one more than is shown


def main() -> None:
    """Print a line for each search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    database = asked.directory / "archive.db"
    with closing(sqlite3.connect(database)) as lite:
        print(sizes(lite))
        common = common_words(lite)
        owner = str(
            lite.execute(
                "select user_pk from highlights group by 1 order by count(*) desc limit 1"
            ).fetchone()[0]
        )
    narrower: dict[str, dict[str, Any]] = {
        "": {},
        ", of an account": {"user_pks": [owner]},
        ", videos": {"kinds": [Kind.VIDEO]},
        ", lately": {"since": datetime.now(UTC) - timedelta(days=30)},
    }
    two = f"{common[0]} {common[1]}"
    with Catalog.open(database, write=False) as catalog:
        for text in (*common, common[0][:1], common[0][:2], two, f'"{two}"', "旅", "旅行", "🦋", "zzzz"):
            for what, more in narrower.items():
                hits, median = measured(partial(found, catalog, text, **more), asked.rounds)
                print(f"{median:7.1f} ms  {hits:3} hits  {text}{what}", flush=True)


def found(catalog: Catalog, text: str, **more: Any) -> int:
    """How many hits a terminal would show."""
    return len(list(catalog.stream(results.hits, SearchQuery.parse(text), limit=_LIMIT, **more)))


def measured(ask: Callable[[], int], rounds: int) -> tuple[int, float]:
    """What is found, and the median milliseconds of so many runs after a first one."""
    hits, took = ask(), []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        took.append((time.perf_counter() - began) * 1000)
    return hits, statistics.median(took)


def common_words(lite: sqlite3.Connection) -> list[str]:
    """The words that stand in the most documents."""
    lite.execute("create virtual table temp.told using fts5vocab(main, 'search_index', 'row')")
    rows = lite.execute(
        "select term from told where term not glob '[|@=]*' order by doc desc limit 6"
    ).fetchall()
    return [str(term) for (term,) in rows]


def sizes(lite: sqlite3.Connection) -> str:
    """How much of the database the documents and their index are."""
    (documents,) = lite.execute("select count(*) from search_documents").fetchone()
    rows = lite.execute("select name, sum(pgsize) from dbstat group by 1").fetchall()
    ours = sum(size for name, size in rows if "search" in name)
    return f"{documents:,} documents; {ours / 2**20:.0f} of {sum(size for _, size in rows) / 2**20:.0f} MiB are for searching"


if __name__ == "__main__":
    main()
