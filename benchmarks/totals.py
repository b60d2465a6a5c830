"""Measure how long it takes to count what the tables of totals hold, with a million items.

    python benchmarks/million.py DIRECTORY
    python benchmarks/totals.py DIRECTORY [--rounds 5] [--postgresql URL]

The times are medians of warm runs, in milliseconds. A sum that is counted within 20 ms on both databases
needs no table. ``--postgresql`` names a database with the rows of an archive, or an empty one, which gets
them.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

from cost import connect
from processes import describe_machine
from serve_pages import copy_rows

_MONTH = {"sqlite": "substr({}, 1, 7)", "postgresql": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM')"}
_SHOWN = (
    "SELECT DISTINCT h.user_pk, m.item_pk FROM highlights h JOIN highlight_items m ON m.highlight_pk = h.pk"
)
_LARGEST = "(SELECT user_pk FROM highlights GROUP BY user_pk ORDER BY count(*) DESC LIMIT 1)"
_QUERIES = {
    "account_totals: items of all": f"SELECT user_pk, count(*) FROM ({_SHOWN}) AS shown GROUP BY user_pk",
    "account_totals: items of the largest": f"""
        SELECT count(*) FROM ({_SHOWN} WHERE h.user_pk = {_LARGEST}) AS s""",
    "account_totals: files and bytes of all": f"""
        SELECT s.user_pk, count(*), sum(b.size) FROM ({_SHOWN}) AS s JOIN files f ON f.item_pk = s.item_pk
        JOIN blobs b ON b.sha256 = f.sha256 WHERE b.lost_at IS NULL GROUP BY s.user_pk""",
    "account_totals: files and bytes of the largest": f"""
        SELECT count(*), sum(b.size) FROM ({_SHOWN} WHERE h.user_pk = {_LARGEST}) AS s
        JOIN files f ON f.item_pk = s.item_pk JOIN blobs b ON b.sha256 = f.sha256 WHERE b.lost_at IS NULL""",
    "monthly_totals: number of items": "SELECT count(*) FROM items",
    "monthly_totals: number of files": "SELECT count(*) FROM files",
    "monthly_totals: number and bytes of blobs": """
        SELECT count(*), sum(size) FROM blobs WHERE lost_at IS NULL""",
    "monthly_totals: items by month": "SELECT {first_seen_at}, count(*) FROM items GROUP BY 1",
    "monthly_totals: files by month": "SELECT {kept_at}, count(*) FROM files GROUP BY 1",
    "monthly_totals: blobs by month": """
        SELECT {stored_at}, sum(size) FROM blobs WHERE lost_at IS NULL GROUP BY 1""",
    "budget_totals: units by month": "SELECT {started_at}, sum(units) FROM api_calls GROUP BY 1",
    "budget_totals: units of the largest run": """
        SELECT sum(units) FROM api_calls
        WHERE run_id = (SELECT run_id FROM api_calls GROUP BY run_id ORDER BY count(*) DESC LIMIT 1)""",
    "runs.units: units by run": "SELECT run_id, sum(units) FROM api_calls GROUP BY run_id",
}


def main() -> None:
    """Print a line for each query and database."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--postgresql", metavar="URL")
    options = parser.parse_args()
    database = options.directory / "archive.db"
    print(describe_machine(), flush=True)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as lite:
        for setting in ("cache_size = -65536", "mmap_size = 0"):
            lite.execute(f"PRAGMA {setting}")
        _measure("sqlite", lambda sql: lite.execute(sql).fetchall(), options.rounds)
    if options.postgresql:
        with connect(options.postgresql) as connection:
            has_rows = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'").fetchone()
        if not has_rows:
            copy_rows(database, options.postgresql)
        with connect(options.postgresql) as connection:
            _measure("postgresql", lambda sql: connection.execute(sql).fetchall(), options.rounds)


def _measure(dialect: str, execute: Callable[[str], object], rounds: int) -> None:
    print(f"\n{dialect}, in milliseconds")
    columns = ("first_seen_at", "kept_at", "stored_at", "started_at")
    months = {column: _MONTH[dialect].format(column) for column in columns}
    for name, sql in _QUERIES.items():
        took = []
        for _ in range(rounds + 1):
            began = time.perf_counter()
            execute(sql.format(**months))
            took.append((time.perf_counter() - began) * 1000)
        print(f"{name:<48} {median(took[1:]):8.1f}", flush=True)


if __name__ == "__main__":
    main()
