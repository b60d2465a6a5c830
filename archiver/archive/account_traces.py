"""What names an account beside rows and stored files: lines of the log, and copies of the database."""

from __future__ import annotations

import os
import re
import shutil
import stat
from base64 import b64encode
from collections.abc import Container, Iterator
from pathlib import Path

from archiver.archive.archive_storage import IN_DIRECTORY
from archiver.archive.creation import OWN_NAMES
from archiver.catalog import sqlite
from archiver.durable import open_levels, open_regular, storage_errors, write_whole
from archiver.model.account_removal import AccountParts

_WORD = re.compile(rb"[0-9A-Za-z._]+")
_NAME = "archive.db"


def words_of(parts: AccountParts) -> frozenset[bytes]:
    """Return the words that name an account or a part of it: names, pks, codes, hashes, and ids in links."""
    pks = [] if parts.user_pk is None else [parts.user_pk]
    digests = [digest for digest, _ in parts.blobs]
    in_links = [b64encode(f"highlight:{pk}".encode()).decode().rstrip("=") for pk in parts.highlight_pks]
    words = (
        *parts.names,
        *pks,
        *parts.highlight_pks,
        *parts.item_pks,
        *parts.item_codes,
        *digests,
        *in_links,
    )
    return frozenset(word.lower().encode() for word in words)


def has_word(text: bytes, words: Container[bytes]) -> bool:
    """Return whether a text has one of the words."""
    return any(word.strip(b".").lower() in words or word.lower() in words for word in _WORD.findall(text))


def count_log_lines(root: Path, words: Container[bytes]) -> int:
    """Return how many lines of the log have one of the words. Raises StorageError."""
    with storage_errors(f"{root / 'log'} cannot be read"):
        return sum(
            _has_word(line, words)
            for name in _logs(root)
            for line in (root / "log" / name).read_bytes().splitlines()
        )


def remove_log_lines(root: Path, words: Container[bytes]) -> int:
    """Remove the lines of the log that have one of the words; return how many. Raises StorageError, DiskFull.

    Each file is written again beside itself and renamed, so a kill leaves the old one or the new one.
    """
    removed = 0
    with storage_errors(f"the log in {root / 'log'} cannot be written"):
        names = _logs(root)
        if not names:
            return 0
        with open_levels(root, ["log"]) as opened:
            for entry in _entries(root / "log"):
                if entry.name.endswith(".part"):  # left by a killed process
                    os.unlink(entry.name, dir_fd=opened[-1])
            for name in names:
                with os.fdopen(open_regular(name, within=opened[-1]), "rb") as file:
                    mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                    lines = file.read().splitlines(keepends=True)
                staying = [line for line in lines if not _has_word(line, words)]
                if len(staying) < len(lines):
                    removed += len(lines) - len(staying)
                    write_whole(name, staying, mode, tmp=opened[-1], within=opened[-1])
    return removed


def find_copies(root: Path, database: Path | None) -> tuple[str, ...]:
    """Return the files in the archive's directory that are copies of its database, as ``delete`` takes them.

    ``database``: the SQLite file that is in use. What its upgrade and ``db rebuild`` left beside it is found
    by name, other copies by their first bytes. Compressed ones are not found. Raises StorageError.
    """
    with storage_errors(f"{root} cannot be listed"):
        live = _live_files(root, database)
        found = sorted(entry.name for entry in os.scandir(root) if entry.is_file(follow_symlinks=False))
        return tuple(
            IN_DIRECTORY + name for name in found if name not in live and _is_copy(root, name, live, found)
        )


def _live_files(root: Path, database: Path | None) -> set[str]:
    """Return the names in ``root`` of the database that is in use and of the files beside it.

    The files are compared, not their paths: a directory may be mounted twice, or be spelled in two ways.
    """
    if database is None:
        return set()
    used = database.stat()
    same = [e.name for e in os.scandir(root) if os.path.samestat(e.stat(follow_symlinks=False), used)]
    return {path.name for name in same for path in sqlite.files_of(Path(name))}


def find_unknown(root: Path, database: Path | None, *, has_files: bool) -> tuple[str, ...]:
    """Return what else is in the archive's directory and in ``log/``, and is not part of it.

    ``has_files``: blobs, answers and journal are there, and not in a bucket. Raises StorageError.
    """
    known = {name.removeprefix(IN_DIRECTORY) for name in find_copies(root, database)} | OWN_NAMES
    known -= set() if has_files else {"blobs", "answers", "journal"}
    with storage_errors(f"{root} cannot be listed"):
        known |= _live_files(root, database)
        logs = {f"log/{entry.name}" for entry in _entries(root / "log")}
        known |= {f"log/{name}" for name in _logs(root)}
        return tuple(sorted(({path.name for path in root.iterdir()} | logs) - known))


def empty_temporary_place(root: Path) -> None:
    """Remove everything in ``tmp/``: what killed commands left there may be of any account.

    The caller holds the archive's lock. Raises StorageError.
    """
    with storage_errors(f"{root / 'tmp'} cannot be emptied"):
        for entry in _entries(root / "tmp"):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                Path(entry.path).unlink()


def _entries(directory: Path) -> Iterator[os.DirEntry[str]]:
    if directory.is_dir() and not directory.is_symlink():
        with os.scandir(directory) as entries:
            yield from list(entries)


def _logs(root: Path) -> list[str]:
    return [
        entry.name
        for entry in _entries(root / "log")
        if entry.name.startswith("archiver.log") and entry.is_file(follow_symlinks=False)
    ]


def _has_word(line: bytes, words: Container[bytes]) -> bool:
    """Return whether a line has one of the words, after its time and level."""
    return has_word(line.split(b" ", 2)[-1], words)


def _is_copy(root: Path, name: str, live: set[str], others: list[str]) -> bool:
    if name.startswith((f"{_NAME}.", f".{_NAME}.")):
        return True
    beside = next((name.removesuffix(end) for end in sqlite.SUFFIXES[1:] if name.endswith(end)), None)
    if beside is not None and beside in others and beside not in live:
        return _is_copy(root, beside, live, others)
    with open_levels(root, []) as opened, os.fdopen(open_regular(name, within=opened[-1]), "rb") as file:
        return sqlite.begins_as_ours(file.read(sqlite.HEADER_BYTES))
