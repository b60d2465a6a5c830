"""What must never escape: the API key anywhere at all, and a signed query anywhere but in the kept answers.

Whoever makes an archive says so by ``watch_archive``, whoever hears a process by ``note_output``; the fixture
``nothing_escapes`` of conftest.py looks at both after every test. The stand-in's keys and signatures are long
and random, so that finding one is no accident.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

CAPTURED = pytest.StashKey[list[str]]()
"""What pytest captured of a test, phase by phase."""

_SIGNED = re.compile(rb"00_Af[\w-]|_nc_(?:ohc|gid|oc)\b|ig_cache_key")
"""What only the query of a signed URL of the stand-in holds, percent-encoded or not."""

_LONG_ENOUGH = 12
"""A shorter key, such as «wrong», is also a word."""

_LARGEST_BLOB = 300_000
_TABLES = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
    "WHERE relkind = 'r' AND nspname = 'public'"
)


@dataclass(frozen=True, slots=True)
class WatchedArchive:
    """An archive, or a person's home with archives in it.

    ``key``: what it is used with, asked for when it is looked at.
    """

    root: Path
    key: Callable[[], str]
    database: str | None = None


class LogListener(logging.Handler):
    """Keeps every record of every logger, at every level."""

    def emit(self, record: logging.LogRecord) -> None:
        """The message with its arguments, and the traceback if there is one."""
        told = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            told += "".join(traceback.format_exception(record.exc_info[1]))
        note_output(told)


_places: dict[Path, WatchedArchive] = {}
_hidden: set[str] = set()
_heard: list[str] = []


def watch_archive(root: Path, key: Callable[[], str], database: str | None = None) -> None:
    """Let ``root``, and a PostgreSQL database if there is one, be looked through when this test ends."""
    _places[root] = WatchedArchive(root, key, database)


def note_output(*texts: str) -> None:
    """Let what a process wrote be looked through when this test ends."""
    _heard.extend(texts)


def watch_secret(secret: str) -> None:
    """Let this stand in nothing that is heard, and in no file of what is watched, when this test ends: a
    token of a report's address.
    """
    _hidden.add(secret)


def reset() -> None:
    """A test has ended: what was watched and heard is of no concern to the next one."""
    _places.clear()
    _hidden.clear()
    _heard.clear()


def find_leaks() -> Iterator[str]:
    """What was found where it must not be, in words that show neither key nor signature."""
    heard = "\n".join(_heard).encode(errors="surrogatepass")
    for secret in _hidden:
        for what, content in _everything(heard):
            if secret.encode() in content:
                yield f"the secret of a report's address is in {what}"
    for place in _places.values():
        key = place.key().encode()
        if len(key) < _LONG_ENOUGH:
            continue
        yield from _told("what was written or logged", heard, key, signatures=True)
        for path in _files(place.root):
            for what, content, signatures in _contents(path):
                yield from _told(what, content, key, signatures=signatures)
        if place.database is not None:
            yield from _told("the database", _rows(place.database), key, signatures=True)


def _everything(heard: bytes) -> Iterator[tuple[str, bytes]]:
    yield "what was written or logged", heard
    for place in _places.values():
        yield from ((what, content) for path in _files(place.root) for what, content, _ in _contents(path))
        if place.database is not None:
            yield "the database", _rows(place.database)


def _told(what: str, content: bytes, key: bytes, *, signatures: bool) -> Iterator[str]:
    if key in content:
        yield f"the API key is in {what}"
    if signatures and (found := _SIGNED.search(content)) is not None:
        yield f"a signed query ({found[0].decode()}...) is in {what}"


def _files(root: Path) -> Iterator[Path]:
    """Every regular file; not the one in which a person keeps the key."""
    if not root.is_dir():
        return
    below = [str(root)]  # hundreds of folders: a Path for each would take as long as all files
    while below:
        with os.scandir(below.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                elif stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode) and "token" not in entry.name:
                    yield Path(entry.path)


def _contents(path: Path) -> Iterator[tuple[str, bytes, bool]]:
    """What a file holds, and whether a signature in it is one too many: kept answers hold them, and pictures
    hold any bytes.
    """
    content = b"" if path.stat().st_size > _LARGEST_BLOB and _is_blob(path) else path.read_bytes()
    yield str(path), content, not (_is_blob(path) or path.name.endswith(".warc.gz"))
    if path.suffix == ".gz":
        yield f"{path}, unpacked", _unpacked(content), path.name.endswith(".jsonl.gz")


def _is_blob(path: Path) -> bool:
    return "blobs" in path.parts[-3:-1] or "quarantine" in path.parts[-2:-1] or path.suffix == ".part"


def _unpacked(content: bytes) -> bytes:
    """All gzip members one after the other; of a torn or spoilt one what can be had."""
    plain = b""
    while content:
        member = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            plain += member.decompress(content)
        except zlib.error:
            return plain
        content = member.unused_data
    return plain


def _rows(url: str) -> bytes:
    """Every row of every table of a PostgreSQL database, as text; nothing of one that the test itself has put
    out of reach.
    """
    try:
        with psycopg.connect(url.replace("+psycopg", ""), connect_timeout=5) as connection:
            tables = [str(name) for (name,) in connection.execute(_TABLES)]
            every = " UNION ALL ".join(f'SELECT t::text FROM "{name}" t' for name in tables)
            rows = connection.execute(every.encode()).fetchall() if tables else []
    except psycopg.OperationalError:
        return b""
    return "\n".join(str(row) for (row,) in rows).encode()
