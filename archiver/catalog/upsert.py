"""INSERT ... ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy spells twice.

A dialect is imported when it is used: PostgreSQL's takes a tenth of the start of a command that only reads.
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
    """An INSERT into ``table`` that has ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    return _insert(connection.dialect.name, table)


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def new_rows(table: Table, *columns: str) -> Callable[[str], ReturningInsert[Any]]:
    """By the name of a dialect, an INSERT of these columns that leaves a row which is there already as it is: it returns a row if it
    made one. It is built once."""

    @cache
    def built(dialect: str) -> ReturningInsert[Any]:
        values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
        made: ColumnClause[int] = literal_column("1")
        return _insert(dialect, table).values(values).on_conflict_do_nothing().returning(made)

    return built
