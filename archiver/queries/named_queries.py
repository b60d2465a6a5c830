"""Named queries: each is a ``.sql`` file whose first line is a comment that says what the query answers.

The ones in this package are the examples of docs/schema.md. A folder of the user may hold more; a query there
replaces one of this package that has the same name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from archiver.errors import UsageError

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_MAX_CHARACTERS = 1_000_000
_PACKAGE = Path(__file__).parent


class NamedQuery(Struct, frozen=True):
    """A query and its file. ``about`` is the first line of the file, without the dashes of the comment."""

    name: str
    about: str
    sql: str
    path: Path


def is_name(text: str) -> bool:
    """Return whether a text can name a query: one word in lower case, which is not valid SQL."""
    return _NAME.fullmatch(text) is not None


def all_queries(folder: Path | None = None) -> dict[str, NamedQuery]:
    """Return all queries by name, sorted, including those in a folder of the user.

    The ``about`` of a query that cannot be read is the reason.
    """
    return {name: _read_or_explain(name, path) for name, path in sorted(_paths(folder).items())}


def find_query(name: str, folder: Path | None = None) -> NamedQuery:
    """Return the query of that name. Raises UsageError if there is none, or its file cannot be read."""
    path = _paths(folder).get(name)
    if path is not None:
        return _read(name, path)
    import difflib  # only for a mistake

    similar = difflib.get_close_matches(name, all_queries(folder), n=2)
    suggestion = f"; did you mean {' or '.join(similar)}?" if similar else ""
    raise UsageError(f"there is no query named {name}{suggestion}", "archiver query --list shows them")


def describe_ignored(folder: Path | None) -> Iterator[str]:
    """Yield why a ``.sql`` file in the user's folder is not a query. Hidden files are skipped."""
    if folder is None:
        return
    try:
        paths = _sql_files(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"the named queries in {folder} cannot be read: {error.strerror}"
        return
    for path in paths:
        if path.name.startswith("."):
            continue
        if not is_name(path.stem.lower()):
            yield f"{str(path)!r} is ignored: a query's file name may contain only a to z, digits, - and _"
        elif not _may_be_file(path):
            yield f"{str(path)!r} is ignored: not a regular file"


def _paths(folder: Path | None) -> dict[str, Path]:
    """Return the file of each name. ``Mine.sql`` is named mine, unless there is also a ``mine.sql``."""
    paths = _sql_files(_PACKAGE)
    if folder is not None:
        with suppress(OSError):  # describe_ignored says why
            paths += _sql_files(folder)
    return {path.stem.lower(): path for path in paths if is_name(path.stem.lower()) and _may_be_file(path)}


def _sql_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".sql")


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # reading it says why
        return True


def _read_or_explain(name: str, path: Path) -> NamedQuery:
    try:
        return _read(name, path)
    except UsageError as error:
        return NamedQuery(name, str(error), "", path)


def _read(name: str, path: Path) -> NamedQuery:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            sql = file.read(_MAX_CHARACTERS)
    except OSError as error:
        raise UsageError(f"the SQL file {path} cannot be read: {error.strerror}") from error
    first_line = sql.partition("\n")[0]
    about = first_line.removeprefix("--").strip() if first_line.startswith("--") else ""
    return NamedQuery(name, about, sql, path)
