"""Statements that are built once: building one costs more than running it.

The SQL of INSERT ... ON CONFLICT is the same on both databases; SQLAlchemy has a class for each. A dialect is
imported when it is first used: PostgreSQL's takes a tenth of the startup time of a command that only reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Table,
    Update,
    bindparam,
    literal_column,
    update,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.sql.dml import ReturningInsert


def update_row(connection: Connection, table: Table, pk: object, values: Mapping[str, object]) -> None:
    """Set columns of the row with this primary key, which has one column."""
    if values:
        connection.execute(_update(table, tuple(values)), {"of_row": pk, **values})


@cache
def _update(table: Table, columns: tuple[str, ...]) -> Update:
    (key,) = table.primary_key
    return update(table).where(key == bindparam("of_row")).values({name: bindparam(name) for name in columns})


def insert_if_new(
    table: Table, *columns: str, returning: Sequence[str] = ()
) -> Callable[[str], ReturningInsert[Any]]:
    """Return a function that takes the name of a dialect and returns an INSERT of these columns, built once.

    It leaves existing rows as they are. It returns the columns ``returning`` of each row that it inserted, or
    1 if none are named.
    """

    @cache
    def build(dialect: str) -> ReturningInsert[Any]:
        values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
        inserted: list[ColumnElement[Any]] = [table.c[name] for name in returning] or [literal_column("1")]
        return _insert(dialect, table).values(values).on_conflict_do_nothing().returning(*inserted)

    return build


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an INSERT into ``table`` that has ``on_conflict_do_nothing``."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)
