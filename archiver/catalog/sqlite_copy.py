"""Copy a SQLite file, and check that it is not damaged: every page is read before the copy is used."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from archiver.catalog.engine import Database, create_file, open_for_reading, sync
from archiver.durable import destination_errors, storage_errors
from archiver.errors import DatabaseError, DiskFull

RESTORE_HINT = "move it away and run archiver db rebuild, or restore a copy; the blobs are untouched"
PART_SUFFIX = ".part"
"""The suffix of an unfinished copy. Its name also begins with a dot."""


def restore_hint(path: str | Path) -> str:
    """Return what to do about a damaged database. A copy beside the WAL of another file looks like one."""
    wal = Path(f"{path}-wal")
    with suppress(OSError):
        if wal.stat().st_size:
            return (
                f"if it is a copy that was put here beside {wal.name} of another time: move {wal.name} and "
                f"{Path(path).name}-shm away, and put the copy here again; otherwise {RESTORE_HINT}"
            )
    return RESTORE_HINT


def plan_copy(source: Path, target: Path) -> int:
    """Return how many bytes ``copy_sqlite`` would write. Leaves no file, and raises its errors.

    Whether the database is damaged, and the disk large enough, only the copy itself shows.
    """
    with destination_errors(target), tempfile.TemporaryFile(dir=target.parent):
        pass
    with closing(open_for_reading(Database(path=source))) as reading:
        pages, size = (
            reading.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
        )
    return int(pages) * int(size)


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a database into a new file, even while it is being written to.

    The new file appears only once the copy is checked and durable. Raises sqlite3.Error about the source,
    StorageError about the target, DatabaseError if the database is damaged.
    """
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART_SUFFIX}")
    failure = f"the copy {target} cannot be written"
    with destination_errors(target):
        create_file(part)
    try:
        with (
            closing(open_for_reading(Database(path=source))) as reading,
            closing(sqlite3.connect(part)) as copy,
        ):
            try:
                reading.backup(copy)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:  # only the copy is written to
                    raise DiskFull(
                        f"{failure}: no space is left", "free some space, or choose another path"
                    ) from exc
                raise
            reading.require_unchanged()
            _require_sound(copy, source, "quick_check(1)")
        with storage_errors(failure):
            sync(part)
            _publish(part, target)
            sync(target)
    finally:
        part.unlink(missing_ok=True)


def check_after_crash(path: Path) -> None:
    """Read all of a SQLite file that was not closed properly, before anything writes to it.

    SQLite replays any WAL that has the right name, even one that another program or a hasty restore put
    there. Raises DatabaseError, sqlite3.Error.
    """
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        with closing(open_for_reading(Database(path=path))) as reading:
            _require_sound(reading, path, "quick_check(1)", "foreign_key_check")


def _publish(part: Path, target: Path) -> None:
    """Give a finished file its name. Raises FileExistsError if the name is taken."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        part.replace(target)


def _require_sound(connection: sqlite3.Connection, path: Path, *checks: str) -> None:
    for check in checks:
        problem = connection.execute(f"PRAGMA {check}").fetchone()
        if problem not in (None, ("ok",)):
            detail = problem[0] if len(problem) == 1 else f"rows of {problem[0]} refer to missing rows"
            raise DatabaseError(f"the database {path} is damaged: {detail}", restore_hint(path))
