"""Find the parameters ``:name`` in SQL, where the database would expect a value and nowhere else.

Strings, quoted names and comments are skipped, as each of the two databases reads them; on PostgreSQL also
``::`` casts and array slices. Parameters are only ever bound. So SQL that is misread here causes an error,
but a value never becomes SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A quote or comment without an end reaches to the end of the SQL. A doubled quote within a string reads as
# the end of one string and the beginning of the next. ``::`` means nothing to SQLite; it is skipped, so that
# SQLite reports it.
_SQLITE = re.compile(
    r"""'[^']*'? | "[^"]*"? | `[^`]*`? | \[[^\]]*\]?
      | --[^\n]*
      | /\*.*?(?:\*/|\Z)
      | ::+
      | :(?P<name>[\w$\x80-\U0010ffff]+)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_POSTGRESQL = re.compile(
    r"""(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'?
      | '[^']*'? | "[^"]*"?
      | (?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=tag)|\Z)
      | --[^\n\r]*
      | (?P<comment>/\*)
      | (?<![\w\])"':]):(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def parameter_names(sql: str, *, postgresql: bool) -> tuple[str, ...]:
    """Return the parameters of a statement, each once, in the order in which they first occur."""
    return tuple(dict.fromkeys(name for _, name in _split(sql, postgresql) if name is not None))


def replace_parameters(
    sql: str, placeholder: Callable[[str], str], escape: Callable[[str], str] = str
) -> str:
    """Return SQL for PostgreSQL with ``placeholder(name)`` for each ``:name``; other text is escaped."""
    pieces = _split(sql, postgresql=True)
    return "".join(escape(text) + (placeholder(name) if name is not None else "") for text, name in pieces)


def _split(sql: str, postgresql: bool) -> list[tuple[str, str | None]]:
    """Return the text before each parameter with its name, then the rest of the text with None."""
    pieces: list[tuple[str, str | None]] = []
    token = _POSTGRESQL if postgresql else _SQLITE
    start = at = 0
    while (match := token.search(sql, at)) is not None:
        at = match.end()
        if match["name"]:
            pieces.append((sql[start : match.start()], match["name"]))
            start = at
        elif postgresql and match["comment"]:
            at = _comment_end(sql, at)
    return [*pieces, (sql[start:], None)]


def _comment_end(sql: str, at: int) -> int:
    """Return the end of the PostgreSQL comment that began before ``at``; comments may be nested."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, at)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if depth == 0 else len(sql)
