"""Names and titles that begin with what was typed, for the completion of a shell."""

from __future__ import annotations

from sqlalchemy import Connection, text

_MOST = 500
_USERNAMES = text("""
SELECT username FROM users WHERE substr(lower(username), 1, :length) = :prefix ORDER BY 1 LIMIT :most
""")
_TITLES = text("""
SELECT DISTINCT title FROM highlights WHERE substr(title, 1, :length) = :prefix ORDER BY 1 LIMIT :most
""")


def usernames(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the current usernames that begin with this, in any case; not all if there are very many."""
    values = {"length": len(prefix), "prefix": prefix.lower(), "most": _MOST}
    return tuple(connection.scalars(_USERNAMES, values))


def titles(connection: Connection, prefix: str) -> tuple[str, ...]:
    """Return the titles of highlights that begin with this, each once; not all if there are very many."""
    return tuple(connection.scalars(_TITLES, {"length": len(prefix), "prefix": prefix, "most": _MOST}))
