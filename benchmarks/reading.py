"""How long a reader waits: every named query in process, ``archiver status`` as a process, over an archive of a million items.

    python benchmarks/million.py /dev/shm/million
    python benchmarks/reading.py /dev/shm/million [--times 7]

Medians of warm runs. A query is asked by ``archiver.catalog``, its rows brought and all held, as ``archiver query`` does before it writes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median

from generated import LAST, moment

from archiver.catalog import Catalog
from archiver.queries import named_queries

_LARGEST = "SELECT highlight_pk FROM highlight_items GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"


def main() -> None:
    """Print a line for each: the median, and the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--times", type=int, default=7)
    asked = parser.parse_args()
    for name, work in _works(asked.directory):
        rows = work()  # warms up, too
        print(f"{name:<24} {median(_times(work, asked.times)) * 1000:7.1f} ms  {rows:>8,} rows", flush=True)


def _works(directory: Path) -> Iterator[tuple[str, Callable[[], int]]]:
    with Catalog.open(directory / "archive.db", write=False) as catalog:
        values = {
            "username": "natgeo",
            "since": moment(LAST - timedelta(days=7)),
            "domain": "www.nationalgeographic.com",
            "highlight": str(catalog.run_query(_LARGEST, rows=1, seconds=60).rows[0][0]),
        }
        for name, query in named_queries.all_queries().items():
            given = {parameter: values[parameter] for parameter in query.parameters(postgresql=False)}
            yield (
                name,
                lambda sql=query.sql, given=given: len(  # type: ignore[misc]
                    catalog.run_query(sql, rows=10**9, seconds=60, parameters=given).rows
                ),
            )
    yield "archiver status", lambda: _process(directory, "status")
    yield "archiver --help", lambda: _process(directory, "--help")


def _process(directory: Path, *words: str) -> int:
    # Some containers keep Python from writing bytecode: every start would compile everything.
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    program = Path(sys.executable).with_name("archiver")
    environ["ARCHIVER_ARCHIVE"] = str(directory)
    done = subprocess.run([program, *words], env=environ, stdout=subprocess.PIPE, check=True)
    return done.stdout.count(b"\n")


def _times(work: Callable[[], int], times: int) -> Iterator[float]:
    for _ in range(times):
        begun = time.perf_counter()
        work()
        yield time.perf_counter() - begun


if __name__ == "__main__":
    main()
