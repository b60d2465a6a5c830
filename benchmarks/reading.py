"""Measure how long reading an archive of a million items takes.

    python benchmarks/million.py /dev/shm/million
    python benchmarks/reading.py /dev/shm/million [--times 7]

Measures every named query, and the processes ``archiver status`` and ``archiver --help``. The times are
medians of warm runs. A query is run through ``archiver.catalog`` until all of its rows are in memory.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median

from generated import LAST, format_time
from processes import ARCHIVER, measure

from archiver.catalog import Catalog
from archiver.queries import named_queries
from archiver.queries.parameters import parameter_names

_LARGEST = "SELECT highlight_pk FROM highlight_items GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"


def main() -> None:
    """Print a line for each query and command: the median time and the number of rows or lines."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    for name, task in _tasks(options.directory):
        rows = task()  # also warms up
        milliseconds = median(_measure(task, options.times)) * 1000
        print(f"{name:<24} {milliseconds:7.1f} ms  {rows:>8,} rows", flush=True)


def _tasks(directory: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    with Catalog.open(directory / "archive.db", write=False) as catalog:
        values = {
            "username": "natgeo",
            "since": format_time(LAST - timedelta(days=7)),
            "domain": "www.nationalgeographic.com",
            "highlight": str(catalog.run_query(_LARGEST, rows=1, seconds=60).rows[0][0]),
        }
        for name, query in named_queries.all_queries().items():
            parameters = {
                parameter: values[parameter] for parameter in parameter_names(query.sql, postgresql=False)
            }
            yield (
                name,
                lambda sql=query.sql, parameters=parameters: len(  # type: ignore[misc]
                    catalog.run_query(sql, rows=10**9, seconds=60, parameters=parameters).rows
                ),
            )
    yield "archiver status", lambda: _run_command(directory, "status")
    yield "archiver --help", lambda: _run_command(directory, "--help")


def _run_command(directory: Path, *words: str) -> int:
    return measure([ARCHIVER, *words], environ={"ARCHIVER_ARCHIVE": str(directory)}).out.count(b"\n")


def _measure(task: Callable[[], int], times: int) -> Iterator[float]:
    for _ in range(times):
        started = time.perf_counter()
        task()
        yield time.perf_counter() - started


if __name__ == "__main__":
    main()
