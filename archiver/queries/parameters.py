"""``:name`` in SQL: found where a database would look for a value, and nowhere else. Pure.

Not in texts, quoted names and comments, as each of the two databases reads them; on PostgreSQL not in ``::`` casts and the slices of
arrays. What is found is only ever bound: a text that is read wrongly here costs an error, never a value that becomes SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# What lacks its end reaches to the end of all. A quote that is doubled within its text reads as the end of one and the beginning of the
# next. ``::`` means nothing to SQLite, which tells that better than we could: a cast of PostgreSQL's is no parameter.
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
    """The parameters of the SQL, each once, in the order in which they come first."""
    return tuple(dict.fromkeys(name for _, name in _pieces(sql, postgresql) if name is not None))


def replace_parameters(sql: str, mark: Callable[[str], str], text: Callable[[str], str] = str) -> str:
    """PostgreSQL's SQL with ``mark(name)`` in place of each ``:name``, and ``text(...)`` of what is between them."""
    pieces = _pieces(sql, postgresql=True)
    return "".join(text(before) + (mark(name) if name is not None else "") for before, name in pieces)


def _pieces(sql: str, postgresql: bool) -> list[tuple[str, str | None]]:
    """The text before each parameter, and its name; at last the text after all, and None."""
    pieces: list[tuple[str, str | None]] = []
    token = _POSTGRESQL if postgresql else _SQLITE
    begun = at = 0
    while (found := token.search(sql, at)) is not None:
        at = found.end()
        if found["name"]:
            pieces.append((sql[begun : found.start()], found["name"]))
            begun = at
        elif postgresql and found["comment"]:
            at = _end_of_comment(sql, at)
    return [*pieces, (sql[begun:], None)]


def _end_of_comment(sql: str, at: int) -> int:
    """Where a comment of PostgreSQL's ends that begins before ``at``: there may be others in it."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, at)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if depth == 0 else len(sql)
