"""INSERT ... ON CONFLICT. The SQL is the same on both databases; SQLAlchemy has a class for each.

A dialect is imported when it is first used: PostgreSQL's takes a tenth of the startup time of a command that
only reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import BindParameter, ColumnClause, Connection, Table, bindparam, literal_column

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.sql.dml import ReturningInsert


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT into ``table`` that has ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    return _insert(connection.dialect.name, table)


def insert_if_new(table: Table, *columns: str) -> Callable[[str], ReturningInsert[Any]]:
    """Return a function that takes the name of a dialect and returns an INSERT of these columns, built once.

    The statement returns a row if it inserted one; it leaves an existing row as it is.
    """

    @cache
    def build(dialect: str) -> ReturningInsert[Any]:
        values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
        inserted: ColumnClause[int] = literal_column("1")
        return _insert(dialect, table).values(values).on_conflict_do_nothing().returning(inserted)

    return build


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
