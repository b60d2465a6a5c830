"""The list of the files that an export made, in a small SQLite database beside them.

From this list the next export knows which files are its own: it moves, repairs and adds only those. A row is
committed before its file is placed or moved, and completed afterwards; the row of a new hard link is complete
from the start. So every file of the export has a row, even if the program is killed at any point.

The list may come from a stranger, with the export. It names only files of the export: another name is damage.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from archiver.blobs.marker import EXPORT_DIRECTORY
from archiver.durable import storage_errors
from archiver.errors import DiskFull, StorageError

FORMAT = 1

_SCHEMA = """
CREATE TABLE export (format INTEGER NOT NULL, archive TEXT NOT NULL, form TEXT NOT NULL);
CREATE TABLE files (
    id TEXT PRIMARY KEY, path TEXT NOT NULL, key TEXT UNIQUE, wished TEXT NOT NULL, sha256 TEXT NOT NULL,
    size INTEGER NOT NULL, at_ns INTEGER, how TEXT, mtime_ns INTEGER, before TEXT, old TEXT, inode TEXT
) WITHOUT ROWID;
"""
_NAMES = "id, path, key, wished, sha256, size, at_ns, how, mtime_ns, before, old, inode"
# Nearly every file has the path that it wants. Then "wished" is "", to store the path only once.
_ROWS = _NAMES.replace("wished", "iif(wished = '', path, wished)") + " FROM files"
_SET = ", ".join(f"{column} = excluded.{column}" for column in _NAMES.split(", ")[1:])
_VALUES = "VALUES (?1, ?2, ?3, iif(?4 = ?2, '', ?4), ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
_INSERT = f"INSERT INTO files ({_NAMES}) {_VALUES}"
_UPSERT = f"{_INSERT} ON CONFLICT (id) DO UPDATE SET {_SET}"
_COMPLETE = "UPDATE files SET how = ?, mtime_ns = ?, inode = ?, before = NULL, old = NULL WHERE id = ?"
_BATCH = 500

_JOURNAL_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
_OWN_PATH = (
    rf"\A(?!(?i:{EXPORT_DIRECTORY.replace('.', '[.]')})(?:/|\Z))"
    r"(?:(?![.]{1,2}(?:/|\Z))[^/\x00]+(?:/(?!\Z)|\Z)){1,32}\Z"
)
_OwnPath = Annotated[str, Meta(pattern=_OWN_PATH)]
_Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class ManifestRow(NamedTuple):
    """A file of the export.

    ``wanted_path`` is its path without suffixes, ``key`` what no two paths may share, ``at_ns`` the
    modification time that it should get, ``method`` how it was placed, ``inode`` its number then (None: not
    recorded). ``mtime_ns`` is its modification time in its place; None as long as it may not be there. Until
    then ``old_sha256`` is what it replaces at that path, and ``old_path`` its previous path.
    """

    id: str
    path: _OwnPath
    key: str
    wanted_path: str
    sha256: _Sha256
    size: int
    at_ns: int | None
    method: str | None = None
    mtime_ns: int | None = None
    old_sha256: _Sha256 | None = None
    old_path: _OwnPath | None = None
    inode: str | None = None


class Manifest:
    """The list, open for this process alone. Methods raise StorageError or DiskFull if it cannot be used."""

    def __init__(self, path: Path, *, shown_as: Path | None = None) -> None:
        """Open the list in the file ``path``, which is created if it is missing.

        ``shown_as``: the path for messages, if this one is a copy.
        """
        self._path = shown_as or path
        require_own_list(path)
        with self._sqlite_errors():
            self._db = sqlite3.connect(path, isolation_level=None)
            try:
                self._db.execute("PRAGMA trusted_schema = OFF")
                self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
                self._db.execute("PRAGMA synchronous = FULL")
                self._db.execute("PRAGMA cache_size = -65536")
                with self._transaction():
                    kinds = {kind for (kind,) in self._db.execute("SELECT type FROM sqlite_master")}
                    if not kinds <= {"table", "index"}:  # a view may never end, a trigger add rows
                        raise StorageError(
                            f"{self._path}, the list of exported files, was not written by archiver: it has "
                            "views or triggers",
                            "export into an empty directory",
                        )
                    if not kinds:
                        for statement in filter(str.strip, _SCHEMA.split(";")):
                            self._db.execute(statement)
                    elif ("inode",) not in self._db.execute("SELECT name FROM pragma_table_info('files')"):
                        self._db.execute("ALTER TABLE files ADD COLUMN inode TEXT")  # of an older version
            except BaseException:
                self._db.close()
                raise

    def claim(self, archive: str, form: str) -> tuple[str, str] | None:
        """Assign a new list to this archive and form. For an existing list, return its own if they differ."""
        with self._sqlite_errors():
            stored = self._db.execute("SELECT format, archive, form FROM export").fetchone()
            if stored is None:
                self._db.execute("INSERT INTO export VALUES (?, ?, ?)", (FORMAT, archive, form))
                return None
        if not isinstance(stored[0], int):
            raise StorageError(
                f"{self._path}, the list of exported files, is damaged: its format is {stored[0]!r}",
                "export into an empty directory",
            )
        if stored[0] > FORMAT:
            raise StorageError(
                f"{self._path} has format {stored[0]}, but this version knows only {FORMAT}",
                "install a newer archiver",
            )
        return None if stored[1:] == (archive, form) else (stored[1], stored[2])

    def rows_by_id(self, ids: Sequence[str]) -> dict[str, ManifestRow]:
        """Return the rows of these files; a file without a row is missing from it."""
        return {row.id: row for row in self._read_rows(self._select(f"{_ROWS} WHERE id", ids))}

    def holders(self, keys: Sequence[str]) -> dict[str, str]:
        """Return which of these keys are in use, each with the id of its file."""
        return {str(key): str(id_) for key, id_ in self._select("key, id FROM files WHERE key", keys)}

    def _select(self, query: str, values: Sequence[str]) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = []
        with self._sqlite_errors():
            for start in range(0, len(values), _BATCH):
                batch = values[start : start + _BATCH]
                placeholders = ", ".join("?" * len(batch))
                found += self._db.execute(f"SELECT {query} IN ({placeholders})", batch)
        return found

    def count(self) -> int:
        """Return how many files the export has."""
        with self._sqlite_errors():
            return int(self._db.execute("SELECT count(*) FROM files").fetchone()[0])

    def has_links(self) -> bool:
        """Return whether any file was placed as a hard link."""
        with self._sqlite_errors():
            return self._db.execute("SELECT 1 FROM files WHERE how = 'hardlink'").fetchone() is not None

    def path_below(self, key: str) -> str | None:
        """Return the path of any one file in the directory with that key."""
        with self._sqlite_errors():
            query = f"SELECT {_ROWS} WHERE key >= ? AND key < ? LIMIT 1"
            found = self._db.execute(query, (f"{key}/", f"{key}0")).fetchall()
        return next((row.path for row in self._read_rows(found)), None)

    def complete(self, placed: Sequence[tuple[str, int, str, str]]) -> None:
        """Record in one commit which files are in place: method, modification time (ns), inode and id."""
        if placed:
            with self._sqlite_errors(), self._transaction():
                self._db.executemany(_COMPLETE, placed)

    def update(self, rows: Sequence[ManifestRow], removed_ids: Sequence[str] = ()) -> None:
        """Write these rows and remove others, in one commit. The rows may exchange their keys."""
        if not (rows or removed_ids):
            return
        with self._sqlite_errors(), self._transaction():
            self._db.executemany("DELETE FROM files WHERE id = ?", [(id_,) for id_ in removed_ids])
            moving_ids = [(row.id,) for row in rows if row.old_path is not None]
            self._db.executemany("UPDATE files SET key = NULL WHERE id = ?", moving_ids)
            self._db.executemany(_UPSERT, rows)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def is_empty(self) -> bool:
        """Return whether the list is empty."""
        with self._sqlite_errors():
            return self._db.execute("SELECT 1 FROM files LIMIT 1").fetchone() is None

    def rows_except(self, ids: Container[str]) -> Iterator[ManifestRow]:
        """Yield the rows of all files but these, in any order."""
        with self._sqlite_errors():
            found = self._db.execute(f"SELECT {_ROWS}")
            yield from self._read_rows(values for values in found if values[0] not in ids)

    def rows(self, prefix: str = "") -> Iterator[ManifestRow]:
        """Yield the rows whose path begins with ``prefix``, in the order of their paths."""
        with self._sqlite_errors():
            query = f"SELECT {_ROWS} WHERE substr(path, 1, ?) = ? ORDER BY path"
            yield from self._read_rows(self._db.execute(query, (len(prefix), prefix)))

    def _read_rows(self, found: Iterable[tuple[object, ...]]) -> Iterator[ManifestRow]:
        """Yield rows of the database. Raises StorageError for one that archiver did not write."""
        for values in found:
            try:
                yield msgspec.convert(values, ManifestRow)
            except msgspec.ValidationError as exc:
                raise StorageError(
                    f"{self._path}, the list of exported files, is damaged: it names"
                    f" {str(values[1])[:200]!r}, which cannot be a file of this export",
                    "export into an empty directory",
                ) from exc

    def _sqlite_errors(self) -> AbstractContextManager[None]:
        return sqlite_errors(
            f"cannot use {self._path}, the list of exported files",
            "if it is damaged, export into an empty directory",
            if_full="free space on that disk, and run again",
        )

    def close(self) -> None:
        """Close the database."""
        self._db.close()


@contextmanager
def sqlite_errors(message: str, hint: str, *, if_full: str) -> Iterator[None]:
    """Turn an error of SQLite into a StorageError with this message and hint; into a DiskFull, if it is one.

    ``if_full``: its hint.
    """
    try:
        yield
    except sqlite3.Error as exc:
        if getattr(exc, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise DiskFull(f"{message}: {exc}", if_full) from exc
        raise StorageError(f"{message}: {exc}", hint) from exc


def require_own_list(path: Path) -> None:
    """Raise StorageError if opening a list would change a file elsewhere: SQLite follows links, and removes
    the super-journal that a journal names. A list is never changed together with another database.
    """
    with storage_errors(f"{path}, the list of exported files, cannot be read"):
        for file in (path, *(path.with_name(f"{path.name}{end}") for end in ("-journal", "-wal", "-shm"))):
            why = ""
            if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
                why = "is not a regular file"
            elif file.name.endswith("-journal") and _names_other_journal(file):
                why = "names a file elsewhere"
            if why:
                raise StorageError(
                    f"{file} was not written by archiver: it {why}", "export into an empty directory"
                )


def _names_other_journal(journal: Path) -> bool:
    """Return whether a journal of SQLite ends with the name of a super-journal ("The Rollback Journal")."""
    try:
        with journal.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - len(_JOURNAL_MAGIC)))
            return file.read() == _JOURNAL_MAGIC
    except FileNotFoundError:
        return False
