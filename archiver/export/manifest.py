"""What an export knows of its own files: a small SQLite database beside them, so that a rerun moves, mends and adds, and touches nothing else.

A row is committed before its file is placed or moved, and completed after; that of a new link is complete before. So whatever kills the
program, every file of ours has a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from archiver.errors import DiskFull, StorageError

FORMAT = 1

_SCHEMA = """
CREATE TABLE export (format INTEGER NOT NULL, archive TEXT NOT NULL, form TEXT NOT NULL);
CREATE TABLE files (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, key TEXT UNIQUE, wished TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, at_ns INTEGER, how TEXT, mtime_ns INTEGER, before TEXT, old TEXT
) WITHOUT ROWID;
"""
_NAMES = "id, path, key, wished, sha256, size, at_ns, how, mtime_ns, before, old"
_COLUMNS = _NAMES.replace("wished", "iif(wished = '', path, wished)")
"""Nearly all have the path that they wished for, which is written once then."""
_SET = ", ".join(f"{column} = excluded.{column}" for column in _NAMES.split(", ")[1:])
_UPSERT = (
    f"INSERT INTO files ({_NAMES}) VALUES (?1, ?2, ?3, iif(?4 = ?2, '', ?4), ?5, ?6, ?7, ?8, ?9, ?10, ?11) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET {_SET}"
)
_AT_ONCE = 500


class Row(NamedTuple):
    """A file of ours. ``wished`` is the path that it would have if nothing else had that; ``key`` what no two paths may share.

    ``mtime_ns`` is what the file says in its place, of a new link what it is going to say; else None while it may not be there yet: then
    ``before`` is the SHA-256 of what it replaces under that path, and ``old`` the path that it had.
    """

    id: str
    path: str
    key: str
    wished: str
    sha256: str
    size: int
    at_ns: int | None
    how: str | None = None
    mtime_ns: int | None = None
    before: str | None = None
    old: str | None = None


class Manifest:
    """The rows, open for this process alone. Raises StorageError, DiskFull where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        """Opens the file ``path``, made if it is not there."""
        self._path = path
        with self._told():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA cache_size = -65536")
                self._db.execute("BEGIN IMMEDIATE")
                if not self._db.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for statement in filter(str.strip, _SCHEMA.split(";")):
                        self._db.execute(statement)
                self._db.execute("COMMIT")
            except BaseException:
                self._db.close()
                raise

    def claim(self, archive: str, form: str) -> tuple[str, str] | None:
        """Whose export this is and of which form, if it is another one; else it is this archive's from now on, and None."""
        with self._told():
            found = self._db.execute("SELECT format, archive, form FROM export").fetchone()
            if found is None:
                self._db.execute("INSERT INTO export VALUES (?, ?, ?)", (FORMAT, archive, form))
                return None
        if found[0] > FORMAT:
            raise StorageError(
                f"{self._path} has format {found[0]}, this version knows {FORMAT}", "install a newer archiver"
            )
        return None if found[1:] == (archive, form) else (found[1], found[2])

    def by_id(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of these files, of those that have one."""
        return {row.id: row for row in map(Row._make, self._of(f"{_COLUMNS} FROM files WHERE id", ids))}

    def taken(self, keys: Sequence[str]) -> dict[str, str]:
        """Which of these keys are taken, and by which file."""
        return {str(key): str(id_) for key, id_ in self._of("key, id FROM files WHERE key", keys)}

    def _of(self, what: str, values: Sequence[str]) -> Iterator[tuple[object, ...]]:
        with self._told():
            for start in range(0, len(values), _AT_ONCE):
                some = values[start : start + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                yield from self._db.execute(f"SELECT {what} IN ({marks})", some)

    def below(self, key: str) -> str | None:
        """The path of some file in the directory of that key."""
        with self._told():
            found = self._db.execute(
                "SELECT path FROM files WHERE key >= ? AND key < ? LIMIT 1", (f"{key}/", f"{key}0")
            ).fetchone()
        return found[0] if found is not None else None

    def complete(self, stands: Sequence[tuple[str, int, str]]) -> None:
        """In one commit: that files stand in their place; how they came there, what they say when they were changed, and their id."""
        if stands:
            with self._told(), self._committed():
                self._db.executemany(
                    "UPDATE files SET how = ?, mtime_ns = ?, before = NULL, old = NULL WHERE id = ?", stands
                )

    def change(self, rows: Sequence[Row], gone: Sequence[str] = ()) -> None:
        """In one commit: these rows, which may change keys among themselves; ``gone`` are ids that leave."""
        if not (rows or gone):
            return
        with self._told(), self._committed():
            self._db.executemany("DELETE FROM files WHERE id = ?", [(id_,) for id_ in gone])
            moved = [(row.id,) for row in rows if row.old is not None]
            self._db.executemany("UPDATE files SET key = NULL WHERE id = ?", moved)
            self._db.executemany(_UPSERT, rows)

    @contextmanager
    def _committed(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def is_empty(self) -> bool:
        """Whether there is no row."""
        with self._told():
            return self._db.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None

    def ids(self) -> Iterator[str]:
        """Of all files."""
        with self._told():
            yield from (id_ for (id_,) in self._db.execute("SELECT id FROM files"))

    def rows(self, prefix: str = "") -> Iterator[Row]:
        """All rows by path, or those whose path begins so."""
        with self._told():
            question = f"SELECT {_COLUMNS} FROM files WHERE substr(path, 1, ?) = ? ORDER BY path"  # noqa: S608
            for row in self._db.execute(question, (len(prefix), prefix)):
                yield Row._make(row)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            failed = f"the list of what was exported, {self._path}, cannot be used: {exc}"
            if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise DiskFull(failed, "free space on that disk, and run again") from exc
            raise StorageError(failed, "if it is damaged, name an empty directory") from exc

    def close(self) -> None:
        """Let go of it."""
        self._db.close()
