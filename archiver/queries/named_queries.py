"""Named queries: SQL in a file of its own, whose first line is a comment that tells what it answers.

Those that ship are the examples of docs/schema.md. A folder of a user's own may hold more; there a name of ours means theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from archiver.errors import UsageError
from archiver.queries.parameters import parameter_names

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_LARGEST = 1_000_000
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """``about`` is the first line, without the comment's dashes; ``path`` the file."""

    name: str
    about: str
    sql: str
    path: Path

    def parameters(self, *, postgresql: bool) -> tuple[str, ...]:
        """The names of its parameters, in the order of the SQL, as this database reads it."""
        return parameter_names(self.sql, postgresql=postgresql)


def is_name(text: str) -> bool:
    """Whether ``text`` names a query and is no SQL: one word in lower case, which no database would take for a query."""
    return _NAME.fullmatch(text) is not None


def all_queries(own: Path | None = None) -> dict[str, NamedQuery]:
    """All named queries by name, sorted; ``own`` is a folder with those of a user's. One that cannot be read says so in its ``about``."""
    return {name: _shown(name, path) for name, path in sorted(_paths(own).items())}


def find_query(name: str, own: Path | None = None) -> NamedQuery:
    """The query of that name. Raises UsageError, naming near ones, if there is none, and for a file that cannot be read."""
    path = _paths(own).get(name)
    if path is not None:
        return _read(name, path)
    import difflib  # for a mistake only

    near = difflib.get_close_matches(name, all_queries(own), n=2)
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UsageError(f"there is no query named {name}{meant}", "archiver query --list shows them")


def describe_ignored(own: Path | None) -> Iterator[str]:
    """Why a file in the folder of a user's own is no query though it ends in ``.sql``, a sentence each; hidden ones are none anyway."""
    if own is None:
        return
    try:
        found = _ending_in_sql(own)
    except FileNotFoundError:
        return
    except OSError as error:
        yield f"the named queries in {own} cannot be read: {error.strerror}"
        return
    for path in found:
        if path.name.startswith("."):
            continue
        if not is_name(path.stem.lower()):
            yield f"{str(path)!r} is left out: the name of a query has letters a to z, digits, - and _ alone"
        elif not _may_be_file(path):
            yield f"{str(path)!r} is left out: it is no file"


def _paths(own: Path | None) -> dict[str, Path]:
    """The file of each name. ``Mine.sql`` is called mine, unless there is a ``mine.sql``; a pipe or a directory is no query."""
    found = _ending_in_sql(_HERE)
    if own is not None:
        with suppress(OSError):  # whoever lists them is told
            found += _ending_in_sql(own)
    return {path.stem.lower(): path for path in found if is_name(path.stem.lower()) and _may_be_file(path)}


def _ending_in_sql(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".sql")


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # who reads it is told why
        return True


def _shown(name: str, path: Path) -> NamedQuery:
    try:
        return _read(name, path)
    except UsageError as error:
        return NamedQuery(name, str(error), "", path)


def _read(name: str, path: Path) -> NamedQuery:
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as source:
            sql = source.read(_LARGEST)
    except OSError as error:
        raise UsageError(f"the SQL file {path} cannot be read: {error.strerror}") from error
    first = sql.partition("\n")[0]
    about = first.removeprefix("--").strip() if first.startswith("--") else ""
    return NamedQuery(name, about, sql, path)
