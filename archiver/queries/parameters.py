"""``:name`` in SQL: found where a database would look for a value, and nowhere else. Pure.

Not in texts, quoted names and comments, not in ``::`` casts and the slices of arrays. What is found is only ever bound: a text that is
read wrongly here costs an error, never a value that becomes SQL.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A text or comment without an end reaches to the end of all. E'' and $$ are PostgreSQL's, ` SQLite's; neither means a thing to the other.
_TOKEN = re.compile(
    r"""(?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'?
      | '[^']*'? | "[^"]*"? | `[^`]*`?
      | (?<![\w$])(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?:(?P=tag)|\Z)
      | --[^\n\r]*
      | (?P<comment>/\*)
      | ::
      | (?<![\w\])"':]):(?P<name>[^\W\d]\w*)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


def names(sql: str) -> tuple[str, ...]:
    """The parameters of the SQL, each once, in the order in which they come first."""
    return tuple(dict.fromkeys(name for _, name in _pieces(sql) if name is not None))


def spelt(sql: str, mark: Callable[[str], str], text: Callable[[str], str] = str) -> str:
    """The SQL with ``mark(name)`` in place of each ``:name``, and ``text(...)`` of what is between them."""
    return "".join(text(before) + (mark(name) if name is not None else "") for before, name in _pieces(sql))


def _pieces(sql: str) -> list[tuple[str, str | None]]:
    """The text before each parameter, and its name; at last the text after all, and None."""
    pieces: list[tuple[str, str | None]] = []
    begun = at = 0
    while (token := _TOKEN.search(sql, at)) is not None:
        at = token.end()
        if token["comment"]:
            at = _end_of_comment(sql, at)
        elif token["name"]:
            pieces.append((sql[begun : token.start()], token["name"]))
            begun = at
    return [*pieces, (sql[begun:], None)]


def _end_of_comment(sql: str, at: int) -> int:
    """Where a comment ends that begins before ``at``: PostgreSQL's may nest. In SQLite's a second beginning would be an odd one."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(sql, at)) is not None:
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at if depth == 0 else len(sql)
