"""The folder export of many small files against ``cp -al`` of the same blobs, and of the tree itself, in one run, on one disk.

    python benchmarks/export_folder.py [--files 200000] [--in DIRECTORY] [--profile]

Makes an archive of generated rows and real files (half photos, half videos with a poster), then measures each from the start of the process
to its end, three times, and prints the best. All give every blob another name; the export also reads the rows, makes up the
names, dates the files and keeps account of them.
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

from archiver import archive
from archiver.config import load

_PER_HIGHLIGHT = 20
_PER_ACCOUNT = 20  # highlights
_SIZE = 40  # bytes of a file
_NOW = datetime(2026, 3, 31, tzinfo=UTC)


def main() -> None:
    """Print a line for each, and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--in", dest="where", type=Path, help="a directory on the disk to measure")
    parser.add_argument(
        "--profile", action="store_true", help="show where the export spends its time instead"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.where) as folder:
        home = Path(folder)
        files = generate(home / "archive", asked.files)
        if asked.profile:
            run(*export(home, "profiled", "-m", "cProfile", "-s", "tottime"), shows=True)
            return
        copies, exports, again, trees = [], [], [], []
        for turn in range(3):
            tree = str(home / f"tree {turn}")
            copies.append(run("cp", "-al", str(home / "archive" / "blobs"), str(home / f"blobs {turn}")))
            exports.append(run(*export(home, tree)))
            again.append(run(*export(home, tree)))
            trees.append(run("cp", "-al", tree, str(home / f"copy {turn}")))
        exported = tell(f"export folder of {files:,} files", exports, files)
        tell("the same once more, nothing new", again, files)
        for what, times in (("of the same blobs", copies), ("of the tree", trees)):
            copied = tell(f"cp -al {what}", times, files)
            print(f"speed of the export : that of cp -al {what} = {copied / exported:.2f}")


def tell(what: str, times: list[float], files: int) -> float:
    """Print the best of these times, in seconds, and return it."""
    best = min(times)
    print(f"{what}: {best:.2f} s, {best / files * 1e6:.1f} µs a file")
    return best


def export(home: Path, to: str, *how: str) -> list[str]:
    """The command line of an export."""
    program = [*how, str(Path(archive.__file__).parents[1] / "__main__.py")] if how else ["-m", "archiver"]
    return [
        sys.executable, *program, "-v", "--archive", str(home / "archive"),
        "export", "folder", str(home / to), "--link", "hardlink",
    ]  # fmt: skip


def run(*command: str, shows: bool = False) -> float:
    """Run it to its end; the seconds that it took."""
    started = time.perf_counter()
    subprocess.run(
        command,
        check=True,
        stdout=None if shows else subprocess.DEVNULL,
        stderr=None if shows else subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def generate(root: Path, files: int) -> int:
    """An archive with about so many files; returns how many."""
    archive.create(load(None, {"ARCHIVER_ARCHIVE": str(root)}))
    with closing(sqlite3.connect(root / "archive.db")) as rows, rows:
        rows.execute(
            "INSERT INTO runs (id, command, started_at, units) VALUES (1, 'run', ?, 0)", [moment(_NOW)]
        )
        digests = [write(root, number) for number in range(files)]
        for start in range(0, files, _PER_ACCOUNT * _PER_HIGHLIGHT * 3 // 2):
            account(rows, digests[start : start + _PER_ACCOUNT * _PER_HIGHLIGHT * 3 // 2], start)
    return files


def write(root: Path, number: int) -> str:
    """A blob of some bytes."""
    text = f"{number:0{_SIZE}}".encode()
    digest = hashlib.sha256(text).hexdigest()
    path = root / "blobs" / digest[:2] / digest
    path.write_bytes(text)
    path.chmod(0o444)
    return digest


def account(rows: sqlite3.Connection, digests: list[str], number: int) -> None:
    """An account whose items have these files."""
    pk, now = str(1000 + number), moment(_NOW)
    seen = {"first_seen_at": now, "last_seen_at": now}
    insert(rows, "users", pk=pk, username=f"account{number}", **seen)
    left = iter(digests)
    for placed, digest in enumerate(left):
        item, highlight = f"{pk}{placed:06}", f"{pk}{placed // _PER_HIGHLIGHT:03}"
        if placed % _PER_HIGHLIGHT == 0:
            insert(
                rows,
                "highlights",
                pk=highlight,
                user_pk=pk,
                title=f"Título 旅行 {placed} 🦋",
                position=placed,
                **seen,
            )
        taken = moment(_NOW - timedelta(minutes=placed))
        is_video = placed % 2 == 1
        insert(
            rows,
            "items",
            pk=item,
            user_pk=pk,
            code=f"C{item}",
            taken_at=taken,
            media_type=1 + is_video,
            first_seen_at=now,
        )
        insert(
            rows,
            "highlight_items",
            highlight_pk=highlight,
            item_pk=item,
            position=placed % _PER_HIGHLIGHT,
            **seen,
        )
        file(rows, item, "thumbnail", digest, "image/jpeg")
        if is_video and (video := next(left, None)) is not None:
            file(rows, item, "video", video, "video/mp4")


def file(rows: sqlite3.Connection, item: str, role: str, digest: str, mime: str) -> None:
    """A file of an item."""
    insert(rows, "blobs", sha256=digest, size=_SIZE, mime=mime, stored_at=moment(_NOW))
    insert(
        rows, "files", item_pk=item, role=role, sha256=digest, run_id=1, source_url="https://example.com/a",
        kept_at=moment(_NOW), last_seen_at=moment(_NOW),
    )  # fmt: skip


def insert(rows: sqlite3.Connection, table: str, **values: object) -> None:
    """One row."""
    marks = ", ".join("?" * len(values))
    rows.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", list(values.values()))


def moment(at: datetime) -> str:
    """As SQLite has it."""
    return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


if __name__ == "__main__":
    main()
