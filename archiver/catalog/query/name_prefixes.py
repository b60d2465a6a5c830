"""Names and titles that begin with what was typed, for the completion of a shell."""

from __future__ import annotations

from sqlalchemy import Connection

from archiver.catalog.sql import Query

_MOST = 500
_USERNAMES = Query(
    "SELECT username FROM users WHERE substr(lower(username), 1, :length) = :prefix ORDER BY 1 LIMIT :most",
    str,
)
_TITLES = Query(
    "SELECT DISTINCT title FROM highlights WHERE substr(title, 1, :length) = :prefix ORDER BY 1 LIMIT :most",
    str,
)


def usernames(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the current usernames that begin with this, in any case; not all if there are very many."""
    return tuple(_USERNAMES.all(connection, length=len(prefix), prefix=prefix.lower(), most=_MOST))


def titles(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the titles of highlights that begin with this, each once; not all if there are very many."""
    return tuple(_TITLES.all(connection, length=len(prefix), prefix=prefix, most=_MOST))
