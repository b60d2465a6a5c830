"""Measure what the journal costs: its bytes, a snapshot of many rows, and a rebuild of the database.

    python benchmarks/journal.py [--accounts 100] [--items 100000]

First a first night and a quiet night from the stand-in: the journal's bytes beside all others, and for each
quiet account of 20 highlights. Then a generated archive of so many items: ``db snapshot``, and ``db rebuild``
without the database. Processor seconds are those of the whole process.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from processes import ARCHIVER, measure
from standin import archiver, upstream

from archiver.catalog.tables import JOURNALED


def main() -> None:
    """Print the bytes of two nights, and the times and memory of a snapshot and a rebuild."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--items", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_nights(Path(folder), options.accounts)
    for items in (options.items // 10, options.items):
        with tempfile.TemporaryDirectory() as folder:
            print_rebuild(Path(folder) / "archive", items)


def print_nights(home: Path, accounts: int) -> None:
    """Print the bytes that a first night and a quiet night add to the journal."""
    size = ("--accounts", str(accounts), "--highlights", "20", "--items", "1", "--balance", "100000000")
    with upstream(*size) as world:
        environ = world.init_nights(home, accounts)
        first = archiver(environ, "run", cwd=home)
        journal, everything = count_bytes(home / "archive" / "journal"), count_bytes(home / "archive")
        print(
            f"first night: {journal:,} of {everything:,} bytes are the journal's "
            f"({100 * journal / everything:.2f} %), {first.cpu:.2f} s CPU"
        )
        quiet = archiver(environ, "run", cwd=home)
        added = count_bytes(home / "archive" / "journal") - journal
        print(
            f"quiet night: {added / accounts:.0f} bytes of journal and "
            f"{1000 * quiet.cpu / accounts:.2f} ms CPU per account"
        )


def print_rebuild(archive: Path, items: int) -> None:
    """Print what a snapshot of a generated archive takes, and a rebuild from it."""
    accounts = str(max(1, items // 1000))
    program = str(Path(__file__).with_name("million.py"))
    measure([sys.executable, program, str(archive), "--items", str(items), "--accounts", accounts])
    with closing(sqlite3.connect(archive / "archive.db")) as database:
        rows = sum(
            database.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0] for table in JOURNALED
        )
    snapshot = measure([ARCHIVER, "-q", "db", "snapshot", "--archive", str(archive)])
    size = count_bytes(archive / "journal")
    print(
        f"snapshot of {items:,} items: {rows:,} rows, {size:,} bytes, {snapshot.wall:.1f} s "
        f"({snapshot.cpu:.1f} s CPU, {1e6 * snapshot.cpu / rows:.1f} us a row), "
        f"peak {snapshot.peak:.0f} MiB",
        flush=True,
    )
    for file in archive.glob("archive.db*"):
        file.unlink()
    rebuild = measure([ARCHIVER, "-q", "db", "rebuild", "--archive", str(archive)])
    print(
        f"rebuild of {items:,} items: {rebuild.wall:.1f} s ({rebuild.cpu:.1f} s CPU, "
        f"{rows / rebuild.wall:,.0f} rows a second), peak {rebuild.peak:.0f} MiB",
        flush=True,
    )


def count_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
