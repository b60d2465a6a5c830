"""Measure what one more account, page or file costs: the difference between two sizes, in processor time.

    python benchmarks/cost.py [--rounds 5] [--database postgresql+psycopg://...] [--in DIRECTORY]

A difference leaves out what every run costs once. Accounts have 20 highlights of one item; pages have 15
items; files are small, so that they cost what surrounds their bytes. ``--database`` names an empty PostgreSQL
database, whose tables are removed after each night.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy import create_engine, text
from standin import archiver, upstream


@dataclass(frozen=True, slots=True)
class Slope:
    """What is measured: two worlds (accounts, highlights, items), and by how many units they differ.

    ``nights``: how many runs come before the one that is measured.
    """

    unit: str
    small: tuple[int, int, int]
    large: tuple[int, int, int]
    units: int
    nights: int = 0


SLOPES = (
    Slope("quiet account of 20 highlights", (20, 20, 1), (120, 20, 1), 100, nights=1),
    Slope("page of 15 items with 23 small files", (4, 5, 15), (4, 30, 15), 100),
    Slope("item with one or two small files", (4, 5, 15), (4, 5, 65), 1000),
)


def main() -> None:
    """Print the medians of all slopes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", help="an empty PostgreSQL database (default: SQLite)")
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    options = parser.parse_args()
    for slope in SLOPES:
        small, large = (
            [measure(world, slope.nights, options.database, options.where) for _ in range(options.rounds)]
            for world in (slope.small, slope.large)
        )
        cost = (median(large) - median(small)) / slope.units * 1000
        least = (min(large) - min(small)) / slope.units * 1000
        print(f"{slope.unit}: {cost:.2f} ms of processor time ({least:.2f} between the fastest)", flush=True)


def measure(world: Sequence[int], nights: int, database: str | None, where: Path | None) -> float:
    """Return the processor seconds of the night after so many nights of a world."""
    accounts, highlights, items = world
    options = ["--accounts", str(accounts), "--highlights", str(highlights), "--items", str(items)]
    options += ["--balance", "100000000"]
    with upstream(*options) as served, tempfile.TemporaryDirectory(dir=where) as folder:
        if database is not None:
            served.environ["ARCHIVER_ARCHIVE_DATABASE"] = database
        home = Path(folder)
        environ = served.init_nights(home, accounts)
        for _ in range(nights):
            archiver(environ, "run", cwd=home)
        cost = archiver(environ, "run", cwd=home).cpu
        if database is not None:
            _empty(database)
        return cost


def _empty(database: str) -> None:
    with create_engine(database).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))


if __name__ == "__main__":
    main()
