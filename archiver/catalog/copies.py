"""Copies of a SQLite file, and whether one is sound: read through before anybody relies on it."""

from __future__ import annotations

import errno
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

from archiver.catalog.engine import Database, new_file, open_for_reading, sync
from archiver.durable import storage_errors
from archiver.errors import DatabaseError, DiskFull

RESTORE = "restore a copy (archiver db backup makes them); the blobs are untouched"
PART = ".part"
"""Ends the name of a copy that is not whole; it begins with a dot."""


def copy_sqlite(source: Path, target: Path) -> None:
    """Copy a live database into a new file, checked and durable; until it is whole its name is not there.

    Raises sqlite3.Error of the source, StorageError of the target, DatabaseError if the database is damaged.
    """
    new = target.with_name(f".{target.name}.{secrets.token_hex(4)}{PART}")
    failed = f"the copy {target} cannot be written"
    with storage_errors(failed):
        new_file(new)
    try:
        with (
            closing(open_for_reading(Database(path=source))) as reading,
            closing(sqlite3.connect(new)) as copy,
        ):
            try:
                reading.backup(copy)
            except sqlite3.OperationalError as exc:
                if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:  # nothing is written but the copy
                    raise DiskFull(
                        f"{failed}: no space is left", "free some space, or name another place"
                    ) from exc
                raise
            _require_sound(copy, source, "quick_check(1)")
        with storage_errors(failed):
            sync(new)
            _publish(new, target)
            sync(target)
    finally:
        new.unlink(missing_ok=True)


def _publish(new: Path, target: Path) -> None:
    """Give a whole file its name, which nobody may have. Raises FileExistsError."""
    try:
        os.link(new, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        new.replace(target)


def check_what_a_crash_left(path: Path) -> None:
    """Read all of a SQLite file that was not closed well, before anything is written to it. Raises DatabaseError, sqlite3.Error.

    SQLite takes every WAL that bears the name of the file for its own, also one that another program, or a hasty restore, put there.
    """
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        with closing(open_for_reading(Database(path=path))) as reading:
            _require_sound(reading, path, "quick_check(1)", "foreign_key_check")


def _require_sound(connection: sqlite3.Connection, path: Path, *checks: str) -> None:
    for check in checks:
        found = connection.execute(f"PRAGMA {check}").fetchone()
        if found not in (None, ("ok",)):
            told = found[0] if len(found) == 1 else f"rows of {found[0]} refer to nothing"
            raise DatabaseError(f"the database {path} is damaged: {told}", RESTORE)
