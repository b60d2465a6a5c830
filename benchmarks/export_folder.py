"""Compare ``export folder`` of many small files with ``cp -al``, on the same disk.

    python benchmarks/export_folder.py [--files 200000] [--in DIRECTORY] [--profile]

Makes an archive of generated rows and real files; half of the items are photos, half are videos with a
thumbnail. Then it runs the export, the export again with nothing new, ``cp -al`` of the blobs, and ``cp -al``
of the exported tree: three times each, as whole processes. The best times are printed. All of them make a
hard link for every blob; the export also reads the rows, chooses the names, dates the files and lists them in
its manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import archiver
from archiver.archive.creation import create_archive
from archiver.config import load

_PER_HIGHLIGHT = 20
_PER_ACCOUNT = 20  # highlights
_SIZE = 40  # bytes per file
_NOW = datetime(2026, 3, 31, tzinfo=UTC)


def main() -> None:
    """Print a line for each export and each copy, and the ratios of their times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    parser.add_argument("--profile", action="store_true", help="only show where the export spends its time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.where) as folder:
        home = Path(folder)
        files = generate(home / "archive", options.files)
        if options.profile:
            measure(*export_command(home, "profiled", "-m", "cProfile", "-s", "tottime"), show_output=True)
            return
        copies, exports, repeats, trees = [], [], [], []
        for turn in range(3):
            tree = str(home / f"tree {turn}")
            copies.append(measure("cp", "-al", str(home / "archive" / "blobs"), str(home / f"blobs {turn}")))
            exports.append(measure(*export_command(home, tree)))
            repeats.append(measure(*export_command(home, tree)))
            trees.append(measure("cp", "-al", tree, str(home / f"copy {turn}")))
        exported = print_best(f"export folder of {files:,} files", exports, files)
        print_best("the same export again, nothing new", repeats, files)
        for what, times in (("of the same blobs", copies), ("of the tree", trees)):
            copied = print_best(f"cp -al {what}", times, files)
            print(f"speed of the export : speed of cp -al {what} = {copied / exported:.2f}")


def print_best(what: str, times: list[float], files: int) -> float:
    """Print the best of these times in seconds, and the time per file. Return the best time."""
    best = min(times)
    print(f"{what}: {best:.2f} s, {best / files * 1e6:.1f} µs a file")
    return best


def export_command(home: Path, to: str, *python_options: str) -> list[str]:
    """Return the command line of an export, run by Python with these options."""
    main = str(Path(archiver.__file__).with_name("__main__.py"))
    program = [*python_options, main] if python_options else ["-m", "archiver"]
    return [
        sys.executable, *program, "-v", "--archive", str(home / "archive"),
        "export", "folder", str(home / to), "--link", "hardlink",
    ]  # fmt: skip


def measure(*command: str, show_output: bool = False) -> float:
    """Run a command to its end, and return the seconds that it took."""
    started = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        stdout=None if show_output else subprocess.DEVNULL,
        stderr=None if show_output else subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def generate(root: Path, files: int) -> int:
    """Make an archive with this number of files, and return the number."""
    create_archive(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
    with closing(sqlite3.connect(root / "archive.db")) as rows, rows:
        rows.execute(
            "INSERT INTO runs (id, command, started_at, units) VALUES (1, 'run', ?, 0)", [format_time(_NOW)]
        )
        digests = [write_blob(root, number) for number in range(files)]
        for start in range(0, files, _PER_ACCOUNT * _PER_HIGHLIGHT * 3 // 2):
            add_account(rows, digests[start : start + _PER_ACCOUNT * _PER_HIGHLIGHT * 3 // 2], start)
    return files


def write_blob(root: Path, number: int) -> str:
    """Write a small blob, and return its digest."""
    text = f"{number:0{_SIZE}}".encode()
    digest = hashlib.sha256(text).hexdigest()
    path = root / "blobs" / digest[:2] / digest
    path.write_bytes(text)
    path.chmod(0o444)
    return digest


def add_account(rows: sqlite3.Connection, digests: list[str], number: int) -> None:
    """Add an account whose items have these files."""
    pk, now = str(1000 + number), format_time(_NOW)
    seen = {"first_seen_at": now, "last_seen_at": now}
    insert_row(rows, "users", pk=pk, username=f"account{number}", **seen)
    left = iter(digests)
    for placed, digest in enumerate(left):
        item, highlight = f"{pk}{placed:06}", f"{pk}{placed // _PER_HIGHLIGHT:03}"
        if placed % _PER_HIGHLIGHT == 0:
            insert_row(
                rows,
                "highlights",
                pk=highlight,
                user_pk=pk,
                title=f"Título 旅行 {placed} 🦋",
                position=placed,
                **seen,
            )
        taken = format_time(_NOW - timedelta(minutes=placed))
        is_video = placed % 2 == 1
        insert_row(
            rows,
            "items",
            pk=item,
            user_pk=pk,
            code=f"C{item}",
            taken_at=taken,
            media_type=1 + is_video,
            first_seen_at=now,
        )
        insert_row(
            rows,
            "highlight_items",
            highlight_pk=highlight,
            item_pk=item,
            position=placed % _PER_HIGHLIGHT,
            **seen,
        )
        add_file(rows, item, "thumbnail", digest, "image/jpeg")
        if is_video and (video := next(left, None)) is not None:
            add_file(rows, item, "video", video, "video/mp4")


def add_file(rows: sqlite3.Connection, item: str, role: str, digest: str, mime: str) -> None:
    """Add a file of an item, and its blob."""
    insert_row(rows, "blobs", sha256=digest, size=_SIZE, mime=mime, stored_at=format_time(_NOW))
    insert_row(
        rows, "files", item_pk=item, role=role, sha256=digest, run_id=1, source_url="https://example.com/a",
        kept_at=format_time(_NOW), last_seen_at=format_time(_NOW),
    )  # fmt: skip


def insert_row(rows: sqlite3.Connection, table: str, **values: object) -> None:
    """Insert a row."""
    marks = ", ".join("?" * len(values))
    rows.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


def format_time(at: datetime) -> str:
    """Return a time in UTC in the form in which it is stored in SQLite."""
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


if __name__ == "__main__":
    main()
