"""INSERT ... ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy spells twice."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnClause, Connection, Table, bindparam, literal_column
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningInsert


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into ``table`` that has ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def new_rows(table: Table, *columns: str) -> dict[str, ReturningInsert[Any]]:
    """By dialect, an INSERT of these columns that leaves a row which is there already as it is: it returns a row if it made one."""
    values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
    made: ColumnClause[int] = literal_column("1")
    return {
        "sqlite": sqlite.insert(table).values(values).on_conflict_do_nothing().returning(made),
        "postgresql": postgresql.insert(table).values(values).on_conflict_do_nothing().returning(made),
    }
