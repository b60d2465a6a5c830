"""INSERT ... ON CONFLICT, which SQLite and PostgreSQL share and SQLAlchemy spells twice."""

from __future__ import annotations

from sqlalchemy import BindParameter, Connection, Table, bindparam
from sqlalchemy.dialects import postgresql, sqlite


def insert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT into ``table`` that has ``on_conflict_do_update`` and ``on_conflict_do_nothing``."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)


def new_rows(table: Table, *columns: str) -> dict[str, postgresql.Insert | sqlite.Insert]:
    """By dialect, an INSERT of these columns that leaves a row which is there already as it is: its rowcount tells."""
    values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
    return {
        "sqlite": sqlite.insert(table).values(values).on_conflict_do_nothing(),
        "postgresql": postgresql.insert(table).values(values).on_conflict_do_nothing(),
    }
