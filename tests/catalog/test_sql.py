"""Statements written in SQL: each can be prepared, and values are bound and read with their types."""

from __future__ import annotations

import importlib
import pkgutil
import re
from datetime import UTC, datetime, timedelta, timezone
from inspect import isclass
from typing import Any

import pytest
from msgspec import Struct
from sqlalchemy import Connection, Text

from archiver import catalog as package
from archiver.catalog import Catalog, merge, tables
from archiver.catalog.column_types import CheckedNumber, UtcTime
from archiver.catalog.record import changes
from archiver.catalog.sql import NUMBERS, STATEMENTS, Query
from archiver.errors import ArchiveDamaged
from archiver.queries.parameters import parameter_names, replace_parameters


def _import_all() -> None:
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
    for rule in merge.RULES:  # the others are built when they first run
        changes.update_statement(rule.table, rule.key, (*rule.columns, *rule.state))


def _prepare(connection: Connection, sql: str) -> list[str] | None:
    """Prepare a statement, and return the names of its columns; None if it returns no rows.

    Raises the error of the database if it cannot be prepared.
    """
    raw: Any = connection.connection.driver_connection
    if connection.dialect.name == "sqlite":
        sql = re.sub(r"\bIN (:\w+)", r"IN (\1)", sql)
        values = dict.fromkeys(parameter_names(sql, postgresql=False), 1)  # LIMIT takes no NULL
        raw.execute(f"EXPLAIN {sql}", values).close()
        if re.match(r"\s*(SELECT|WITH)\b", sql) is None:
            return None
        found = raw.execute(sql, values)
        columns = [column[0] for column in found.description]
        found.close()
        return columns
    names = parameter_names(sql, postgresql=True)
    sql = replace_parameters(sql, lambda name: f"${names.index(name) + 1}")
    prepared = raw.pgconn.prepare(b"", sql.encode())
    assert not prepared.error_message, f"{prepared.error_message.decode()}\n{sql}"
    described = raw.pgconn.describe_prepared(b"")
    return [described.fname(place).decode() for place in range(described.nfields)] or None


def test_every_statement_can_be_prepared(catalog: Catalog) -> None:
    """Names and syntax of each statement are right on the database that it is for, and its columns are the
    fields of its value, in order: ``row(*columns)`` would swap two texts without an error.
    """
    _import_all()

    def prepare_all(connection: Connection) -> int:
        database = connection.dialect.name
        statements = [(each, sql) for each in STATEMENTS for sql in each.variants(database)]
        for statement, sql in statements:
            columns = _prepare(connection, sql)
            row = getattr(statement, "row", None)
            if columns is not None and isclass(row) and issubclass(row, (Struct, tuple)):
                fields = row.__struct_fields__ if issubclass(row, Struct) else row._fields  # type: ignore[attr-defined]
                assert columns == list(fields), sql
        return len(statements)

    assert catalog.read(prepare_all) > 1


class _Row(Struct, frozen=True):
    at: datetime
    seen_at: datetime | None
    is_gone: bool
    name: str


def test_values_keep_their_types_on_both_databases(catalog: Catalog) -> None:
    """A time is bound from any zone and read in UTC, a bool is a bool, and a collection may be empty."""
    sql = (
        "SELECT CAST(:at AS {}) AS at, CAST(NULL AS {}) AS seen_at, 1 = 1 AS is_gone,"
        " CAST(:name AS TEXT) AS name WHERE CAST(:name AS TEXT) IN :names"
    )
    both = Query({"sqlite": sql.format("TEXT", "TEXT"), "postgresql": sql.format(*["timestamptz"] * 2)}, _Row)
    STATEMENTS.remove(both)
    at = datetime(2026, 3, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    (found,) = catalog.read(both.all, at=at, name="a:b", names=["a:b", "c"])
    assert found == _Row(datetime(2026, 2, 28, 23, tzinfo=UTC), None, True, "a:b")
    assert found.at.tzinfo is UTC
    assert found.is_gone is True
    assert catalog.read(both.first, at=at, name="a", names=[]) is None


def test_a_naive_time_is_refused(catalog: Catalog) -> None:
    """A time without a zone is an error before it reaches the database."""
    query = Query("SELECT 1 AS one WHERE :at = :at", int)
    STATEMENTS.remove(query)
    with pytest.raises(ValueError, match="time zone"):
        catalog.read(query.one, at=datetime(2026, 3, 1))  # noqa: DTZ001


def test_a_line_is_left_out_with_its_value(catalog: Catalog) -> None:
    """What is neither None nor empty is given; a line may also be for the case that it is not."""
    query = Query(
        """
        SELECT 'a' AS letter WHERE CAST(:name AS TEXT) = 'x'
            AND CAST(:letter AS TEXT) = 'a' -- if letter
            AND CAST(:name AS TEXT) IN :names -- if names
        UNION ALL SELECT 'all' -- if not names
        ORDER BY 1
        """,
        str,
    )
    STATEMENTS.remove(query)
    assert len(set(query.variants("sqlite"))) == 4
    assert catalog.read(query.all, name="x", letter=None, names=()) == ["a", "all"]
    assert catalog.read(query.all, name="x", letter="b", names=[]) == ["all"]
    assert catalog.read(query.all, name="x", letter="a", names={"x", "y"}) == ["a"]
    assert catalog.read(query.all, name="x", letter=None, names=["y"]) == []


def test_the_columns_that_are_numbers_are_known() -> None:
    """Their names are in a list of its own, since reading loads no tables."""
    columns = [column for table in tables.metadata.tables.values() for column in table.columns]
    numbers = {column.name for column in columns if isinstance(column.type, CheckedNumber)}
    others = {column.name for column in columns if isinstance(column.type, (Text, UtcTime))}
    assert numbers == NUMBERS
    assert not numbers & others


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_column_of_numbers_holds_numbers(catalog: Catalog) -> None:
    """SQLite stores any value in any column: a text where a number is read is damage."""
    query = Query("SELECT 'odd' AS width", lambda width: width)
    STATEMENTS.remove(query)
    for _ in range(2):
        with pytest.raises(ArchiveDamaged, match="odd"):
            catalog.read(query.one)


def test_any_number_of_values_is_bound_in_parts(catalog: Catalog) -> None:
    """A statement takes a limited number of values."""
    query = Query("SELECT count(*) AS found FROM users WHERE pk IN :pks", int)
    STATEMENTS.remove(query)
    assert catalog.read(query.all_of, "pks", map(str, range(2500))) == [0, 0, 0]
    assert catalog.read(query.all_of, "pks", []) == []
